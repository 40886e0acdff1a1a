"""Published networks that metrics need: LPIPS, and the features of Inception and of a video network.

None is shipped. Each is loaded from a path that the user gives, in the format in which it is commonly published; where
one is missing, the columns that need it say so and the others still come.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch

from ..errors import WeightsError
from ..utils.arrays import Array, Image
from ..utils.onnx import open_onnx, trial_run


class FeatureNetwork(Protocol):
    """A network whose features are compared by their Fréchet distance.

    Attributes:
        FRAMES: Consecutive images that it takes at once.
    """

    FRAMES: int

    def prepare(self, image: Image) -> Image:
        """Return an image as it is kept until there are enough: a copy, at the network's size."""

    def features(self, images: list[Image]) -> Array:
        """Return the features of `FRAMES` images, (1, D)."""


def load_script(path: Path | str) -> torch.jit.ScriptModule:
    """Load a TorchScript network.

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

    # Images are compared at this size, as the face boxes of different videos differ.
    SIDE = 256

    def __init__(self, path: Path | str) -> None:
        self.session = open_onnx(path, inputs=2)
        self.names = [entry.name for entry in self.session.get_inputs()]
        grey = np.full((self.SIDE, self.SIDE, 3), 128, np.uint8)
        trial_run(path, lambda: self.distance(grey, grey))

    def distance(self, reference: Image, generated: Image) -> float:
        """Return the LPIPS of two images of the same place."""
        pair = {name: self._prepared(image) for name, image in zip(self.names, (reference, generated), strict=True)}
        return float(np.ravel(self.session.run(None, pair)[0])[0])

    def _prepared(self, image: Image) -> Array:
        small = cv2.resize(image, (self.SIDE, self.SIDE), interpolation=cv2.INTER_AREA)
        return small.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1


class InceptionNetwork:
    """Inception's pooled features for FID, as the TorchScript file `inception-2015-12-05.pt` of StyleGAN's authors.

    It takes uint8 images of any size, scales them itself and gives (N, 2048) with `return_features`.

    Args:
        path: The network.

    Raises:
        WeightsError: It cannot be read.
    """

    FRAMES = 1

    def __init__(self, path: Path | str) -> None:
        self.network = load_script(path)
        trial_run(path, lambda: self.features([np.zeros((64, 64, 3), np.uint8)]))

    def prepare(self, image: Image) -> Image:
        """Return a copy of an image."""
        return image.copy()

    @torch.inference_mode()
    def features(self, images: list[Image]) -> Array:
        """Return the features of images of one size, (N, D)."""
        pixels = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy())
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

    FRAMES = 16
    SIDE = 224

    def __init__(self, path: Path | str) -> None:
        self.network = load_script(path)
        trial_run(path, lambda: self.features([np.zeros((64, 64, 3), np.uint8)] * self.FRAMES))

    def prepare(self, image: Image) -> Image:
        """Return an image at the network's size."""
        return cv2.resize(image, (self.SIDE, self.SIDE), interpolation=cv2.INTER_AREA)

    @torch.inference_mode()
    def features(self, images: list[Image]) -> Array:
        """Return the features of `FRAMES` consecutive images, (1, D)."""
        clip = (
            torch.from_numpy(np.stack([self.prepare(image) for image in images])).permute(3, 0, 1, 2)[None].float()
            / 127.5
            - 1
        )
        found: Array = self.network(clip, rescale=False, resize=False, return_features=True).numpy()
        return found
