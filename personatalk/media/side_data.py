"""Side data of decoded frames: what travels beside the pixels, such as orientation and HDR metadata."""

from __future__ import annotations

from typing import Any

import av
from av.sidedata import sidedata

# Name of the kinds that PyAV does not know.
NAMELESS = "NAMELESS"


def side_data(image: av.VideoFrame) -> dict[str, bytes]:
    """Return the side data of a decoded frame by PyAV's names of its kinds; kinds without a name are left out."""
    return {data.type.name: bytes(data) for data in image.side_data if data.type.name != NAMELESS}


def _nameless(kinds: Any, value: object) -> Any:
    """Return a member for a number that has none."""
    member = object.__new__(kinds)
    member._name_, member._value_ = NAMELESS, value
    return member


# FFmpeg's list of kinds grows faster than PyAV's, which refuses all side data of a frame that has a kind too new for it
# (EXIF of TIFF and JPEG, views of stereoscopic video).
_kinds: Any = sidedata.Type
_kinds._missing_ = classmethod(_nameless)
