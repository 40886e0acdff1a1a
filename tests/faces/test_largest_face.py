"""Without a choice the largest face of each shot is followed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.people_clips import SIDE, canvas, sample_pair
from helpers.sample_clips import write_video

from personatalk.faces.analysis import analyse
from personatalk.faces.selection import FaceSearch
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.media.reader import VideoReader

pytestmark = pytest.mark.slow

SHOT = 6
SMALL = 176

People = tuple[list[np.ndarray], list[np.ndarray]]


@pytest.fixture(scope="module")
def pair() -> People:
    return sample_pair(SHOT)


def shot(pair: People, large_on_the_left: bool, first_on_the_left: bool, brighter: float = 1.0) -> list[np.ndarray]:
    """Frames of two people, one of them at a distance."""
    people = pair if first_on_the_left else pair[::-1]
    sides = (SIDE, SMALL) if large_on_the_left else (SMALL, SIDE)
    frames = []
    for images in zip(*people, strict=True):
        room = canvas(2 * SIDE + 60, SIDE)
        for image, side, middle in zip(images, sides, (SIDE // 2, SIDE + 60 + SIDE // 2), strict=True):
            left = middle - side // 2
            room[SIDE - side :, left : left + side] = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        frames.append(np.clip(room * brighter, 0, 255).astype(np.uint8))
    return frames


def followed(path: Path, frames: Sequence[np.ndarray], model: MorphableModel) -> tuple[list[int], np.ndarray]:
    """First frames of the shots that are found, and where the followed face is in each frame, (T,), in pixels."""
    with VideoReader(write_video(path, frames)) as reader, FaceSearch().open(reader, model) as (tracker, follower):
        analysis = analyse(reader, tracker, model, follower=follower)
    assert analysis.usable.all()
    return [shot.start for shot in analysis.shots], analysis.pose[:, 4]


@pytest.mark.parametrize("first_on_the_left", [True, False])
@pytest.mark.parametrize("large_on_the_left", [True, False])
def test_the_larger_face_is_followed_on_either_side(
    tmp_path: Path, pair: People, model: MorphableModel, large_on_the_left: bool, first_on_the_left: bool
) -> None:
    frames = shot(pair, large_on_the_left, first_on_the_left)
    _, across = followed(tmp_path / "two.mp4", frames, model)
    assert ((across < frames[0].shape[1] / 2) == large_on_the_left).all()


@pytest.mark.parametrize("large_on_the_left", [True, False])
def test_the_larger_face_is_followed_after_a_cut(
    tmp_path: Path, pair: People, model: MorphableModel, large_on_the_left: bool
) -> None:
    # The other face is the larger one in the second shot, and the first one's place is taken by a small one.
    frames = shot(pair, large_on_the_left, True) + shot(pair, not large_on_the_left, True, 0.4)
    shots, across = followed(tmp_path / "cut.mp4", frames, model)
    assert shots == [0, SHOT]
    on_the_left = across < frames[0].shape[1] / 2
    assert (on_the_left == np.repeat([large_on_the_left, not large_on_the_left], SHOT)).all()
