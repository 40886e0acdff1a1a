"""Marks that say that a video was generated: metadata, C2PA manifest, watermark."""
