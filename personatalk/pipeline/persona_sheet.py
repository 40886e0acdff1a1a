"""A persona for people: a description in text, and an image of its mouths and their openings."""

from __future__ import annotations

import cv2
import numpy as np

from ..geometry.morphable_model import MorphableModel
from ..utils.arrays import Array, Image
from .persona import MOUTH_SIZE, Persona
from .weights import Models

MOUTHS_IN_A_ROW = 9

# The histogram: its height, the line on which its bars stand and the height of the tallest, in pixels; its bins, and
# the widest opening that it shows, in model units.
PLOT_HEIGHT, BASELINE, TALLEST = 140, 110, 100
BINS, WIDEST = 40, 0.5


def describe_persona(persona: Persona, models: Models) -> list[str]:
    """Return what a persona holds, as lines of text."""
    opening = persona.openings(models.morphable)
    lines = [
        f"style from {len(persona.beta)} frames; strength {float(np.linalg.norm(persona.style(models))):.2f}",
        f"mouth opening, share of the eye distance: mean {opening.mean():.3f}, spread {opening.std():.3f},"
        f" closed {np.quantile(opening, 0.05):.3f}, wide {np.quantile(opening, 0.95):.3f}",
    ]
    fits = "" if persona.fits(models) else "; of other models, encoded anew when used"
    for footage in persona.footage:
        count, usable = len(footage.analysis["time"]), int(footage.analysis["usable"].sum())
        face = "" if footage.face is None else f", face {footage.face}"
        lines.append(
            f"{footage.name}{face}: {count} frames, {usable} usable, {len(footage.lips)} shots with lips{fits}"
        )
        if footage.latents is not None:
            lines.append(f"{footage.name}: texture latents of {np.count_nonzero(footage.latents.cells)} frames")
    return lines


def draw_persona(persona: Persona, model: MorphableModel) -> Image:
    """Draw a persona, uint8 (H, W, 3): its mouths from closed to open, and a histogram of its openings."""
    rows = [persona.mouths[i : i + MOUTHS_IN_A_ROW] for i in range(0, len(persona.mouths), MOUTHS_IN_A_ROW)]
    width = MOUTH_SIZE * max(len(row) for row in rows)
    sheet = np.full((MOUTH_SIZE * len(rows), width, 3), 255, np.uint8)
    for y, row in enumerate(rows):
        sheet[y * MOUTH_SIZE : (y + 1) * MOUTH_SIZE, : MOUTH_SIZE * len(row)] = np.hstack(list(row))
    return np.vstack([sheet, _histogram(persona.openings(model), width)])


def _histogram(openings: Array, width: int) -> Image:
    counts, _ = np.histogram(openings, bins=BINS, range=(0.0, WIDEST))
    plot = np.full((PLOT_HEIGHT, width, 3), 255, np.uint8)
    for i, count in enumerate(counts):
        left, right = i * width // BINS, (i + 1) * width // BINS - 2
        top = BASELINE - round(TALLEST * count / max(1, counts.max()))
        cv2.rectangle(plot, (left, top), (max(left, right), BASELINE), (70, 110, 180), -1)
    for share in (0.0, 0.1, 0.2, 0.3, 0.4):
        place = (round(share / WIDEST * width) + 2, PLOT_HEIGHT - 8)
        cv2.putText(plot, f"{share:.1f}", place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (60, 60, 60), 1, cv2.LINE_AA)
    return plot
