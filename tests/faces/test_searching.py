"""Faces that the face mesh alone does not see, or takes for upright ones."""

from __future__ import annotations

from contextlib import closing

import cv2
import numpy as np
import pytest
from helpers import occluders, people_clips
from helpers.people_clips import canvas
from helpers.sample_clips import sample_frames

from personatalk.faces.boxes import face_box, same_face
from personatalk.faces.crops import roll
from personatalk.faces.landmarks import open_tracker
from personatalk.faces.mesh import FaceMesh
from personatalk.faces.presence import MAX_ABSENCE, MIN_PRESENCE, MIN_PRESENCE_AGAIN, FacePresence, agree
from personatalk.faces.searching import open_searching_tracker
from personatalk.utils.arrays import Array, Image

FRAMES = 3


@pytest.fixture(scope="module")
def upright() -> list[Image]:
    return people_clips.fitted(sample_frames(FRAMES))


@pytest.fixture(scope="module")
def truth(upright: list[Image]) -> Array:
    with closing(open_tracker()) as mesh:
        return [mesh.detect(rgb) for rgb in upright][-1][0]


def turned_back(face: Array, size: int, turns: int) -> Array:
    """Return landmarks of a square turned by clockwise quarters as they lay before the turn, (478, 2)."""
    x, y = face[:, 0], face[:, 1]
    return np.stack([(x, y), (y, size - x), (size - x, size - y), (size - y, x)][turns], axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_face_is_seen_as_the_upright_one(
    upright: list[Image], truth: Array, turns: int, mirrored: bool
) -> None:
    expected = truth
    if mirrored:
        upright = [rgb[:, ::-1] for rgb in upright]
        with closing(open_tracker()) as mesh:
            expected = [mesh.detect(np.ascontiguousarray(rgb)) for rgb in upright][-1][0]
    with closing(open_searching_tracker()) as tracker:
        (face,) = [tracker.detect(np.ascontiguousarray(np.rot90(rgb, -turns))) for rgb in upright][-1]
    assert agree(turned_back(face, people_clips.SIDE, turns), expected)
    assert np.cos(roll(face) - roll(expected) - turns * np.pi / 2) > 0.95


@pytest.mark.slow
def test_the_mesh_alone_lays_the_mouth_on_the_eyes_of_a_face_upside_down(upright: list[Image], truth: Array) -> None:
    rgb = np.ascontiguousarray(np.rot90(upright[0], 2))
    with closing(open_tracker()) as mesh:
        (wrong,) = mesh.detect(rgb)
    assert not agree(turned_back(wrong, people_clips.SIDE, 2), truth), "the second look is no longer needed"
    again = FacePresence(FaceMesh()).look(rgb, wrong)
    assert again is not None and not agree(wrong, again)
    assert agree(turned_back(again, people_clips.SIDE, 2), truth)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1920, 1080), (3840, 2160)])
def test_a_face_of_eighty_pixels_is_found_anywhere_in_the_first_frame(
    upright: list[Image], truth: Array, size: tuple[int, int]
) -> None:
    width, height = size
    side = round(80 / np.ptp(truth[:, 1]) * people_clips.SIDE)
    small = cv2.resize(upright[-1], (side, side), interpolation=cv2.INTER_AREA)
    for across, down in ((0.02, 0.03), (0.31, 0.52), (0.97, 0.9)):
        left, top = round(across * (width - side)), round(down * (height - side))
        room = canvas(width, height)
        room[top : top + side, left : left + side] = small
        with closing(open_searching_tracker()) as tracker, closing(open_tracker()) as mesh:
            assert mesh.detect(room) == []
            (face,) = tracker.detect(room)
        expected = face_box(truth) * side / people_clips.SIDE + np.tile([left, top], 2)
        assert same_face(face_box(face), expected.astype(np.float32))


def hand_over_nothing(turns: int, side: int = 320) -> Image:
    """A hand before a patterned curtain."""
    rows, columns = np.mgrid[:side, :side]
    curtain = 120 + 40 * np.sin(columns / 9) * np.sin(rows / 14)
    room = np.repeat(curtain[..., None], 3, axis=2).astype(np.uint8)
    layer = occluders.hand(side, side, 120, 150, 110, np.array([205, 160, 135]))
    return np.ascontiguousarray(np.rot90(occluders.held(room, layer), turns))


@pytest.mark.slow
def test_hands_and_patterns_are_no_faces(upright: list[Image], truth: Array) -> None:
    presence = FacePresence(FaceMesh())
    assert presence.look(upright[-1], truth) is not None
    for turns in range(4):
        room = hand_over_nothing(turns)
        with closing(open_searching_tracker()) as tracker:
            assert tracker.detect(room) == []
        for left, top in ((10, 20), (60, 60), (90, 10)):  # nor where a detector would take them for one
            assert presence.look(room, truth + np.array([left - 40, top - 40, 0], np.float32)) is None


@pytest.mark.slow
def test_a_hand_where_a_face_was_is_no_face(upright: list[Image], truth: Array) -> None:
    with closing(open_searching_tracker()) as tracker:
        for rgb in upright:
            assert len(tracker.detect(rgb)) == 1
        for turns in range(4):
            assert tracker.detect(hand_over_nothing(turns, people_clips.SIDE)) == []
    presence = FacePresence(FaceMesh())
    presence.remember([truth])
    for left, top in ((-30, -20), (0, 0), (20, -30)):
        moved = truth + np.array([left, top, 0], np.float32)
        assert all(presence.look(hand_over_nothing(turns), moved) is None for turns in range(4))


@pytest.mark.slow
@pytest.mark.parametrize("light", [(0.15, 1, 0.15), (0, 1, 0), (0.1, 0.15, 1), (1, 0.1, 1), (1, 0.5, 0.05)])
def test_a_face_in_coloured_light_is_one_and_a_hand_is_none(
    upright: list[Image], truth: Array, light: tuple[float, ...]
) -> None:
    presence = FacePresence(FaceMesh())
    assert presence.look((upright[-1] * np.array(light)).astype(np.uint8), truth) is not None
    for turns in range(4):
        room = (hand_over_nothing(turns) * np.array(light)).astype(np.uint8)
        assert presence.look(room, truth) is None


def test_a_lower_score_is_enough_where_a_face_was_shortly_before(monkeypatch: pytest.MonkeyPatch) -> None:
    face = np.random.default_rng(0).uniform(0, 100, (478, 3)).astype(np.float32)
    mesh, rgb = FaceMesh(), np.full((200, 200, 3), 90, np.uint8)
    monkeypatch.setattr(mesh, "look", lambda rgb, crop: (face, (MIN_PRESENCE + MIN_PRESENCE_AGAIN) / 2))
    presence = FacePresence(mesh)
    assert presence.look(rgb, face) is None
    presence.remember([face])
    assert presence.look(rgb, face + 5) is not None
    assert presence.look(rgb, face + 300) is None, "another place"
    for _ in range(MAX_ABSENCE):
        presence.remember([])
    assert presence.look(rgb, face) is not None
    presence.remember([])
    assert presence.look(rgb, face) is None, "too long ago"
    presence.remember([face])
    presence.forget()
    assert presence.look(rgb, face) is None, "before a cut"
