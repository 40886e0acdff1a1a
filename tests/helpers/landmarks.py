"""Made-up landmarks of faces that speak."""

from __future__ import annotations

import numpy as np

from personatalk.evaluation.metrics import LIPS, UPPER
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.utils.arrays import Array


def speaking(model: MorphableModel, frames: int = 80, scale: float = 100.0, shift: float = 0.0) -> Array:
    """Landmarks (T, 478, 2) of a mean face whose lower lip and chin move by a sum of waves; `shift` in frames."""
    time = (np.arange(frames) - shift) / 25
    wave = 0.10 + 0.04 * np.sin(2 * np.pi * 2.3 * time) + 0.03 * np.sin(2 * np.pi * 5.1 * time + 1)
    face = np.zeros((478, 2), np.float32)
    face[:468] = scale * model.mean[:, :2] + 200
    face[468:] = face[33] + 3
    marks = np.repeat(face[None], frames, axis=0)
    lower = [i for i in LIPS if model.mean[i, 1] > model.mean[UPPER, 1] + 0.01]
    marks[:, lower, 1] += (scale * wave)[:, None].astype(np.float32)
    return marks
