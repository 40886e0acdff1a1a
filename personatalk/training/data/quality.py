"""Image quality without a reference, to leave blurred and over-compressed faces out of a data set.

NIQE (Mittal, Soundararajan and Bovik 2013): how far the statistics of an image's normalised luminance lie from those
of good images. The shipped model of good images is learned from sharp face crops; the authors' own can be given.
The paper uses HyperIQA instead (section 4.1): see `hyperiqa`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from scipy.special import gamma

from ...errors import WeightsError
from ...utils import serialization
from ...utils.arrays import Array

KIND, VERSION = "quality-model", 1
# Side of the patches, in pixels, of which features are taken; half of it at the second scale.
PATCH = 96
FEATURES = 36

_SHAPES = np.arange(0.2, 10.001, 0.001)
_RATIOS = gamma(2 / _SHAPES) ** 2 / (gamma(1 / _SHAPES) * gamma(3 / _SHAPES))


def luminance(rgb: npt.NDArray[np.uint8]) -> Array:
    """Return the luma of ITU-R BT.601 in studio range, 16..235: (H, W, 3) to (H, W)."""
    return (rgb.astype(np.float32) @ np.array([65.481, 128.553, 24.966], np.float32)) / np.float32(255) + np.float32(16)


def normalised(image: Array) -> Array:
    """Return mean-subtracted, contrast-normalised luminance (MSCN) under a Gaussian window of 7 pixels."""
    mean = cv2.GaussianBlur(image, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE)
    square = cv2.GaussianBlur(image * image, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE)
    deviation = np.sqrt(np.maximum(square - mean * mean, 0))
    return (image - mean) / (deviation + 1)


def generalised_gaussian(values: Array) -> tuple[float, float, float]:
    """Return the shape and the left and right scale of an asymmetric generalised Gaussian, by matching moments."""
    left, right = values[values < 0], values[values > 0]
    low = np.sqrt(np.mean(left**2)) if len(left) else 1e-6
    high = np.sqrt(np.mean(right**2)) if len(right) else 1e-6
    skew = low / high
    ratio = np.mean(np.abs(values)) ** 2 / max(float(np.mean(values**2)), 1e-12)
    ratio = ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shape = float(_SHAPES[np.argmin(np.abs(_RATIOS - ratio))])
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, float(low * scale), float(high * scale)


def patch_features(patch: Array) -> list[float]:
    """Return the 18 features of a patch of normalised luminance: its values, and products of neighbours."""
    shape, low, high = generalised_gaussian(patch.ravel())
    features = [shape, (low + high) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shape, low, high = generalised_gaussian((patch * np.roll(patch, shift, (0, 1))).ravel())
        mean = (high - low) * gamma(2 / shape) / gamma(1 / shape)
        features += [shape, float(mean), low, high]
    return features


def features(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the features of all whole patches of an image (H, W, 3) at both scales, (P, 36).

    Raises:
        ValueError: The image is smaller than a patch.
    """
    rows, columns = rgb.shape[0] // PATCH, rgb.shape[1] // PATCH
    if not rows or not columns:
        raise ValueError(f"an image of {rgb.shape[1]} x {rgb.shape[0]} pixels is smaller than a patch of {PATCH}")
    image = luminance(rgb[: rows * PATCH, : columns * PATCH])
    found = []
    for side in (PATCH, PATCH // 2):
        whole = normalised(image)
        cuts = ((r * side, c * side) for r in range(rows) for c in range(columns))
        found.append([patch_features(whole[y : y + side, x : x + side]) for y, x in cuts])
        image = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return np.concatenate(found, axis=1)


@dataclass(frozen=True)
class QualityModel:
    """Statistics of good images: mean (36,) and covariance (36, 36) of their features."""

    mean: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]

    @classmethod
    def learn(cls, images: Iterable[npt.NDArray[np.uint8]]) -> QualityModel:
        """Learn the model from good images."""
        pool = np.concatenate([features(image) for image in images])
        return cls(pool.mean(axis=0), np.asarray(np.cov(pool.T), np.float64))

    def score(self, images: Iterable[npt.NDArray[np.uint8]]) -> float:
        """Return the NIQE of images of one kind taken together, such as frames of a clip; lower is better."""
        pool = np.concatenate([features(image) for image in images])
        covariance = np.cov(pool.T) if len(pool) > 1 else np.zeros((FEATURES, FEATURES))
        difference = self.mean - pool.mean(axis=0)
        return float(np.sqrt(difference @ np.linalg.pinv((self.covariance + covariance) / 2) @ difference))

    def save(self, path: Path) -> None:
        """Write the model. Its features are scaled to their spread, so that float16 holds them."""
        spread = np.sqrt(np.diag(self.covariance))
        arrays = {"mean": self.mean / spread, "correlation": self.covariance / np.outer(spread, spread)}
        serialization.save_arrays(path, arrays, kind=KIND, version=VERSION, config={"spread": spread.tolist()})

    @classmethod
    def load(cls, path: Path | None = None) -> QualityModel:
        """Read a model: the package's, another of ours, or an `.npz` with the authors' parameters.

        Raises:
            WeightsError: The file is missing, damaged or something else.
        """
        path = serialization.packaged("quality.safetensors") if path is None else path
        if path.suffix == ".npz":
            return cls._of_authors(path)
        arrays, config = serialization.load_arrays(path, kind=KIND, version=VERSION)
        spread = np.array(config["spread"], np.float64)
        return cls(arrays["mean"] * spread, arrays["correlation"] * np.outer(spread, spread))

    @classmethod
    def _of_authors(cls, path: Path) -> QualityModel:
        """Read the `.npz` form of the authors' parameters, `mu_pris_param` and `cov_pris_param`."""
        try:
            with np.load(path) as file:
                mean, covariance = file["mu_pris_param"].ravel(), file["cov_pris_param"]
        except (OSError, KeyError, ValueError) as error:
            raise WeightsError(f"{path}: no NIQE parameters ({error})") from error
        if mean.shape != (FEATURES,) or covariance.shape != (FEATURES, FEATURES):
            raise WeightsError(f"{path}: NIQE parameters of another size than {FEATURES}")
        return cls(mean.astype(np.float64), covariance.astype(np.float64))
