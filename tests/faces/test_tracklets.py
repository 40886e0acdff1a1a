"""Linking of faces to tracklets."""

from __future__ import annotations

import numpy as np

from personatalk.faces.boxes import face_box, same_face
from personatalk.faces.tracklets import MAX_TRACKLET_SNAPSHOTS, TrackletLinker, frontality
from personatalk.utils.arrays import Array


class Colour:
    """A recogniser by the colour under the nose."""

    threshold = 10.0

    def embed(self, image: np.ndarray, landmarks: Array) -> Array:
        x, y = landmarks[1, :2].round().astype(int)
        return image[y, x].astype(np.float32)


def fake_face(x: float, y: float = 100, side: float = 60) -> Array:
    marks = np.random.default_rng(0).uniform(-0.5, 0.5, (478, 3)).astype(np.float32)
    marks[[1, 234, 454]] = [[0, 0, 0], [-0.5, 0, 0], [0.5, 0, 0]]
    return marks * np.float32(side) + np.array([x, y, 0], np.float32)


def linked(*frames: list[float], cuts: tuple[int, ...] = ()) -> list[tuple[list[int], bool]]:
    """Frames of each tracklet, and whether it is doubtful, of faces at some places."""
    linker, rgb = TrackletLinker(Colour()), np.zeros((200, 600, 3), np.uint8)
    for number, places in enumerate(frames):
        linker.take(number, rgb, [fake_face(x) for x in places], number in cuts)
    return [(tracklet.frames, tracklet.ambiguous) for tracklet in linker.tracklets]


def test_a_face_is_followed_and_others_are_not_taken_for_it() -> None:
    assert linked([100], [110], [120, 400], [130, 405]) == [([0, 1, 2, 3], False), ([2, 3], False)]
    assert linked([100], [300]) == [([0], False), ([1], False)]
    assert linked([100], [101], [102], cuts=(1,)) == [([0], False), ([1, 2], False)]


def test_a_short_absence_is_bridged_by_its_motion_and_a_long_one_is_not() -> None:
    assert linked([100], [120], [140], [], [], [200], [220]) == [([0, 1, 2, 5, 6], False)]
    assert linked([100], [100], [], [], [], [], [], [], [100]) == [([0, 1], False), ([8], False)]


def test_tracklets_end_where_two_faces_meet() -> None:
    found = linked([100, 200], [120, 180], [140, 165], [160, 145], [190, 120], [210, 100])
    assert [ambiguous for _, ambiguous in found[:2]] == [False, False]
    assert all(max(frames) < 3 for frames, _ in found[:2])
    after = [frames for frames, ambiguous in found if not ambiguous and 5 in frames]
    assert len(after) == 2 and all(min(frames) > 2 for frames in after)
    assert any(ambiguous for _, ambiguous in found)


def test_one_face_left_in_front_of_another_is_soon_followed_again() -> None:
    alone = [[200.0 - 10 * i] for i in range(10)]
    found = linked([100, 240], [120, 220], [140, 205], *alone)
    assert found[-1] == (list(range(found[-1][0][0], 13)), False)
    assert len(found[-1][0]) >= 6 and len(found) <= 6


def test_the_pictures_of_a_tracklet_do_not_grow_with_its_length() -> None:
    linker, rgb = TrackletLinker(Colour()), np.zeros((200, 600, 3), np.uint8)
    for number in range(700):
        linker.take(number, rgb, [fake_face(200)], False)
    (tracklet,) = linker.tracklets
    frames = np.array([snapshot.frame for snapshot in tracklet.snapshots])
    assert MAX_TRACKLET_SNAPSHOTS / 2 <= len(frames) <= MAX_TRACKLET_SNAPSHOTS
    assert np.diff(frames).min() > 20 and frames[-1] > 600


def test_frontality_falls_as_the_head_turns() -> None:
    face = fake_face(0)
    values = []
    for nose in (0, 10, 20, 29, 40):
        turned = face.copy()
        turned[1, 0] += nose
        values.append(frontality(turned))
    assert values[0] == 1 and values[-1] == 0
    assert values == sorted(values, reverse=True)


def test_boxes_of_one_face() -> None:
    box = face_box(fake_face(100))
    assert same_face(box, face_box(fake_face(115)))
    assert not same_face(box, face_box(fake_face(150)))
