"""The options of the search for a face, without a network."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.made_up_people import box_at, made_up

from personatalk.errors import FaceError, MediaError
from personatalk.faces.follow import BoxFollower
from personatalk.faces.selection import FaceSearch
from personatalk.utils.arrays import Array


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "anna.png"
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    return path


def test_errors_show_before_the_video_is_read(image: Path, tmp_path: Path) -> None:
    for face in (None, "2", "left@3", str(image)):
        FaceSearch(face).check()
    (tmp_path / "text.png").write_text("no image")
    for face in ("nobody", str(tmp_path / "missing.png"), str(tmp_path / "text.png")):
        with pytest.raises(FaceError):
            FaceSearch(face).check()


def test_a_search_is_described_by_what_it_depends_on(image: Path, tmp_path: Path) -> None:
    same, other = tmp_path / "same.png", tmp_path / "other.png"
    same.write_bytes(image.read_bytes())
    other.write_bytes(image.read_bytes() + b"more")
    assert FaceSearch(str(image)).described() == FaceSearch(str(same)).described()
    assert FaceSearch(str(image)).described() != FaceSearch(str(other)).described()
    assert FaceSearch(identity=image).described() == FaceSearch().described(), "without a choice nobody is recognised"
    assert FaceSearch("1", identity=image).described() != FaceSearch("1").described()
    with pytest.raises(MediaError, match="cannot be read"):
        FaceSearch("1", identity=tmp_path / "missing.onnx").described()


def face_in(box: Array) -> Array:
    return np.array([[box[0], box[1], 0], [box[2], box[3], 0]], np.float32)


def test_the_face_on_the_known_box_is_followed_and_no_other(tmp_path: Path) -> None:
    people = made_up(tmp_path, [[box_at(100), box_at(110), None, None], [None, None, box_at(400), None]])
    follower = BoxFollower(people.track(1, 2))
    near, far = face_in(box_at(112)), face_in(box_at(400))
    assert follower.follow([far, near], False) is near
    assert follower.follow([far], False) is None
    assert follower.follow([near, far], True) is far
    assert follower.follow([near, far], False) is None, "the person is away"
    assert follower.follow([near, far], False) is None, "the video has ended"


def test_people_are_named_by_their_numbers(tmp_path: Path) -> None:
    people = made_up(tmp_path, [[box_at(100), None], [box_at(400), box_at(410)]])
    np.testing.assert_array_equal(people.box(2, 1), box_at(410))
    np.testing.assert_array_equal(people.track(2), [box_at(400), box_at(410)])
    np.testing.assert_array_equal(people.seen(), [[True, False], [True, True]])
    np.testing.assert_array_equal(people.seen(1), [[True, False]])
    assert people.seen_at(0) == [1, 2] and people.seen_at(1) == [2] and len(people) == 2
