"""Foreign networks that judge pictures: identity, perceptual distance, Inception's and a video network's features.

None is shipped. Each is loaded from a path that the user gives, in the form in which it is commonly passed around;
where one is missing, the columns that need it say so and the others still come.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from ..errors import WeightsError
from ..utils.arrays import Array, Image
from ..utils.onnx import open_onnx, trial_run

__all__ = ["InceptionNetwork", "PerceptualNetwork", "VideoFeatures"]


def script(path: Path | str) -> torch.jit.ScriptModule:
    """A TorchScript network.

    Raises:
        WeightsError: There is none, or it cannot be read.
    """
    if not Path(path).is_file():
        raise WeightsError(f"{path}: no such network")
    try:
        return torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise WeightsError(f"{path}: not a readable TorchScript network ({first})") from error


class PerceptualNetwork:
    """LPIPS (Zhang et al. 2018) in ONNX: two inputs (N, 3, H, W) in -1..1, one distance for each pair.

    Args:
        path: The network.

    Raises:
        WeightsError: It cannot be read, or is none.
    """

    SIDE = 256
    """Pictures are compared at this size, as the face boxes of different videos differ."""

    def __init__(self, path: Path | str) -> None:
        self.session = open_onnx(path, inputs=2)
        self.names = [entry.name for entry in self.session.get_inputs()]
        grey = np.full((self.SIDE, self.SIDE, 3), 128, np.uint8)
        trial_run(path, lambda: self.distance(grey, grey))

    def distance(self, real: Image, made: Image) -> float:
        """LPIPS of two pictures of the same place."""
        pair = {name: self._prepared(p) for name, p in zip(self.names, (real, made), strict=True)}
        return float(np.ravel(self.session.run(None, pair)[0])[0])

    def _prepared(self, picture: Image) -> Array:
        small = cv2.resize(picture, (self.SIDE, self.SIDE), interpolation=cv2.INTER_AREA)
        return small.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1


class InceptionNetwork:
    """Inception's pooled features for FID, as the TorchScript file `inception-2015-12-05.pt` of StyleGAN's authors.

    It takes uint8 pictures of any size, scales them itself and gives (N, 2048) with `return_features`.

    Args:
        path: The network.

    Raises:
        WeightsError: It cannot be read.
    """

    def __init__(self, path: Path | str) -> None:
        self.network = script(path)
        trial_run(path, lambda: self.features(np.zeros((64, 64, 3), np.uint8)))

    @torch.inference_mode()
    def features(self, picture: Image) -> Array:
        """(1, D)."""
        pixels = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]
        found: Array = self.network(pixels, return_features=True).numpy()
        return found


class VideoFeatures:
    """A video network's features for FVD (Unterthiner et al. 2019), as the TorchScript file `i3d_torchscript.pt`.

    It takes (N, 3, T, 224, 224) in -1..1 and gives (N, 400) with `rescale=False, resize=False, return_features=True`.

    Args:
        path: The network.

    Raises:
        WeightsError: It cannot be read.
    """

    FRAMES, SIDE = 16, 224

    def __init__(self, path: Path | str) -> None:
        self.network = script(path)
        trial_run(path, lambda: self.features([np.zeros((64, 64, 3), np.uint8)] * self.FRAMES))

    @torch.inference_mode()
    def features(self, pictures: list[Image]) -> Array:
        """(1, D) of `FRAMES` consecutive pictures."""
        small = [cv2.resize(p, (self.SIDE, self.SIDE), interpolation=cv2.INTER_AREA) for p in pictures]
        clip = torch.from_numpy(np.stack(small)).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
        found: Array = self.network(clip, rescale=False, resize=False, return_features=True).numpy()
        return found


def square(marks: npt.NDArray[Any], picture: Image, margin: float = 0.0) -> Image:
    """Square crop around a face, from its landmarks' box grown by a share of its side; edges are repeated."""
    low, high = marks[:, :2].min(axis=0), marks[:, :2].max(axis=0)
    half = float((high - low).max()) * (0.5 + margin)
    x, y = (low + high) / 2
    side = max(2, round(2 * half))
    matrix = np.array([[1, 0, half - x], [0, 1, half - y]], np.float32)
    cut: Image = cv2.warpAffine(picture, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return cut
