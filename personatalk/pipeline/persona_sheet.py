"""personatalk.pipeline.persona_sheet."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ..geometry.morphable_model import MorphableModel
from .persona import PICTURE, Persona
from .weights import Models


def describe(persona: Persona, models: Models) -> list[str]:
    """What a persona holds, in lines for people."""
    opening = persona.openings(models.morphable)
    lines = [
        f"style from {len(persona.beta)} frames; strength {float(persona.style(models).norm()):.2f}",
        f"mouth opening, share of the eye distance: mean {opening.mean():.3f}, spread {opening.std():.3f},"
        f" closed {np.quantile(opening, 0.05):.3f}, wide {np.quantile(opening, 0.95):.3f}",
    ]
    fits = "" if models.fingerprint() == persona.made_by else "; of other models, encoded anew when used"
    for known in persona.footage:
        count, usable = len(known.analysis["time"]), int(known.analysis["usable"].sum())
        face = "" if known.face is None else f", face {known.face}"
        lines.append(f"{known.name}{face}: {count} frames, {usable} usable, {len(known.lips)} shots with lips{fits}")
        if known.textures is not None:
            lines.append(f"{known.name}: texture latents of {np.count_nonzero(known.textures.cells)} frames")
    return lines


def draw(persona: Persona, model: MorphableModel) -> npt.NDArray[np.uint8]:
    """A picture of a persona, uint8 (H, W, 3): its mouths from closed to open, and how often it opens how far."""
    rows = [persona.pictures[i : i + 9] for i in range(0, len(persona.pictures), 9)]
    width = PICTURE * max(len(row) for row in rows)
    sheet = np.full((PICTURE * len(rows), width, 3), 255, np.uint8)
    for y, row in enumerate(rows):
        sheet[y * PICTURE : (y + 1) * PICTURE, : PICTURE * len(row)] = np.hstack(list(row))
    counts, _ = np.histogram(persona.openings(model), bins=40, range=(0.0, 0.5))
    plot = np.full((140, width, 3), 255, np.uint8)
    for i, count in enumerate(counts):
        left, right = i * width // 40, (i + 1) * width // 40 - 2
        top = 110 - round(100 * count / max(1, counts.max()))
        cv2.rectangle(plot, (left, top), (max(left, right), 110), (70, 110, 180), -1)
    for share in (0.0, 0.1, 0.2, 0.3, 0.4):
        place = (round(share / 0.5 * width) + 2, 132)
        cv2.putText(plot, f"{share:.1f}", place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (60, 60, 60), 1, cv2.LINE_AA)
    return np.vstack([sheet, plot])
