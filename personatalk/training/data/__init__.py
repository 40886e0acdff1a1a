"""Data sets for training: from raw videos to shards."""
