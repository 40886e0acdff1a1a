"""Conversions between RGB and a video's own pixel format."""

from __future__ import annotations

import av
import numpy as np
import pytest

from personatalk import pixels


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv420p10le", "nv12", "rgb24"])
def test_colours_survive_the_way_there_and_back_without_a_bias(pix_fmt: str) -> None:
    random = np.random.default_rng(0)
    errors = []
    for _ in range(40):
        colour = random.integers(20, 235, (1, 1, 3)).astype(np.uint8)
        stored = pixels.from_rgb(np.tile(colour, (32, 32, 1)), av.VideoFrame(32, 32, pix_fmt))
        errors.append(pixels.to_rgb(stored)[16, 16].astype(float) - colour[0, 0])
    assert np.abs(np.mean(errors, axis=0)).max() < 0.5
    assert np.abs(errors).max() <= 2
