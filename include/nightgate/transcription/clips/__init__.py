"""What is transcribed: the packaged corpus, spoken by a packaged voice, or the user's own audio."""
