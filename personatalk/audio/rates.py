"""Clocks of the audio that the networks hear."""

from __future__ import annotations

# Samples per second of all audio that the networks hear.
SAMPLE_RATE = 16000
# Samples per feature of the backbones: 50 features a second.
STRIDE = 320
# Frames per second of the networks' clock [paper, section 4.1].
FPS = 25
