"""Images that are written for people to look at."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ..errors import OutputError

# Formats of images that can be written.
SUFFIXES = (".png", ".jpg", ".jpeg")


def check_picture(path: Path) -> None:
    """Check before the work that an image can be written.

    Raises:
        OutputError: The folder is missing, or the suffix is no image format's.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{path}: no picture format of that name; use .png or .jpg")
    check_folder(path)


def check_folder(path: Path) -> None:
    """Check that the folder of a file that will be written exists.

    Raises:
        OutputError: There is none.
    """
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{path}: the folder does not exist; make it or choose another")


def write_text(picture: npt.NDArray[np.uint8], text: str, place: tuple[int, int], size: float, width: int) -> None:
    """Write white letters with a dark edge into an image.

    Args:
        picture: uint8 (H, W, 3), changed in place.
        text: The words, in Latin letters.
        place: (x, y) of the lower left corner of the first letter, in pixels.
        size: Size of the letters, as of OpenCV.
        width: Width of the strokes in pixels.
    """
    for colour, thickness in ((0, 0, 0), width + 2), ((255, 255, 255), width):
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, thickness, cv2.LINE_AA)


def write_picture(path: Path | str, picture: npt.NDArray[np.uint8]) -> None:
    """Write an RGB image, uint8 (H, W, 3), in the format that the suffix says.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        written = cv2.imwrite(str(path), np.ascontiguousarray(picture[..., ::-1]))
    except cv2.error:
        written = False
    if not written:
        raise OutputError(f"{path}: the picture cannot be written; check suffix, folder and free space")
