"""Conversions between RGB and a video's own pixel format."""

from __future__ import annotations

import av
import numpy as np
import pytest

from personatalk.media import pixels

FORMATS = ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv420p10le", "nv12", "rgb24"]


def there_and_back(colour: np.ndarray, pix_fmt: str) -> np.ndarray:
    """Change of a plain colour (3,) by a conversion to a format and back."""
    picture = np.tile(colour.astype(np.uint8), (32, 32, 1))
    stored = pixels.from_rgb(picture, av.VideoFrame(32, 32, pix_fmt))
    return pixels.to_rgb(stored)[16, 16].astype(float) - colour


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_greys_keep_their_brightness(pix_fmt: str) -> None:
    errors = [there_and_back(np.full(3, level), pix_fmt) for level in range(20, 236, 5)]
    assert np.abs(np.mean(errors)) < 0.3
    assert np.abs(errors).max() <= 1


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_colours_stay_within_the_rounding_of_chroma(pix_fmt: str) -> None:
    random = np.random.default_rng(0)
    errors = [there_and_back(random.integers(20, 235, 3), pix_fmt) for _ in range(40)]
    assert np.abs(errors).max() <= 2
