"""Options of rendering, apart from what renders: the command line knows them before anything is loaded."""

from __future__ import annotations

from typing import Literal

# Side of the rendered face crop in pixels; see `face_crops.choose_crop_size`.
Resolution = Literal["auto", "256", "512"]
