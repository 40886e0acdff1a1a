"""Several faces at once."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
from helpers import people_clips
from helpers.people_clips import canvas, sample_pair
from helpers.sample_clips import sample_frames
from helpers.synthetic import smooth_picture

from personatalk.faces.landmarks import open_tracker
from personatalk.faces.multi_face import open_multi_face_tracker, tiles


def small_pair(face: int) -> np.ndarray:
    """A wide picture of two faces of some width in pixels, of 1280."""
    one, two = (people_clips.fitted(frames, 2 * face) for frames in sample_pair(1))
    room = canvas(1280, 720)
    for left, picture in ((150, one[0]), (800, two[0])):
        room[300 : 300 + 2 * face, left : left + 2 * face] = picture
    return room


@pytest.mark.slow
def test_small_faces_of_a_wide_picture_are_all_found_in_its_first_frame() -> None:
    picture = small_pair(90)
    with closing(open_multi_face_tracker()) as crowd, closing(open_tracker(max_faces=5)) as plain:
        assert len(crowd.detect(picture)) == 2
        assert len(plain.detect(picture)) < 2, "MediaPipe finds them itself: the detector of our own is not needed"


@pytest.mark.slow
def test_one_face_is_seen_as_by_the_tracker_of_one() -> None:
    frames = sample_frames(8)
    with closing(open_multi_face_tracker()) as crowd, closing(open_tracker()) as plain:
        for rgb in frames:
            (ours,), (theirs,) = crowd.detect(rgb), plain.detect(rgb)
    eyes = np.linalg.norm(theirs[33, :2] - theirs[263, :2])
    assert np.linalg.norm(ours - theirs, axis=1)[:468].mean() < 0.03 * eyes


@pytest.mark.slow
def test_a_new_face_is_found_within_a_few_frames_and_a_lost_one_at_once() -> None:
    both, nobody = small_pair(120), canvas(1280, 720)
    one = both.copy()
    one[:, 640:] = nobody[:, 640:]
    with closing(open_multi_face_tracker()) as crowd:
        counts = [len(crowd.detect(rgb)) for rgb in [one, one, both, both, both, one, nobody, both]]
    assert counts[:2] == [1, 1] and counts[4] == 2 and counts[5:] == [1, 0, 2]


@pytest.mark.slow
def test_no_face_is_seen_in_clouds_and_no_more_than_asked_for() -> None:
    with closing(open_multi_face_tracker(max_faces=1)) as crowd:
        assert crowd.detect(smooth_picture(120, 260, 15)) == []
        assert len(crowd.detect(small_pair(120))) == 1


@pytest.mark.parametrize(("width", "height", "count"), [(512, 512, 1), (600, 512, 1), (1920, 1080, 3), (720, 1280, 3)])
def test_tiles_cover_the_picture(width: int, height: int, count: int) -> None:
    parts = tiles(width, height)
    assert len(parts) == count and parts[0] == (0, 0, width, height)
    covered = np.zeros((height, width), bool)
    for left, top, right, bottom in parts[1:]:
        assert right - left == bottom - top == min(width, height)
        covered[top:bottom, left:right] = True
    assert count == 1 or covered.all()
