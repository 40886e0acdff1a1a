"""The report of the renderer alone: every target's numbers, a sheet of mouths, and the means."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from ..errors import PersonaTalkError
from ..training.renderer_meter import RenderedTarget, summary
from ..utils.arrays import Image

# Rows and columns of a crop that show the mouth, as shares of its side.
MOUTH_ROWS, MOUTH_COLUMNS = (0.43, 0.78), (0.26, 0.74)
# Mouths side by side in the sheet.
COLUMNS = 8


def write_renderer_report(output: Path, measured: Iterable[tuple[RenderedTarget, Image, Image]]) -> dict[str, float]:
    """Write targets.json and mouths.png, real mouths above rendered ones, and return the means.

    Raises:
        PersonaTalkError: There is nothing to measure.
    """
    output.mkdir(parents=True, exist_ok=True)
    found: list[RenderedTarget] = []
    pairs: list[Image] = []
    for target, real, rendered in measured:
        found.append(target)
        pairs.append(np.vstack([_mouth(real), _mouth(rendered)]))
    if not found:
        raise PersonaTalkError("no clip is long enough to measure the renderer on; prepare longer ones")
    pairs += [np.zeros_like(pairs[0])] * (-len(pairs) % COLUMNS)
    sheet = np.vstack([np.hstack(pairs[i : i + COLUMNS]) for i in range(0, len(pairs), COLUMNS)])
    cv2.imwrite(str(output / "mouths.png"), sheet[..., ::-1])
    (output / "targets.json").write_text(json.dumps([asdict(target) for target in found], indent=1))
    return summary(found)


def _mouth(crop: Image) -> Image:
    rows, columns = (slice(*(round(len(crop) * share) for share in span)) for span in (MOUTH_ROWS, MOUTH_COLUMNS))
    return crop[rows, columns]
