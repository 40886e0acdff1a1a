"""From the words of `--face` to a person, on made-up people."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.made_up_people import FixedRecogniser, box_at, made_up
from hypothesis import given
from hypothesis import strategies as st

from personatalk.errors import FaceError
from personatalk.faces import resolution
from personatalk.faces.people import People
from personatalk.faces.resolution import merge_choices, resolve_choice

FRAMES = 50


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    """The first person always sits on the right; a smaller one, on the left, comes at 1 s; a third leaves at 0.4 s."""
    right, left, middle = box_at(500, size=100), box_at(100), box_at(300, size=40)
    tracks = [[right] * FRAMES, [None] * 25 + [left] * 25, [middle] * 10 + [None] * 40]
    return made_up(tmp_path_factory.mktemp("people"), tracks)


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("2", 2),
        ("largest", 1),
        ("largest@1.5", 1),
        ("left", 3),
        ("left@0", 3),
        ("left@1.5", 2),
        ("right@1.5", 1),
        ("centre@0.2", 3),
        ("500,180", 1),
        ("0.78,0.5", 1),
        ("545,180", 1),
        ("100,180@1.2", 2),
    ],
)
def test_words_name_a_person(people: People, words: str, number: int) -> None:
    assert resolve_choice(people, words) == (number,)


def test_numbers_of_people_who_are_never_seen_together_are_one_person(people: People) -> None:
    assert resolve_choice(people, "3+2") == (2, 3)
    with pytest.raises(FaceError, match=r"--face 1\+2: the frame at 1\.00 s shows more than one of them"):
        resolve_choice(people, "1+2")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("4", "the video shows 3 people"),
        ("100,180", "it shows 1 at 500,180, 3 at 300,180"),
        ("0.1,0.1@1.5", "nobody at 64,36 in the frame at 1.48 s"),
        ("right@3.1", "the video ends at 1.96 s"),
    ],
)
def test_refusals_say_who_is_there(people: People, words: str, said: str) -> None:
    with pytest.raises(FaceError) as caught:
        resolve_choice(people, words)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_moment_without_anybody_is_refused(tmp_path: Path) -> None:
    people = made_up(tmp_path, [[None] * 5 + [box_at(300)] * 5])
    with pytest.raises(FaceError, match=r"nobody is seen at 0\.00 s; somebody first is at 0\.20 s"):
        resolve_choice(people, "left@0")


@given(x=st.floats(0, 640), y=st.floats(0, 360), time=st.floats(0, 2.9))
def test_a_place_means_the_nearest_face_that_it_touches_or_nobody(
    people: People, x: float, y: float, time: float
) -> None:
    frame = min(int(time * 25 + 0.025 + 1e-9), FRAMES - 1)
    distances = {}
    for number in people.seen_at(frame):
        box = people.box(number, frame)
        distances[number] = float(np.hypot(*((box[:2] + box[2:]) / 2 - [x, y]))) / float((box[2:] - box[:2]).max())
    nearest = min(distances, key=lambda number: distances[number])
    words = f"{max(x, 1.5):.6f},{max(y, 1.5):.6f}@{time:.6f}"
    if distances[nearest] < 0.95:
        assert resolve_choice(people, words) == (nearest,)
    elif distances[nearest] > 1.05:
        with pytest.raises(FaceError, match="nobody at"):
            resolve_choice(people, words)


def test_an_image_means_the_person_who_looks_like_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolution, "_only_face", lambda path, rgb: np.zeros((478, 3), np.float32))
    cv2.imwrite(str(tmp_path / "anna.png"), np.zeros((8, 8, 3), np.uint8))
    tracks = [[box_at(100)] * 5, [box_at(400)] * 5]
    like_the_second, like_nobody = np.array([0.1, 0.9]), np.array([3.0, 3.0])
    people = made_up(tmp_path, tracks, FixedRecogniser(like_the_second))
    assert resolve_choice(people, str(tmp_path / "anna.png")) == (2,)
    people = made_up(tmp_path, tracks, FixedRecogniser(like_nobody))
    with pytest.raises(FaceError, match="nobody in the video looks like this face"):
        resolve_choice(people, str(tmp_path / "anna.png"))


@given(st.lists(st.lists(st.integers(1, 8), min_size=1, max_size=3, unique=True).map(tuple), max_size=8))
def test_merged_choices_are_equal_or_share_nothing(chosen: list[tuple[int, ...]]) -> None:
    merged = merge_choices(chosen)
    assert len(merged) == len(chosen)
    for before, after in zip(chosen, merged, strict=True):
        assert set(before) <= set(after) and list(after) == sorted(after)
    for one in merged:
        assert all(one == other or not set(one) & set(other) for other in merged)
