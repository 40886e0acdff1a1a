"""The words that name a face."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personatalk.errors import FaceError
from personatalk.faces.choice import FaceChoice, FaceImage, FaceNumber, FacePlace, FaceSide, Side, parse_choice


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("2", FaceNumber((2,))),
        ("3 + 1+3", FaceNumber((1, 3))),
        (" 12 ", FaceNumber((12,))),
        ("left", FaceSide("left")),
        ("Center", FaceSide("centre")),
        ("largest@3", FaceSide("largest", 3.0)),
        ("right @ 12.5", FaceSide("right", 12.5)),
        ("0.3,0.5", FacePlace(0.3, 0.5)),
        ("0.3, .5@12.5", FacePlace(0.3, 0.5, 12.5)),
        ("640,360", FacePlace(640, 360)),
        ("anna.png", FaceImage(Path("anna.png"))),
        ("pictures/1,2@3.JPG", FaceImage(Path("pictures/1,2@3.JPG"))),
    ],
)
def test_words_are_parsed(words: str, meant: FaceChoice) -> None:
    assert parse_choice(words) == meant


@pytest.mark.parametrize(
    "words", ["", "0", "-1", "middle", "left@", "left@noon", "1,2,3", "0.3;0.5", "2@4", "@3", "a.txt"]
)
def test_other_words_are_refused(words: str) -> None:
    with pytest.raises(FaceError) as caught:
        parse_choice(words)
    assert "\n" not in str(caught.value)


def test_places_are_shares_or_pixels() -> None:
    assert FacePlace(0.25, 0.5).pixels(1280, 720) == (320, 360)
    assert FacePlace(1, 1).pixels(1280, 720) == (1280, 720)
    assert FacePlace(0.5, 300).pixels(1280, 720) == (0.5, 300)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=5))
def test_numbers_come_back(numbers: list[int]) -> None:
    assert parse_choice(" + ".join(map(str, numbers))) == FaceNumber(tuple(sorted(set(numbers))))


TIMES = st.one_of(st.none(), st.integers(0, 10**5).map(lambda n: n / 1000))
SHARES = st.integers(0, 1000).map(lambda n: n / 1000)
PIXELS = st.integers(0, 10**4).map(float)


@given(st.sampled_from(["left", "right", "centre", "largest"]), TIMES)
def test_sides_come_back(side: Side, time: float | None) -> None:
    words = side if time is None else f"{side}@{time}"
    assert parse_choice(words) == parse_choice(words.upper()) == FaceSide(side, time)


@given(st.one_of(SHARES, PIXELS), st.one_of(SHARES, PIXELS), TIMES)
def test_places_come_back(x: float, y: float, time: float | None) -> None:
    words = f"{x}, {y}" + ("" if time is None else f" @ {time}")
    assert parse_choice(words) == FacePlace(x, y, time or 0.0)


@given(SHARES, SHARES, st.integers(2, 8000), st.integers(2, 8000))
def test_shares_lie_inside_the_image(x: float, y: float, width: int, height: int) -> None:
    across, down = FacePlace(x, y).pixels(width, height)
    assert 0 <= across <= width and 0 <= down <= height


@given(st.text("0123456789.,@+- lefrightcnasx/", max_size=20))
def test_any_words_are_understood_or_refused_in_one_line(words: str) -> None:
    try:
        choice = parse_choice(words)
    except FaceError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(choice, FaceNumber | FaceSide | FacePlace | FaceImage)
