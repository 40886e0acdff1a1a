"""The weak-perspective camera, and the 256 x 256 face crop."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import numpy.typing as npt

from ..utils.arrays import Array

# Side of the face crop in pixels (paper, section 4.1).
CROP_SIZE = 256

# Side of the face crop in model units. The paper leaves the framing open: this one holds what is generated, from
# the nose's bridge to the neck under an open jaw, at the highest resolution that 256 pixels allow.
CROP_SPAN = 1.9

# Height of the crop's centre below the eyes in model units.
CROP_CENTRE_Y = 0.62

# Frequency in hertz at which half of a head's motion is left: heads nod and shake at up to 3 Hz, and what landmarks
# show above is mostly their own shaking, which would go into the place of a new mouth.
HEAD_BANDWIDTH = 4.5
# Sharpness of that limit, as the order of a Butterworth filter, and frames over which its weights fade to nothing.
BANDWIDTH_ORDER, BANDWIDTH_REACH = 3, 64
# Most by which a pose is steadied, in eye distances: a head that jerks really does move so fast. A radian and a unit of
# log scale count as one of them, which is about what they move at the mouth.
MOST_STEADYING = 0.0075


def rotations(pose: Array) -> Array:
    """Return the rotation matrices of poses: (..., 6) to (..., 3, 3)."""
    return rotation_matrices(pose[..., :3])


def rotation_matrices(vectors: Array) -> Array:
    """Return the matrices of rotation vectors in radians by Rodrigues' formula: (..., 3) to float32 (..., 3, 3)."""
    exact = vectors.astype(np.float64)
    angle = np.linalg.norm(exact, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(exact, -1, 0)
    none = np.zeros_like(x)
    cross = np.stack([none, -z, y, z, none, -x, -y, x, none], axis=-1).reshape(*x.shape, 3, 3)
    # sin(a) / a and (1 - cos(a)) / a^2, which have limits at 0.
    once, twice = np.sinc(angle / np.pi), np.sinc(angle / (2 * np.pi)) ** 2 / 2
    return (np.eye(3) + once * cross + twice * cross @ cross).astype(np.float32)


def continuous(pose: Array) -> Array:
    """Return poses of consecutive frames, (T, 6), whose rotation vectors do not jump.

    A rotation of 181 degrees is one of 179 degrees about the opposite axis: the vectors of a head that is upside down
    would change their sign at random.
    """
    out = pose.copy()
    for last, now in itertools.pairwise(out):
        angle = float(np.linalg.norm(now[:3]))
        other = now[:3] * (1 - 2 * np.pi / max(angle, 1e-6))
        if np.linalg.norm(other - last[:3]) < np.linalg.norm(now[:3] - last[:3]):
            now[:3] = other
    return out


def steady(pose: Array, step: float) -> Array:
    """Return poses of consecutive frames, (T, 6), without the shaking that no head does.

    What is slower than `HEAD_BANDWIDTH` stays as it is, nothing comes later or earlier, and no pose changes by more
    than `MOST_STEADYING`.

    Args:
        pose: Poses whose rotation vectors do not jump.
        step: Seconds from one frame to the next.
    """
    if not 0 < step < 0.5 / HEAD_BANDWIDTH:
        return pose
    rising = np.sin(np.pi * np.fft.rfftfreq(2 * BANDWIDTH_REACH)) / np.sin(np.pi * HEAD_BANDWIDTH * step)
    weights = np.roll(np.fft.irfft(1 / (1 + rising ** (2 * BANDWIDTH_ORDER))), BANDWIDTH_REACH)
    around = ((BANDWIDTH_REACH, BANDWIDTH_REACH - 1), (0, 0))
    series = np.pad(pose.astype(np.float64), around, "reflect", reflect_type="odd")
    windows = np.lib.stride_tricks.sliding_window_view(series, len(weights), axis=0)
    change = windows @ weights - pose
    eyes = np.exp(pose[:, 3:4])
    size = np.linalg.norm(np.concatenate([change[:, :4], change[:, 4:] / eyes], axis=1), axis=1, keepdims=True)
    return (pose + change * (MOST_STEADYING / np.maximum(size, MOST_STEADYING))).astype(np.float32)


def project(vertices: Array, pose: Array) -> Array:
    """Project model vertices into the image.

    Args:
        vertices: Model space, (..., V, 3).
        pose: Head poses, (..., 6).

    Returns:
        (..., V, 3): x and y in pixels, z in the same scale (larger is farther).
    """
    turned = np.matmul(vertices, np.swapaxes(rotations(pose), -1, -2)) * np.exp(pose[..., 3, None, None])
    turned[..., :2] += pose[..., None, 4:6]
    return turned.astype(np.float32)


def crop_transform(pose: Array, size: int = CROP_SIZE) -> Array:
    """Return the similarity transform from image pixels to crop pixels, (2, 3), for one pose (6,).

    It depends on the pose alone, never on the mouth or the jaw: a crop that moved with the old speech would tell
    the renderer about it. The head's roll is undone.
    """
    matrix = rotations(pose)
    scale = float(np.exp(pose[3]))
    roll = float(np.arctan2(matrix[1, 0], matrix[0, 0]))
    centre = scale * (matrix @ np.array([0, CROP_CENTRE_Y, 0], np.float32))[:2] + pose[4:6]
    zoom = size / (CROP_SPAN * scale)
    cos, sin = zoom * np.cos(roll), zoom * np.sin(roll)
    linear = np.array([[cos, sin], [-sin, cos]])
    # Pixel centres lie at whole numbers, so the crop's middle is at (size - 1) / 2.
    offset = (size - 1) / 2 - linear @ centre
    return np.concatenate([linear, offset[:, None]], axis=1).astype(np.float32)


def apply_transform(transform: Array, points: Array) -> Array:
    """Apply a similarity (2, 3) to points (..., 2 or 3); a depth is scaled along."""
    out = points.copy()
    out[..., :2] = points[..., :2] @ transform[:, :2].T + transform[:, 2]
    if points.shape[-1] == 3:
        out[..., 2] = points[..., 2] * np.sqrt(abs(np.linalg.det(transform[:, :2])))
    return out


def project_into_crop(vertices: Array, pose: Array, size: int = CROP_SIZE) -> Array:
    """Project model vertices (V, 3) by one pose (6,) into the face crop of that pose, (V, 3)."""
    return apply_transform(crop_transform(pose, size), project(vertices, pose))


def invert_transform(transform: Array) -> Array:
    """Invert a similarity (2, 3)."""
    linear = np.linalg.inv(transform[:, :2])
    return np.concatenate([linear, -linear @ transform[:, 2:]], axis=1).astype(np.float32)


def warp(rgb: npt.NDArray[np.uint8], transform: Array, size: int = CROP_SIZE) -> npt.NDArray[np.uint8]:
    """Cut a face crop, uint8 (size, size, 3), out of an image (H, W, 3); beyond its edges the edge is repeated.

    Where the crop is smaller than the face in the image, the face is low-passed first, or teeth and beard
    would alias.
    """
    zoom = _zoom(transform)
    if zoom < 0.8:
        # Only the part of the image under the crop has to be blurred.
        left, top, right, bottom = covered_area(transform, size, *rgb.shape[1::-1])
        rgb = cv2.GaussianBlur(rgb[top:bottom, left:right], (0, 0), 0.5 * np.sqrt(1 / zoom**2 - 1))
        transform = transform.copy()
        transform[:, 2] += transform[:, :2] @ np.array([left, top], np.float32)
    return cv2.warpAffine(rgb, transform, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def covered_area(transform: Array, size: int, width: int, height: int) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the pixels of an image that `warp` looks at, one at least.

    Args:
        transform: From the image to the crop, (2, 3).
        size: Side of the crop.
        width: Width of the image.
        height: Height of the image.
    """
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float32)
    area = apply_transform(invert_transform(transform), corners)
    margin = np.ceil(3 / min(_zoom(transform), 1.0))
    limit = np.array([width, height])
    left, top = np.clip(area.min(axis=0) - margin, 0, limit - 1).astype(int)
    right, bottom = np.clip(area.max(axis=0) + margin, [left + 1, top + 1], limit).astype(int)
    return int(left), int(top), int(right), int(bottom)


def _zoom(transform: Array) -> float:
    return float(np.sqrt(abs(np.linalg.det(transform[:, :2]))))
