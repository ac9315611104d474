"""The transcription benchmark: Whisper engines on the same weights and the same clips, judged by xRT."""
