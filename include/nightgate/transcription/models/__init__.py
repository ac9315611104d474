"""What transcribes: the packaged weights, a published model by name, or a ggml file by path."""
