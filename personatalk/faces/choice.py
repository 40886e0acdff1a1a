"""Parsing of the words that name a face in `--face`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from ..errors import FaceError

Side = Literal["left", "right", "centre", "largest"]
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
FORMS = (
    "a number (or several of one person, such as 1+3), left, right, centre, largest, a place such as 0.3,0.5"
    " (or 0.3,0.5@12.5), or an image"
)
NUMBER_PATTERN = r"\d+(?:\.\d+)?|\.\d+"
PLACE_PATTERN = re.compile(rf"({NUMBER_PATTERN})\s*,\s*({NUMBER_PATTERN})")


@dataclass(frozen=True)
class FaceNumber:
    """A person by the number that `personatalk faces` gives, or by several where it took one person for several."""

    numbers: tuple[int, ...]


@dataclass(frozen=True)
class FaceSide:
    """A person by the position of the face among the others.

    Attributes:
        side: The position.
        time: Seconds of the frame that is meant; None for the frame that `resolution.resolve_choice` documents.
    """

    side: Side
    time: float | None = None


@dataclass(frozen=True)
class FacePlace:
    """A person by a point of the image.

    Attributes:
        x: From the left: a share of the width where both numbers are at most 1, else pixels.
        y: From the top, likewise.
        time: Seconds of the frame that is meant.
    """

    x: float
    y: float
    time: float = 0.0

    def pixels(self, width: int, height: int) -> tuple[float, float]:
        """Return the point in pixels of an upright image of the given size."""
        shares = self.x <= 1 and self.y <= 1
        return (self.x * width, self.y * height) if shares else (self.x, self.y)


@dataclass(frozen=True)
class FaceImage:
    """A person by an image that shows that person alone."""

    path: Path


FaceChoice = FaceNumber | FaceSide | FacePlace | FaceImage


def parse_choice(words: str) -> FaceChoice:
    """Parse the words that name a face.

    Args:
        words: A number from 1, or several of one person (`1+3`); `left`, `right`, `centre` (or `center`) or
            `largest`; `x,y`, as shares of the upright image's width and height where both are at most 1 and in
            pixels otherwise; the path of an image. A time in seconds may follow sides and places: `left@12.5`,
            `0.3,0.5@12.5`.

    Raises:
        FaceError: None of these.
    """
    words = words.strip()
    if Path(words).suffix.lower() in IMAGE_SUFFIXES:
        return FaceImage(Path(words))
    if re.fullmatch(r"\d+(\s*\+\s*\d+)*", words):
        numbers = tuple(sorted({int(word) for word in words.split("+")}))
        if 0 in numbers:
            raise FaceError(f"face {words}: people are numbered from 1")
        return FaceNumber(numbers)
    where, at, moment = (part.strip().lower() for part in words.partition("@"))
    time = float(moment) if re.fullmatch(NUMBER_PATTERN, moment) else None
    if (time is not None) == bool(at):
        side = "centre" if where == "center" else where
        if side in get_args(Side):
            return FaceSide(cast(Side, side), time)
        if place := PLACE_PATTERN.fullmatch(where):
            return FacePlace(float(place[1]), float(place[2]), time or 0.0)
    raise FaceError(f"{words!r} names no face; give {FORMS}")
