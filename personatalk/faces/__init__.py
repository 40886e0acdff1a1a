"""Faces of a video: landmarks, shots, who is who, and the geometry of each frame."""
