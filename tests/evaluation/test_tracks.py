"""Tracks: crops, and one video in another's pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.synthetic import smooth_picture

from personatalk.errors import PersonaTalkError
from personatalk.evaluation.tracks import Track, align_to, square_crop


def test_a_crop_without_faces_cannot_be_aligned() -> None:
    nothing = np.full((20, 478, 2), np.nan, np.float32)
    times = np.arange(20) / 25
    a, b = (Track(Path(n), s, times, nothing, None) for n, s in (("a", (64, 64)), ("b", (64, 40))))
    with pytest.raises(PersonaTalkError, match="another shape"):
        align_to(a, b)
    np.testing.assert_allclose(
        align_to(a, Track(Path("c"), (32, 32), times, nothing, None)), [[2, 0, 0.5], [0, 2, 0.5]]
    )


def test_a_face_is_cut_out_as_a_square() -> None:
    image = smooth_picture(100, 160, 3)
    landmarks = np.zeros((478, 2), np.float32)
    landmarks[0], landmarks[1:] = (60, 30), (100, 50)
    cut = square_crop(landmarks, image, margin=0.0)
    assert cut.shape == (40, 40, 3)
    np.testing.assert_array_equal(cut, image[20:60, 60:100])
    assert square_crop(landmarks, image, margin=2.0).shape == (200, 200, 3)
