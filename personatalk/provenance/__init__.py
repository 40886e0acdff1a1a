"""Provenance of generated videos: metadata tags, a signed C2PA manifest and an invisible watermark."""
