"""Following one face among others."""

from __future__ import annotations

import numpy as np
import pytest

from personatalk.faces.follow import LargestFaceFollower, main_face
from personatalk.geometry.mediapipe_mesh import NUM_LANDMARKS
from personatalk.utils.arrays import Array


def face(x: float, y: float, size: float) -> Array:
    random = np.random.default_rng(0)
    points = random.uniform(-0.5, 0.5, (NUM_LANDMARKS, 3)).astype(np.float32) * np.float32(size)
    return points + np.array([x, y, 0], np.float32)


def test_the_largest_face_leads_at_first() -> None:
    faces = [face(50, 50, 40), face(300, 80, 90), face(500, 90, 60)]
    assert main_face(faces, None) is faces[1]


def test_the_same_face_is_followed_after_that() -> None:
    faces = [face(52, 50, 40), face(300, 80, 90), face(500, 90, 60)]
    assert main_face(faces, face(45, 55, 42)) is faces[0]
    assert main_face(faces, face(480, 80, 10)) is faces[2]


def test_somebody_else_is_not_taken_for_a_lost_face() -> None:
    follower, speaker, other = LargestFaceFollower(patience=3), face(50, 50, 40), face(300, 80, 90)
    assert follower.follow([speaker], False) is speaker
    assert follower.follow([other], False) is None
    assert follower.follow([face(60, 55, 40), other], False) is not other
    # A cut, or a long absence, ends it.
    assert follower.follow([other], True) is other
    assert [follower.follow([speaker], False) is speaker for _ in range(6)] == [False] * 4 + [True] * 2


@pytest.mark.parametrize("previous", [None, face(0, 0, 10)])
def test_no_face(previous: Array | None) -> None:
    assert main_face([], previous) is None
