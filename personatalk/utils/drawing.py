"""Pictures that are written for people to look at."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ..errors import MediaError

SUFFIXES = (".png", ".jpg", ".jpeg")


def check_picture(path: Path) -> None:
    """Find out before the work that a picture cannot be written.

    Raises:
        MediaError: The folder is missing, or the name is no picture's.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise MediaError(f"{path}: no picture format of that name; use .png or .jpg")
    check_folder(path)


def check_folder(path: Path) -> None:
    """Make sure that there is the folder of a file that will be written.

    Raises:
        MediaError: There is none.
    """
    if not path.absolute().parent.is_dir():
        raise MediaError(f"{path}: the folder does not exist; make it or choose another")


def write_text(picture: npt.NDArray[np.uint8], text: str, place: tuple[int, int], size: float, width: int) -> None:
    """Write white letters with a dark edge into a picture; `place` is where their line begins."""
    for colour, thickness in ((0, 0, 0), width + 2), ((255, 255, 255), width):
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, thickness, cv2.LINE_AA)


def write_picture(path: Path | str, picture: npt.NDArray[np.uint8]) -> None:
    """Write RGB, uint8 (H, W, 3), in the format that the suffix says.

    Raises:
        MediaError: It cannot be written.
    """
    try:
        written = cv2.imwrite(str(path), np.ascontiguousarray(picture[..., ::-1]))
    except cv2.error:
        written = False
    if not written:
        raise MediaError(f"{path}: the picture cannot be written; check suffix, folder and free space")
