"""Small motion of the head in a clip that is made of a still image."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..faces.analysis import Analysis
from ..geometry.camera import project
from ..geometry.morphable_model import MorphableModel
from ..media.pixels import duplicate, planes_of
from ..media.reader import Frame
from ..utils.arrays import Array

# Largest turn in the image plane, in degrees.
ROLL = 1.5

# Largest shift across and down, as shares of the distance between the eyes' outer corners.
SWAY, NOD = 0.05, 0.04

# Band of the motion in hertz, and the number of waves that each part of it is the sum of.
LOWEST, HIGHEST, WAVES = 0.07, 0.45, 5

# Seconds in which the motion sets in: the first frame is the still.
ONSET = 1.0

# Half-axes of the ellipse that moves as one, and their factor where the motion ends, in distances between the eyes.
ACROSS, DOWN, OUTER = 1.25, 1.7, 2.3

# Distance below the face's middle of the point that it turns about: the neck.
NECK = 1.8

# Share of the image's shorter side over which the motion ends towards the edges.
EDGE = 0.08


@dataclass(frozen=True)
class _Waves:
    """A sum of sine waves in -1..1.

    Attributes:
        frequency: Hertz, (N,).
        phase: Radians, (N,).
    """

    frequency: Array
    phase: Array

    @classmethod
    def draw(cls, random: np.random.Generator) -> _Waves:
        """Draw frequencies evenly over the band, and any phases."""
        steps = (np.arange(WAVES) + random.uniform(0, 1, WAVES)) / WAVES
        frequency, phase = LOWEST + (HIGHEST - LOWEST) * steps, random.uniform(0, 2 * math.pi, WAVES)
        return cls(frequency.astype(np.float32), phase.astype(np.float32))

    def at(self, time: float) -> float:
        """Return the value at a time in seconds; slow waves are the larger ones."""
        weight = 1 / self.frequency
        return float((weight * np.sin(2 * math.pi * self.frequency * time + self.phase)).sum() / weight.sum())


class HeadMotion:
    """Turns and shifts the head a little in the image plane, by waves of low frequencies.

    The image is warped around the head and stays as it is further away and at its edges.

    Args:
        model: The morphable model.
        analysis: The analysis of the still.
        size: Width and height of the image in pixels.
        seed: Chooses the motion.
    """

    def __init__(self, model: MorphableModel, analysis: Analysis, size: tuple[int, int], seed: int) -> None:
        frame = int(np.flatnonzero(analysis.usable)[0])
        pose = analysis.pose[frame]
        self._x, self._y = (float(v) for v in project(analysis.vertices(model, frame), pose)[:, :2].mean(axis=0))
        self._eyes = float(np.exp(pose[3]))
        self._width, self._height = size
        random = np.random.default_rng(seed)
        self._roll, self._sway, self._nod = (_Waves.draw(random) for _ in range(3))

    def moved(self, frame: Frame) -> Frame:
        """Return a frame with the head as it is at the frame's time."""
        image = duplicate(frame.image)
        for plane in planes_of(image) or ():
            rows, columns = plane.samples.shape[:2]
            across, down = self._displacement(frame.time, rows, columns, plane.step_x, plane.step_y)
            x, y = np.meshgrid(np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32))
            source = np.ascontiguousarray(plane.samples)
            warped = cv2.remap(source, x - across, y - down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            plane.samples[:] = warped.reshape(plane.samples.shape)
        return replace(frame, image=image)

    def _displacement(self, time: float, rows: int, columns: int, step_x: int, step_y: int) -> tuple[Array, Array]:
        """Return the motion of each sample of a plane across and down, in samples, (rows, columns) each."""
        x = (np.arange(columns, dtype=np.float32) + 0.5)[None] * step_x - 0.5
        y = (np.arange(rows, dtype=np.float32) + 0.5)[:, None] * step_y - 0.5
        onset = _smooth(time / ONSET)
        angle = math.radians(ROLL) * onset * self._roll.at(time)
        weight = self._weight(x, y)
        across = self._eyes * SWAY * onset * self._sway.at(time) - angle * (y - self._y - NECK * self._eyes)
        down = self._eyes * NOD * onset * self._nod.at(time) + angle * (x - self._x)
        return (weight * across / step_x).astype(np.float32), (weight * down / step_y).astype(np.float32)

    def _weight(self, x: Array, y: Array) -> Array:
        """Return the share of the motion that points take part in: 1 on the head, 0 far from it and at the edges."""
        radius = np.hypot((x - self._x) / (ACROSS * self._eyes), (y - self._y) / (DOWN * self._eyes))
        edge = np.minimum(np.minimum(x, self._width - 1 - x), np.minimum(y, self._height - 1 - y))
        inside = _smooth(edge / (EDGE * min(self._width, self._height)))
        return np.asarray(inside * (1 - _smooth((radius - 1) / (OUTER - 1))), np.float32)


def _smooth(value: npt.NDArray[np.floating[Any]] | float) -> Array:
    """Return a smooth step from 0 at 0 to 1 at 1."""
    clipped = np.clip(value, 0.0, 1.0)
    return np.asarray(clipped * clipped * (3 - 2 * clipped), np.float32)
