"""Speech in: the audio encoder, loudness, voice activity."""
