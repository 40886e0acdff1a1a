"""Facial geometry: a linear morphable model, head pose, and the 256 x 256 face crop (paper, section 3.1).

Model space has x to the right of the image, y down and z away from the camera. Its unit is the distance between
the outer eye corners of the mean face. A pose is six numbers `(rx, ry, rz, log s, tx, ty)`: a rotation vector in
radians, the logarithm of the scale in pixels per unit, and the image position of the model's origin in pixels
(weak perspective: depth is dropped after the rotation).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import WeightsError
from ..utils import serialization
from ..utils.arrays import Array, IntArray
from .mediapipe_mesh import NUM_LANDMARKS

KIND = "morphable-model"
VERSION = 1


@dataclass(frozen=True)
class MorphableModel:
    """A linear 3D morphable model: vertices = mean + identity @ alpha + expression @ beta.

    Coefficients are in standard deviations of the training data, so that a unit ball is a plausible face.

    Attributes:
        mean: Mean face, (V, 3).
        identity: Shape basis, (V, 3, I).
        expression: Expression basis, (V, 3, E).
        triangles: Vertex indices, int (F, 3).
        keypoints: Vertices that the fit holds against landmarks, int (K,).
        landmarks: MediaPipe landmark of each keypoint, int (K,).
        rigid: Positions in `keypoints` that hardly move with expression, int (R,).
        lips: Vertices of the lips, int.
        inner_lips: Pairs (upper, lower) of vertices along the inner lips, int (P, 2); the middle pair first.
        mouth_corners: Vertices of the right and left corner of the mouth (in the image: left, right).
        jaw: Vertices of the face's lower outline from one ear to the other, in order.
        lower: Weight of the generated lower face at each vertex, 0 (the video's) .. 1 (generated), (V,).
    """

    mean: Array
    identity: Array
    expression: Array
    triangles: IntArray
    keypoints: IntArray
    landmarks: IntArray
    rigid: IntArray
    lips: IntArray
    inner_lips: IntArray
    mouth_corners: IntArray
    jaw: IntArray
    lower: Array

    @property
    def num_vertices(self) -> int:
        """Number of vertices V."""
        return len(self.mean)

    @property
    def num_identity(self) -> int:
        """Number of shape coefficients I."""
        return self.identity.shape[2]

    @property
    def num_expression(self) -> int:
        """Number of expression coefficients E."""
        return self.expression.shape[2]

    def shape(self, alpha: Array) -> Array:
        """Return the vertices without expression, {alpha, 0, 0}: (..., I) to (..., V, 3)."""
        return self.mean + _combine(alpha, self.identity)

    def offsets(self, beta: Array) -> Array:
        """Return the displacement of the vertices by an expression: (..., E) to (..., V, 3)."""
        return _combine(beta, self.expression)

    def vertices(self, alpha: Array, beta: Array) -> Array:
        """Return the vertices in model space, {alpha, beta, 0}: (..., I) and (..., E) to (..., V, 3)."""
        return self.shape(alpha) + self.offsets(beta)

    def expression_only(self, beta: Array) -> Array:
        """Return the vertices of the mean face with an expression, {0, beta, 0}: (..., E) to (..., V, 3)."""
        return self.mean + self.offsets(beta)

    def colours(self) -> Array:
        """Return the normalised coordinate code of each vertex, (V, 3) in 0..1 (Zhu et al. 2017)."""
        low, high = self.mean.min(axis=0), self.mean.max(axis=0)
        return (self.mean - low) / (high - low)

    @functools.cached_property
    def normals(self) -> Array:
        """Outward normals of the mean face's vertices, (V, 3), of length 1."""
        corners = self.mean[self.triangles]
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        inside = np.array([*self.mean[:, :2].mean(axis=0), self.mean[:, 2].max()])
        across *= np.sign(((corners.mean(axis=1) - inside) * across).sum(axis=1, keepdims=True))
        sums = np.zeros_like(self.mean)
        np.add.at(sums, self.triangles.T, across)
        return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-6)

    @functools.cached_property
    def place_on_mean(self) -> Array:
        """Matrix (3, V) that fits a linear function of the mean face's coordinates to values at its vertices."""
        return np.linalg.pinv(self.mean - self.mean.mean(axis=0))

    def mouth_opening(self, vertices: Array) -> Array:
        """Return the gap between the inner lips' middles in model units: (..., V, 3) to (...)."""
        upper, lower = self.inner_lips[0]
        return np.linalg.norm(vertices[..., upper, :] - vertices[..., lower, :], axis=-1).astype(np.float32)

    def without_overlap(self, vertices: Array) -> Array:
        """Let lips that pass through each other meet halfway: (..., V, 3) to (..., V, 3).

        A sum of expressions knows nothing of collisions, and lips that are past each other would count as open.
        """
        upper, lower = self.inner_lips.T
        above, below = vertices[..., upper, :], vertices[..., lower, :]
        crossed = (below[..., 1] < above[..., 1])[..., None]
        middle, met = (above + below) / 2, vertices.copy()
        met[..., upper, :], met[..., lower, :] = np.where(crossed, middle, above), np.where(crossed, middle, below)
        return met

    def join(self, generated: Array, video: Array) -> Array:
        """Join the lower face of `generated` and the upper face of `video`, both (..., V, 3), with a smooth seam.

        Lips that pass through each other meet.

        The paper joins the two sets of vertices hard; the weights of `lower` rise smoothly across the seam
        so that no edge of the mesh is torn.
        """
        weight = self.lower[:, None]
        return (weight * self.without_overlap(generated) + (1 - weight) * video).astype(np.float32)

    def save(self, path: Path | str) -> None:
        """Write the model as a weights file."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        serialization.save_arrays(path, tensors, kind=KIND, version=VERSION, config={})

    @classmethod
    def load(cls, path: Path | str | None = None) -> MorphableModel:
        """Read a model; without a path, the package's own.

        Raises:
            WeightsError: The file is missing, damaged or of another kind or version.
        """
        path = serialization.packaged("morphable.safetensors") if path is None else Path(path)
        arrays, _ = serialization.load_arrays(path, kind=KIND, version=VERSION)
        names = {field.name for field in fields(cls)}
        if set(arrays) != names:
            raise WeightsError(f"{path}: tensors {sorted(set(arrays) ^ names)} do not fit; make the model anew")
        typed: dict[str, Any] = {
            k: v.astype(np.int64 if v.dtype.kind == "i" else np.float32) for k, v in arrays.items()
        }
        model = cls(**typed)
        if wrong := model.misfits():
            raise WeightsError(f"{path}: {', '.join(wrong)} do not fit the other tensors; make the model anew")
        return model

    def misfits(self) -> list[str]:
        """Return the names of the arrays whose shapes or vertex numbers do not fit the others."""
        vertices, points = len(self.mean) if self.mean.ndim else 0, self.keypoints.size
        table: dict[str, tuple[tuple[int | None, ...], int | None]] = {
            "mean": ((vertices, 3), None),
            "identity": ((vertices, 3, None), None),
            "expression": ((vertices, 3, None), None),
            "triangles": ((None, 3), vertices),
            "keypoints": ((points,), vertices),
            "landmarks": ((points,), NUM_LANDMARKS),
            "rigid": ((None,), points),
            "lips": ((None,), vertices),
            "inner_lips": ((None, 2), vertices),
            "mouth_corners": ((2,), vertices),
            "jaw": ((None,), vertices),
            "lower": ((vertices,), None),
        }
        wrong = []
        for name, (shape, limit) in table.items():
            array = getattr(self, name)
            fits = array.ndim == len(shape) and array.size > 0
            fits = fits and all(wanted in (None, size) for wanted, size in zip(shape, array.shape, strict=True))
            if fits and limit is not None:
                fits = array.dtype.kind == "i" and array.min() >= 0 and array.max() < limit
            wrong += [] if fits else [name]
        return wrong


def _combine(coefficients: Array, basis: Array) -> Array:
    """Weighted sum of a basis (V, 3, N): (..., N) to (..., V, 3)."""
    flat = coefficients.astype(np.float32) @ basis.reshape(-1, basis.shape[2]).T
    return flat.reshape(*coefficients.shape[:-1], -1, 3)
