"""Small plots for the training's log."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

LINE_COLOURS = ((40, 40, 40), (200, 60, 30), (30, 90, 200), (40, 150, 60))


def draw_curves(
    series: dict[str, npt.NDArray[np.float32]], width: int = 640, height: int = 200
) -> npt.NDArray[np.uint8]:
    """Draw curves over one axis as an image (height, width, 3); names in the colours of their curves."""
    image = np.full((height, width, 3), 255, np.uint8)
    low = min(float(v.min()) for v in series.values())
    high = max(float(v.max()) for v in series.values())
    for (name, values), (number, colour) in zip(series.items(), enumerate(LINE_COLOURS), strict=False):
        x = np.linspace(8, width - 8, len(values))
        y = height - 10 - (height - 30) * (values - low) / max(high - low, 1e-9)
        points = np.stack([x, y], axis=1).round().astype(np.int32)
        cv2.polylines(image, [points], False, colour, 1, cv2.LINE_AA)
        cv2.putText(image, name, (10 + 110 * number, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
    return image


def draw_grid(rows: list[list[npt.NDArray[np.uint8]]]) -> npt.NDArray[np.uint8]:
    """Arrange images of one size side by side, (rows x H, columns x W, 3)."""
    return np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)
