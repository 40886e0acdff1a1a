"""Pictures that are written for people to look at."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from .errors import MediaError


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
