"""The words that name a face."""

from __future__ import annotations

from pathlib import Path

import pytest

from personatalk.errors import FaceError
from personatalk.faces.choice import FaceChoice, FaceImage, FaceNumber, FacePlace, FaceSide, parse_choice


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
def test_what_is_understood(words: str, meant: FaceChoice) -> None:
    assert parse_choice(words) == meant


@pytest.mark.parametrize(
    "words", ["", "0", "-1", "middle", "left@", "left@noon", "1,2,3", "0.3;0.5", "2@4", "@3", "a.txt"]
)
def test_what_is_not(words: str) -> None:
    with pytest.raises(FaceError) as caught:
        parse_choice(words)
    assert "\n" not in str(caught.value)


def test_places_are_shares_or_pixels() -> None:
    assert FacePlace(0.25, 0.5).pixels(1280, 720) == (320, 360)
    assert FacePlace(1, 1).pixels(1280, 720) == (1280, 720)
    assert FacePlace(0.5, 300).pixels(1280, 720) == (0.5, 300)
