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
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial.transform import Rotation

from ..utils.arrays import Array
from .camera import rotations
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
    vector = Rotation.from_matrix(rotation).as_rotvec()
    return np.array([*vector, np.log(scale), *offset[:2]], np.float32), float(offset[2])


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
    betas, poses = [], []
    for start in range(0, len(tables), window):
        low, stop = max(0, start - overlap), min(len(tables), start + window)
        _, beta, pose = _optimise(model, tables[low : stop + overlap], alpha, laplacian_weight)
        betas.append(beta[start - low : stop - low])
        poses.append(pose[start - low : stop - low])
        if progress is not None:
            progress(stop - start)
    return FittedShot(np.concatenate(betas), np.concatenate(poses))


def _optimise(
    model: MorphableModel, tables: Tables, alpha: Array, laplacian_weight: float | None
) -> tuple[Array, Array, Array]:
    """Minimise the loss by L-BFGS from the initial coefficients, and return alpha, beta and pose.

    Without a weight of the Laplacian terms the frames are no neighbours: the temporal terms are left out, and the shape
    is tuned along.
    """
    unit = float(np.exp(np.median(tables.pose[:, 3]))) / 100
    problem = _Problem(model, tables, alpha, unit, laplacian_weight)
    tune_shape = laplacian_weight is None
    beta, pose = problem.beta_init.clone().requires_grad_(), problem.pose_init.clone().requires_grad_()
    shape = problem.alpha_mean.clone().requires_grad_(tune_shape)
    variables = [beta, pose, *([shape] if tune_shape else [])]
    optimiser = torch.optim.LBFGS(variables, max_iter=60, history_size=12, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = problem.loss(shape, beta, pose)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return shape.detach().numpy(), beta.detach().numpy(), problem.in_pixels(pose.detach())


class _Problem:
    """The loss over one window, in units of 1 % of the inter-ocular distance.

    The variable pose is `(rotation vector x 100, log s x 100, tx / unit, ty / unit)`: in these numbers a step of one
    moves the face's outline by about one unit in each of them, which conditions the problem.
    """

    def __init__(
        self, model: MorphableModel, tables: Tables, alpha: Array, unit: float, laplacian_weight: float | None
    ) -> None:
        points = model.keypoints
        self.unit, self.laplacian_weight = unit, laplacian_weight
        self.alpha_mean = torch.from_numpy(alpha.astype(np.float32))
        self.beta_init = torch.from_numpy(tables.beta.astype(np.float32))
        # Positions are taken relative to the window's middle: float32 would lose the digits in 4K images.
        self.origin = tables.pose[:, 4:6].mean(axis=0)
        self.target = torch.from_numpy(((tables.keypoints - self.origin) / unit).astype(np.float32))
        self.pose_init = torch.from_numpy(self._in_units(tables.pose))
        self.mean = torch.from_numpy(model.mean[points])
        self.identity = torch.from_numpy(model.identity[points])
        self.expression = torch.from_numpy(model.expression[points])

    def _in_units(self, pose: Array) -> Array:
        place = (pose[:, 4:6] - self.origin) / self.unit
        return np.concatenate([100 * pose[:, :4], place], axis=1).astype(np.float32)

    def in_pixels(self, pose: torch.Tensor) -> Array:
        numbers = pose.numpy()
        place = numbers[:, 4:6] * self.unit + self.origin
        return np.concatenate([numbers[:, :4] / 100, place], axis=1).astype(np.float32)

    def loss(self, alpha: torch.Tensor, beta: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
        projected = self.project(alpha, beta, pose)
        loss = (projected - self.target).square().sum()
        loss = loss + _norms(beta - self.beta_init) + _norms(pose - self.pose_init)
        if alpha.requires_grad:
            loss = loss + len(beta) * _norms((alpha - self.alpha_mean)[None])
        if self.laplacian_weight is not None and len(beta) > 2:
            motion = (projected[1:] - projected[:-1]) - (self.target[1:] - self.target[:-1])
            loss = loss + _norms(motion) + self.laplacian_weight * (_norms(laplacian(pose)) + _norms(laplacian(beta)))
        return loss

    def project(self, alpha: torch.Tensor, beta: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
        """Return the keypoints in the image, (T, K, 2), relative to the window's origin and in units."""
        face = self.mean + self.identity @ alpha + torch.einsum("te,kce->tkc", beta, self.expression)
        turned = face @ rotation_matrices(pose[:, :3] / 100).transpose(1, 2)
        return turned[..., :2] * (torch.exp(pose[:, 3] / 100) / self.unit)[:, None, None] + pose[:, None, 4:6]


def laplacian(series: torch.Tensor) -> torch.Tensor:
    """Return the temporal Laplacian, x[t-1] - 2 x[t] + x[t+1]: (T, N) to (T - 2, N)."""
    return series[2:] - 2 * series[1:-1] + series[:-2]


def rotation_matrices(vectors: torch.Tensor) -> torch.Tensor:
    """Map rotation vectors (T, 3) to matrices (T, 3, 3) by Rodrigues' formula, with gradients."""
    angle = (vectors.square().sum(dim=1) + 1e-12).sqrt()[:, None, None]
    x, y, z = (vectors[:, :, None] / angle).unbind(dim=1)
    zero = torch.zeros_like(x)
    cross = torch.cat([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
    return torch.eye(3) + torch.sin(angle) * cross + (1 - torch.cos(angle)) * (cross @ cross)


def _norms(vectors: torch.Tensor) -> torch.Tensor:
    """Sum of the Euclidean norms of the last axis, made smooth at 0."""
    return (vectors.square().sum(dim=-1) + 1e-4).sqrt().sum()


def _ridge(basis: Array, weight: Array) -> Array:
    """Matrix that maps a stacked residual to ridge-regression coefficients: (N, M) to (M, N)."""
    weighted = basis * weight[:, None] ** 2
    prior = PRIOR_WEIGHT * len(weight) * np.eye(basis.shape[1])
    return np.linalg.solve(basis.T @ weighted + prior, weighted.T).astype(np.float32)


def _to_model_space(points: Array, pose: Array, depth: float) -> Array:
    """Undo a pose: image points (K, 3) with depth in pixels to model space."""
    origin = np.array([pose[4], pose[5], depth], np.float32)
    return ((points - origin) @ rotations(pose) / np.exp(pose[3])).astype(np.float32)
