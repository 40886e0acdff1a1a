"""Tiny random networks, drawn faces and a tracker that knows them: the whole job in a fraction of a second.

Nothing here depends on the shipped networks of stage 1 and stage 2, nor on MediaPipe. The drawings are plain areas of
colour, so a test of the plumbing can say exactly which frame shows whom; how good a mouth looks is tested elsewhere.
The fixtures `tiny_models` and `drawn_faces` in conftest.py put both in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from helpers.exported import geometry_runtime, renderer_runtime
from helpers.sample_clips import spoken, write_sound, write_video
from helpers.synthetic import opened
from personatalk.faces import selection
from personatalk.geometry.mediapipe_mesh import NUM_LANDMARKS
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.pipeline.weights import Models
from personatalk.stage1.network import GeometryGenerator
from personatalk.stage2.renderer import Renderer
from personatalk.utils.arrays import Array, Image

SIZE = 96
CROP = 64
SCALE = 26.0
BACKGROUND = (60, 70, 80)
# The blue of the skin tells how far the mouth is open: this much for a closed mouth, and for a model unit of opening.
CLOSED_BLUE, BLUE_PER_UNIT = 40, 300


def tiny_face() -> MorphableModel:
    """Return the package's morphable model with few coefficients and few keypoints, which is fitted fast."""
    model = MorphableModel.load()
    rigid = np.isin(np.arange(len(model.keypoints)), model.rigid)
    kept = np.flatnonzero((np.arange(len(rigid)) % 8 == 0) | (rigid & (np.arange(len(rigid)) % 4 == 0)))
    return replace(
        model,
        identity=model.identity[..., :3],
        expression=model.expression[..., :3],
        keypoints=model.keypoints[kept],
        landmarks=model.landmarks[kept],
        rigid=np.flatnonzero(rigid[kept]),
    )


def tiny_models(seed: int = 0) -> Models:
    """Random networks of a few thousand numbers with a morphable model that is fitted fast."""
    torch.manual_seed(seed)
    face = tiny_face()
    backbone = {"kind": "whisper", "width": 16, "heads": 2, "layers": 1}
    stage1 = GeometryGenerator(face.num_vertices, face.num_expression, backbone, dim=16, heads=2, layers=1, reach=3)
    stage1.set_expressions(face)
    return Models(face, geometry_runtime(stage1), renderer_runtime(Renderer(channels=8, width=8, size=CROP)))


@dataclass(frozen=True)
class Face:
    """One drawn face.

    Attributes:
        x: Middle in pixels.
        y: Middle in pixels.
        gap: Mouth opening in model units, 0..0.5.
        scale: Pixels of a model unit, which is the distance between the outer eye corners.
        green: Tells people apart.
    """

    x: float = 48.0
    y: float = 44.0
    gap: float = 0.05
    scale: float = SCALE
    green: int = 110


def draw_faces(faces: Sequence[Face], width: int = SIZE, height: int = SIZE) -> Image:
    """Draw faces, uint8 (height, width, 3), in order of their distance."""
    image = np.full((height, width, 3), BACKGROUND, np.uint8)
    image[:, :, 1] += np.linspace(0, 40, width).astype(np.uint8)
    model = MorphableModel.load()
    for face in faces:
        outline = cv2.convexHull(_landmarks(model, face.x, face.y, face.scale, 0.0)[:, :2].round().astype(np.int32))
        colour = (210, face.green, round(CLOSED_BLUE + BLUE_PER_UNIT * face.gap))
        cv2.fillConvexPoly(image, outline, colour)
    return image


def talking(count: int = 10, face: Face | None = None) -> list[Image]:
    """Draw frames of one face whose mouth opens and closes."""
    face = face or Face()
    gaps = 0.15 + 0.12 * np.sin(np.arange(count))
    return [draw_faces([Face(face.x, face.y, float(gap), face.scale, face.green)]) for gap in gaps]


def nobody() -> Image:
    """Draw a frame without a face."""
    return draw_faces([])


def clip_of(path: Path, frames: Sequence[Image] | None = None) -> Path:
    """Write a clip of drawn frames; ten frames of `talking` where None are given."""
    return write_video(path, talking() if frames is None else frames)


def speech_of(path: Path, seconds: float = 0.4) -> Path:
    """Write so much speech as WAV."""
    return write_sound(path, spoken(seconds))


@contextmanager
def in_place(models: Models) -> Iterator[None]:
    """Let everything that looks for faces find drawn ones, and `Models.load` return the given models."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "open_searching_tracker", lambda: DrawnFaceTracker())
        patch.setattr(selection, "open_multi_face_tracker", lambda: DrawnFaceTracker())
        patch.setattr(Models, "load", classmethod(lambda cls, *paths, **named: models))
        yield


class DrawnFaceTracker:
    """A `FaceTracker` of faces by `draw_faces`: each area of skin is one face. It remembers nothing between frames.

    The forehead tells where a face is: the chin may lie outside the image.

    Args:
        max_faces: Most faces that are returned, the largest first.
    """

    def __init__(self, max_faces: int = 5) -> None:
        self._model, self._max_faces = MorphableModel.load(), max_faces
        still = _landmarks(self._model, 0.0, 0.0, 1.0, 0.0)[:, :2]
        self._low, self._high = still.min(axis=0), still.max(axis=0)

    def detect(self, rgb: Image) -> list[Array]:
        """See `FaceTracker.detect`."""
        red, green = rgb[..., 0].astype(np.int16), rgb[..., 1].astype(np.int16)
        skin = ((red > 150) & (red - green > 25)).astype(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(skin)
        largest = sorted(range(1, count), key=lambda i: -int(stats[i, cv2.CC_STAT_AREA]))[: self._max_faces]
        return [self._face(rgb, labels == i, stats[i]) for i in largest if stats[i, cv2.CC_STAT_AREA] > 100]

    def _face(self, rgb: Image, area: np.ndarray, stats: np.ndarray) -> Array:
        left, top, width = (float(v) for v in stats[:3])
        scale = width / float(self._high[0] - self._low[0])
        x = left + width / 2 - scale * float(self._high[0] + self._low[0]) / 2
        y = top - scale * float(self._low[1])
        gap = (float(np.median(rgb[..., 2][area])) - CLOSED_BLUE) / BLUE_PER_UNIT
        return _landmarks(self._model, x, y, scale, gap)

    def close(self) -> None:
        """See `FaceTracker.close`."""


def _landmarks(model: MorphableModel, x: float, y: float, scale: float, gap: float) -> Array:
    """Landmarks (478, 3) of the mean person with an open mouth, in pixels."""
    shape = model.mean + (model.offsets(opened(model, gap)) if gap else 0)
    face = np.zeros((NUM_LANDMARKS, 3), np.float32)
    face[: len(shape)] = scale * shape
    face[len(shape) :] = face[33]
    face[:, :2] += (x, y)
    return face
