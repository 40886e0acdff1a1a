"""The Basel Face Model 2009 as the geometry, from the file that Deep3DFaceRecon makes of it.

The model's owners give it only to people who register with them, so nothing of it is in this package:
`BFM_model_front.mat` is read from a path of the user's (see docs/basel.md). In that file

- coordinates are in decimetres, x to the right of the image, y up and z towards the camera;
- the bases are already multiplied by the standard deviations of their components: `idBase` is Basel's `shapePC` times
  `shapeEV` (standard deviations, not variances), `exBase` the expression components of Guo et al. 2018 times their
  `std_exp.txt`. Coefficients are thus in standard deviations, as in `MorphableModel`;
- indices count from 1, and the 68 `keypoints` are in the order of the iBUG 300-W markup (Sagonas et al. 2013), whose
  "right" is the speaker's: the first points are on the left of the image.

All this is the format of https://github.com/sicxu/Deep3DFaceRecon_pytorch (util/load_mats.py, models/bfm.py).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from scipy.spatial import ConvexHull, QhullError

from ..errors import WeightsError
from ..utils.arrays import Array, IntArray
from .morphable_model import MorphableModel

# Arrays that are read of the file. It also has textures and masks, which nothing here needs.
FILE_KEYS = ("meanshape", "idBase", "exBase", "tri", "keypoints")

# MediaPipe landmark at the place of each of the 68 keypoints.
#
# The nearest vertices of MediaPipe's mean face to a mean face of the 68 points that was laid over it. Inside the face
# they agree within 0.07 of the distance between the eyes' outer corners. Along the jaw the two sets are spaced
# differently; there the chin, the corner of the jaw and the ends agree within 0.1. The points between have neither a
# counterpart nor a feature of the face under them, and pulling them along the outline would bend the shape.
#
COUNTERPARTS: tuple[int | None, ...] = (
    *(127, None, None, None, 172, 136, 150, 176, 152, 400, 379, 365, 397, None, None, None, 356),  # jaw
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),  # brows
    *(168, 197, 5, 4, 240, 97, 2, 326, 460),  # nose: bridge to tip, then its base
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # eyes
    *(61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91),  # lips, outside
    *(78, 82, 13, 312, 308, 317, 14, 87),  # lips, inside
)

OUTER_EYE_KEYPOINTS, MOUTH_KEYPOINTS, NOSE_TIP_KEYPOINT, NOSE_BASE_KEYPOINT = (36, 45), (48, 54), 30, 33
# Keypoints that hardly move with expression: the jaw's ends, the nose and the corners of the eyes.
RIGID_KEYPOINTS = (0, 16, 27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45)
INNER_LIP_KEYPOINTS = ((62, 66), (61, 67), (63, 65))
# How far beyond the outline of the outer lip keypoints a vertex is still of the lips, in model units.
LIP_OUTLINE_MARGIN = 0.01
# How far behind or before the lip keypoints a vertex may lie and be of the lips, in model units.
LIP_DEPTH = 0.15


@dataclass(frozen=True)
class BaselFrame:
    """The position of the model space in Basel space (decimetres from the mean of the mean face's vertices).

    Attributes:
        origin: Middle between the outer eye corners of the mean face, in dm, (3,).
        axes: Model axes as columns, (3, 3), a rotation. "Down" runs from the eyes' middle to the mouth's, as in the
            package's own model.
        unit: Distance between the outer eye corners of the mean face in dm.
    """

    origin: Array
    axes: Array
    unit: float

    def to_model(self, points: Array) -> Array:
        """Basel space to model space, (..., 3)."""
        return ((points - self.origin) @ self.axes / self.unit).astype(np.float32)

    def to_basel(self, points: Array) -> Array:
        """Model space to Basel space, (..., 3)."""
        return (self.unit * points @ self.axes.T + self.origin).astype(np.float32)

    def basis_to_model(self, basis: Array) -> Array:
        """Directions in Basel space to directions in model space, (V, 3, N)."""
        turned: Array = np.matmul(self.axes.T / self.unit, basis).astype(np.float32)
        return turned


@dataclass(frozen=True)
class _BaselFile:
    """Contents of the file, with indices from 0.

    Attributes:
        mean: In dm, the vertices' mean at 0, (V, 3).
        identity: In dm per standard deviation, (V, 3, I).
        expression: In dm per standard deviation, (V, 3, E).
        triangles: (F, 3).
        keypoints: (68,).
    """

    mean: Array
    identity: Array
    expression: Array
    triangles: IntArray
    keypoints: IntArray


def load_basel_face_model(path: Path | str) -> MorphableModel:
    """Read the Basel Face Model; save what this returns to have a file for wherever a morphable model is wanted.

    Args:
        path: `BFM_model_front.mat`.

    Returns:
        The model in model space and unit. The keypoints are those of the 68 that have a counterpart in MediaPipe's
        mesh; coefficients are those of Deep3DFaceRecon's network (I = 80 and E = 64 in the file that it makes).

    Raises:
        WeightsError: The file is missing, is no .mat file, or does not hold the model.
    """
    file = _read(Path(path), FILE_KEYS)
    frame = _frame(file.mean[file.keypoints], path)
    mean, points = frame.to_model(file.mean), file.keypoints
    held = [i for i, landmark in enumerate(COUNTERPARTS) if landmark is not None]
    return MorphableModel(
        mean=mean,
        identity=frame.basis_to_model(file.identity),
        expression=frame.basis_to_model(file.expression),
        triangles=file.triangles,
        keypoints=points[held],
        landmarks=np.array([COUNTERPARTS[i] for i in held], np.int64),
        rigid=np.array([held.index(i) for i in RIGID_KEYPOINTS]),
        lips=_lips(mean, points, path),
        inner_lips=points[np.array(INNER_LIP_KEYPOINTS)],
        mouth_corners=points[list(MOUTH_KEYPOINTS)],
        jaw=points[:17],
        lower=_lower_weight(mean[:, 1], mean[points[NOSE_TIP_KEYPOINT], 1], mean[points[NOSE_BASE_KEYPOINT], 1]),
    )


def load_basel_frame(path: Path | str) -> BaselFrame:
    """Read only the position of the model space in Basel space; arguments and errors as in `load_basel_face_model`."""
    file = _read(Path(path), ("meanshape", "keypoints"))
    return _frame(file.mean[file.keypoints], path)


def _frame(keypoints: Array, path: Path | str) -> BaselFrame:
    """The frame of a mean face with the given 68 keypoints, (68, 3) in dm."""
    left, right = keypoints[list(OUTER_EYE_KEYPOINTS)].astype(np.float64)
    unit = float(np.linalg.norm(right - left))
    across, origin = (right - left) / max(unit, 1e-9), (left + right) / 2
    down = keypoints[list(MOUTH_KEYPOINTS)].mean(axis=0) - origin
    down -= across * (across @ down)
    height = float(np.linalg.norm(down))
    # x is to the right and y up, so a face that stands otherwise is of another format.
    if unit < 1e-6 or height < 1e-6 or across[0] < 0.5 or down[1] > -0.5 * height:
        raise WeightsError(f"{path}: its keypoints do not form an upright face; make it with Deep3DFaceRecon anew")
    down /= height
    axes = np.stack([across, down, np.cross(across, down)], axis=1)
    return BaselFrame(origin.astype(np.float32), axes.astype(np.float32), unit)


def _lips(mean: Array, keypoints: IntArray, path: Path | str) -> IntArray:
    """Vertices within the outline of the lip keypoints, seen from the front, and near them in depth."""
    ring = keypoints[48:68]
    try:
        edges = ConvexHull(mean[ring, :2]).equations
    except QhullError as error:
        raise WeightsError(f"{path}: its mouth keypoints lie on a line; make it with Deep3DFaceRecon anew") from error
    inside = (mean[:, :2] @ edges[:, :2].T + edges[:, 2] <= LIP_OUTLINE_MARGIN).all(axis=1)
    near = (mean[:, 2] > mean[ring, 2].min() - LIP_DEPTH) & (mean[:, 2] < mean[ring, 2].max() + LIP_DEPTH)
    return np.union1d(np.flatnonzero(inside & near), ring).astype(np.int64)


def _lower_weight(height: Array, top: float, bottom: float) -> Array:
    """Weight of the generated lower face, rising smoothly from the nose's tip to its base: (V,) in 0..1."""
    step = np.clip((height - top) / max(bottom - top, 1e-6), 0, 1)
    return (step * step * (3 - 2 * step)).astype(np.float32)


def _read(path: Path, keys: tuple[str, ...]) -> _BaselFile:
    """Read and check the arrays of the given names; others are left empty."""
    raw = _load(path, keys)
    flat = _numbers(path, "meanshape", raw["meanshape"]).reshape(-1)
    if len(flat) < 9 or len(flat) % 3:
        raise WeightsError(f"{path}: meanshape has {len(flat)} numbers, but 3 for each vertex were wanted")
    mean = flat.reshape(-1, 3)
    bases = [_basis(path, name, raw.get(name), len(mean)) for name in ("idBase", "exBase")]
    keypoints = _indices(path, "keypoints", raw["keypoints"], len(mean)).reshape(-1)
    if len(keypoints) != len(COUNTERPARTS):
        raise WeightsError(f"{path}: {len(keypoints)} keypoints, but {len(COUNTERPARTS)} were wanted")
    triangles = _indices(path, "tri", raw.get("tri", np.ones((1, 3))), len(mean))
    if triangles.ndim != 2 or triangles.shape[1] != 3:
        raise WeightsError(f"{path}: tri is of shape {triangles.shape}, but (triangles, 3) was wanted")
    return _BaselFile(mean - mean.mean(axis=0, dtype=np.float64), bases[0], bases[1], triangles, keypoints)


def _load(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; give the path of BFM_model_front.mat (see docs/basel.md)")
    try:
        raw: dict[str, Any] = loadmat(str(path), appendmat=False, variable_names=list(keys))
    except NotImplementedError as error:
        raise WeightsError(
            f"{path}: a MATLAB 7.3 file; make it with Deep3DFaceRecon, or save it as version 7"
        ) from error
    except (MatReadError, ValueError, TypeError, KeyError, IndexError, OSError, EOFError, zlib.error) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path}: not a readable .mat file ({reason}); make it anew") from error
    missing = [key for key in keys if key not in raw]
    if missing:
        raise WeightsError(f"{path}: no {', '.join(missing)} in it; make BFM_model_front.mat with Deep3DFaceRecon")
    return raw


def _numbers(path: Path, name: str, value: Any) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "fiu" or array.size == 0 or not np.isfinite(array).all():
        raise WeightsError(f"{path}: {name} holds no finite numbers; make the file with Deep3DFaceRecon anew")
    return array.astype(np.float32)


def _basis(path: Path, name: str, value: Any, vertices: int) -> Array:
    if value is None:
        return np.zeros((vertices, 3, 0), np.float32)
    basis = _numbers(path, name, value)
    if basis.ndim != 2 or len(basis) != 3 * vertices:
        raise WeightsError(f"{path}: {name} is of shape {basis.shape}, but ({3 * vertices}, components) was wanted")
    return basis.reshape(vertices, 3, -1)


def _indices(path: Path, name: str, value: Any, vertices: int) -> npt.NDArray[np.int64]:
    """Indices that count from 1, made to count from 0."""
    numbers = np.asarray(value)
    if numbers.dtype.kind not in "fiu" or not np.isin(numbers, np.arange(1, vertices + 1)).all():
        raise WeightsError(f"{path}: {name} must be vertex numbers from 1 to {vertices}")
    return numbers.astype(np.int64) - 1
