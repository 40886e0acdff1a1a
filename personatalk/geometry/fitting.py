"""Hybrid geometry estimation (paper, section 3.1): learned initialisation, then optimisation over the clip.

The learned initialisation is a network's dense 3D landmarks, brought to coefficients in closed form frame by frame,
so that a video streams by and only a few hundred numbers a frame are kept. The optimisation then minimises

    L = L_landmark + L_tempo + L_reg

over expression and pose of all frames of a shot, with one shape per speaker. Lengths in these terms are in per cent
of the distance between the eyes' outer corners, so that nothing depends on the resolution; the paper gives lambda
= 0.2 and no other weight, and all others are 1 here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ..utils.arrays import Array
from ..utils.threads import parallel_map
from .camera import rotation_matrices, rotations
from .lbfgs import Numbers, minimise
from .morphable_model import MorphableModel

# Weight of the Laplacian terms of L_tempo [paper].
LAPLACIAN_WEIGHT = 0.2
# Frames optimised together.
FIT_WINDOW = 256
# Frames on either side of a window that are optimised with it and then dropped, so that its inner frames see what
# they would see in an unbroken run: the temporal terms reach two frames, their influence fades within ten.
FIT_OVERLAP = 32
# Frames, evenly spread, over which the speaker's shape is tuned.
SHAPE_FRAMES = 200

# Least angle in radians of a rotation vector whose derivative is taken; below it the series' first terms are exact.
LEAST_ANGLE = 1e-4

# Prior weight of one squared standard deviation in the closed-form initialisation, per vertex in square units.
PRIOR_WEIGHT = 2e-5
# Weight of the landmarks' depth beside x and y: single-view depth is the least certain of the three.
DEPTH_WEIGHT = 0.3


@dataclass(frozen=True)
class Estimate:
    """Initial coefficients of one frame.

    Attributes:
        keypoints: Detected landmarks of the model's keypoints in pixels, (K, 2).
        alpha: Shape, (I,).
        beta: Expression, (E,).
        pose: (6,).
    """

    keypoints: Array
    alpha: Array
    beta: Array
    pose: Array


# The learned initialisation: upright image (H, W, 3) and landmarks (478, 3) to the coefficients of a frame.
Initialise = Callable[[npt.NDArray[np.uint8], Array], Estimate]


class Initialiser:
    """Brings a frame's dense 3D landmarks to coefficients {alpha, beta, pose} in closed form.

    Args:
        model: A model on the mesh of the landmarks (its `landmarks` name the landmark of every keypoint).
    """

    def __init__(self, model: MorphableModel) -> None:
        self.model = model
        weight = np.tile(np.array([1, 1, DEPTH_WEIGHT], np.float32), len(model.keypoints))
        points = model.keypoints
        shape = model.identity[points].reshape(len(weight), -1)
        expression = model.expression[points].reshape(len(weight), -1)
        self._joint = _ridge(np.concatenate([shape, expression], axis=1), weight)
        self._expression = _ridge(expression, weight)
        self._shape_basis = shape

    def __call__(self, landmarks: Array) -> Estimate:
        """Estimate one frame from landmarks (N, 3) in pixels."""
        model = self.model
        points = landmarks[model.landmarks]
        face, split = model.mean, model.num_identity
        for _ in range(2):
            pose, depth = rigid_pose(face[model.keypoints[model.rigid]], points[model.rigid])
            local = _to_model_space(points, pose, depth)
            coefficients = self._joint @ (local - model.mean[model.keypoints]).reshape(-1)
            alpha, beta = coefficients[:split], coefficients[split:]
            face = model.vertices(alpha, beta)
        return Estimate(points[:, :2].copy(), alpha, beta, pose)

    def expression_shift(self, alpha_from: Array, alpha_to: Array) -> Array:
        """Return the change of the closed-form expression under another shape: (..., I) to (..., E)."""
        return (alpha_from - alpha_to) @ (self._expression @ self._shape_basis).T


def rigid_pose(face: Array, points: Array) -> tuple[Array, float]:
    """Return the pose that carries model points onto image points best in the sense of least squares.

    Args:
        face: Model space, (R, 3).
        points: Image points with depth, in pixels, (R, 3).

    Returns:
        The pose (6,) and the depth in pixels at which the model's origin comes to lie.
    """
    face_centre, centre = face.mean(axis=0), points.mean(axis=0)
    a, b = face - face_centre, points - centre
    u, d, vt = np.linalg.svd(a.T @ b)
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = ((u * sign) @ vt).T
    scale = float((d * sign).sum() / (a**2).sum())
    offset = centre - scale * rotation @ face_centre
    vector, _ = cv2.Rodrigues(rotation.astype(np.float64))
    return np.array([*vector[:, 0], np.log(scale), *offset[:2]], np.float32), float(offset[2])


@dataclass(frozen=True)
class FittedShot:
    """Geometry of consecutive frames.

    Attributes:
        beta: Expression, (T, E).
        pose: Head pose, (T, 6).
    """

    beta: Array
    pose: Array


@dataclass(frozen=True)
class Tables:
    """Initial coefficients of T frames as arrays: keypoints (T, K, 2), beta (T, E) and pose (T, 6)."""

    keypoints: Array
    beta: Array
    pose: Array

    def __getitem__(self, index: slice | npt.NDArray[np.int64]) -> Tables:
        """Return the tables of some of the frames."""
        return Tables(self.keypoints[index], self.beta[index], self.pose[index])

    def __len__(self) -> int:
        return len(self.beta)


def fit_shape(model: MorphableModel, tables: Tables, alpha_mean: Array) -> Array:
    """Tune the speaker's one shape over frames spread over the video, {alpha} jointly with expression and pose.

    Temporal terms are left out here, since the frames are not neighbours.
    """
    chosen = np.unique(np.linspace(0, len(tables) - 1, SHAPE_FRAMES).round().astype(np.int64))
    alpha, _, _ = _optimise(model, tables[chosen], alpha_mean, laplacian_weight=None)
    return alpha


def fit_shot(
    model: MorphableModel,
    tables: Tables,
    alpha: Array,
    window: int = FIT_WINDOW,
    overlap: int = FIT_OVERLAP,
    progress: Callable[[int], None] | None = None,
    laplacian_weight: float = LAPLACIAN_WEIGHT,
) -> FittedShot:
    """Tune expression and pose of consecutive frames under a fixed shape.

    Args:
        model: The morphable model.
        tables: Initial coefficients of the shot's frames.
        alpha: The speaker's shape, (I,).
        window: Frames optimised together and kept.
        overlap: Further frames on either side, optimised with them and dropped.
        progress: Called with the number of frames done after each window.
        laplacian_weight: The paper's lambda.
    """

    def fitted(start: int) -> FittedShot:
        low, stop = max(0, start - overlap), min(len(tables), start + window)
        _, beta, pose = _optimise(model, tables[low : stop + overlap], alpha, laplacian_weight)
        return FittedShot(beta[start - low : stop - low], pose[start - low : stop - low])

    parts = list[FittedShot]()
    with closing(parallel_map(fitted, range(0, len(tables), window))) as windows:
        for part in windows:
            parts.append(part)
            if progress is not None:
                progress(len(part.beta))
    return FittedShot(np.concatenate([part.beta for part in parts]), np.concatenate([part.pose for part in parts]))


def _optimise(
    model: MorphableModel, tables: Tables, alpha: Array, laplacian_weight: float | None
) -> tuple[Array, Array, Array]:
    """Minimise the loss by L-BFGS from the initial coefficients, and return alpha, beta and pose.

    Without a weight of the Laplacian terms the frames are no neighbours: the temporal terms are left out, and the shape
    is tuned along.
    """
    unit = float(np.exp(np.median(tables.pose[:, 3]))) / 100
    problem = FitProblem(model, tables, alpha, unit, laplacian_weight)
    start = problem.join(problem.alpha_mean, problem.beta_init, problem.pose_init)
    found = minimise(problem.loss_and_gradient, start.astype(np.float64))
    shape, beta, pose = problem.split(found.astype(np.float32))
    return shape, beta, problem.in_pixels(pose)


class FitProblem:
    """The loss over one window, in units of 1 % of the inter-ocular distance, and its gradient.

    The variable pose is `(rotation vector x 100, log s x 100, tx / unit, ty / unit)`: in these numbers a step of one
    moves the face's outline by about one unit in each of them, which conditions the problem.

    Args:
        model: The morphable model.
        tables: Initial coefficients of the frames.
        alpha: Shape that the fit starts from, (I,).
        unit: Pixels of a unit.
        laplacian_weight: Weight of the Laplacian terms; None leaves out all temporal terms and makes the shape a
            variable.
    """

    def __init__(
        self, model: MorphableModel, tables: Tables, alpha: Array, unit: float, laplacian_weight: float | None
    ) -> None:
        points = model.keypoints
        self.unit, self.laplacian_weight = unit, laplacian_weight
        self.alpha_mean = alpha.astype(np.float32)
        self.beta_init = tables.beta.astype(np.float32)
        # Positions are taken relative to the window's middle, or float32 would lose the digits in 4K images.
        self.origin = tables.pose[:, 4:6].mean(axis=0, dtype=np.float64)
        self.target = ((tables.keypoints - self.origin) / unit).astype(np.float32)
        place = (tables.pose[:, 4:6] - self.origin) / unit
        self.pose_init = np.concatenate([100 * tables.pose[:, :4], place], axis=1).astype(np.float32)
        self.mean = model.mean[points].astype(np.float32).ravel()
        self.identity = model.identity[points].astype(np.float32).reshape(len(self.mean), -1)
        self.expression = model.expression[points].astype(np.float32).reshape(len(self.mean), -1)

    def in_pixels(self, pose: Array) -> Array:
        """Return variable poses (T, 6) as poses in pixels."""
        place = pose[:, 4:6] * self.unit + self.origin
        return np.concatenate([pose[:, :4] / 100, place], axis=1).astype(np.float32)

    def join(self, alpha: Array, beta: Array, pose: Array) -> Array:
        """Return coefficients as one vector of variables; `split` undoes it."""
        shape = [alpha] if self.laplacian_weight is None else []
        return np.concatenate([beta.ravel(), pose.ravel(), *shape])

    def split(self, variables: Array) -> tuple[Array, Array, Array]:
        """Return alpha (I,), beta (T, E) and pose (T, 6) of a vector of variables."""
        betas, poses = self.beta_init.size, self.pose_init.size
        beta, pose, alpha = np.split(variables, [betas, betas + poses])
        shape = alpha if self.laplacian_weight is None else self.alpha_mean
        return shape, beta.reshape(self.beta_init.shape), pose.reshape(self.pose_init.shape)

    def loss_and_gradient(self, variables: Numbers) -> tuple[float, Numbers]:
        """Return the loss and its gradient with respect to a vector of variables."""
        alpha, beta, pose = self.split(variables.astype(np.float32))
        count, temporal = len(beta), self.laplacian_weight is not None and len(beta) > 2
        flat = self.mean + self.identity @ alpha + beta @ self.expression.T
        scale = np.exp(pose[:, 3] / 100)[:, None, None] / self.unit
        turning = rotation_matrices(pose[:, :3] / np.float32(100))
        turned = flat.reshape(count, -1, 3) @ turning.transpose(0, 2, 1) * scale
        error = turned[..., :2] + pose[:, None, 4:6] - self.target

        loss, by_error = float(np.vdot(error, error)), 2 * error
        beta_term, by_beta = _norms(beta - self.beta_init)
        pose_term, by_pose = _norms(pose - self.pose_init)
        loss += beta_term + pose_term
        if temporal:
            term, by_motion = _norms(np.diff(error, axis=0))
            by_error[1:] += by_motion
            by_error[:-1] -= by_motion
            loss += term + self._add_laplacian(pose, by_pose) + self._add_laplacian(beta, by_beta)

        by_flat = (by_error @ turning[:, :2] * scale).reshape(count, -1)
        by_beta += by_flat @ self.expression
        by_pose[:, 4:6] += by_error.sum(axis=1)
        by_pose[:, 3] += np.einsum("tkc,tkc->t", by_error, turned[..., :2]) / 100
        by_pose[:, :3] += _by_rotation_vector(pose[:, :3] / np.float32(100), turned, by_error) / 100
        by_alpha = np.zeros_like(alpha)
        if self.laplacian_weight is None:
            term, own = _norms((alpha - self.alpha_mean)[None])
            loss, by_alpha = loss + count * term, count * own[0] + by_flat.sum(axis=0) @ self.identity
        return loss, self.join(by_alpha, by_beta, by_pose).astype(np.float64)

    def _add_laplacian(self, series: Array, gradient: Array) -> float:
        """Return the weighted Laplacian term of a series (T, N), and add its gradient to another's."""
        assert self.laplacian_weight is not None
        term, own = _norms(laplacian(series))
        own *= self.laplacian_weight
        gradient[2:] += own
        gradient[1:-1] -= 2 * own
        gradient[:-2] += own
        return self.laplacian_weight * term


def laplacian(series: Array) -> Array:
    """Return the temporal Laplacian, x[t-1] - 2 x[t] + x[t+1]: (T, N) to (T - 2, N)."""
    return series[2:] - 2 * series[1:-1] + series[:-2]


def _by_rotation_vector(vectors: Array, turned: Array, by_image: Array) -> Array:
    """Return the gradient with respect to rotation vectors, (T, 3).

    A small turn w after the rotation moves a point p by w x p, and a change of the rotation vector is such a turn by
    the left Jacobian of SO(3) (Sola et al. 2018, equation 145).

    Args:
        vectors: Rotation vectors in radians, (T, 3).
        turned: Points after the rotation, (T, K, 3).
        by_image: Gradient with respect to their first two coordinates, (T, K, 2).
    """
    x, y, z = turned.transpose(2, 0, 1)
    by_x, by_y = by_image.transpose(2, 0, 1)
    by_turn = np.stack([-z * by_y, z * by_x, x * by_y - y * by_x]).sum(axis=2).T
    angle = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), LEAST_ANGLE)
    # The transposed Jacobian is that of the opposite vector.
    once = np.cross(by_turn, vectors)
    return (
        by_turn + (1 - np.cos(angle)) / angle**2 * once + (angle - np.sin(angle)) / angle**3 * np.cross(once, vectors)
    )


def _norms(vectors: Array) -> tuple[float, Array]:
    """Return the sum of the Euclidean norms of the last axis, made smooth at 0, and its gradient."""
    norms = np.sqrt(np.square(vectors).sum(axis=-1, keepdims=True) + 1e-4)
    return float(norms.sum()), vectors / norms


def _ridge(basis: Array, weight: Array) -> Array:
    """Matrix that maps a stacked residual to ridge-regression coefficients: (N, M) to (M, N)."""
    weighted = basis * weight[:, None] ** 2
    prior = PRIOR_WEIGHT * len(weight) * np.eye(basis.shape[1])
    return np.linalg.solve(basis.T @ weighted + prior, weighted.T).astype(np.float32)


def _to_model_space(points: Array, pose: Array, depth: float) -> Array:
    """Undo a pose: image points (K, 3) with depth in pixels to model space."""
    origin = np.array([pose[4], pose[5], depth], np.float32)
    return ((points - origin) @ rotations(pose) / np.exp(pose[3])).astype(np.float32)
