"""Foreign networks that judge pictures: identity, perceptual distance, Inception's and a video network's features.

None is shipped. Each is loaded from a path that the user gives, in the form in which it is commonly passed around;
where one is missing, the columns that need it say so and the others still come.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from ..errors import WeightsError
from ..geometry import Array
from .metrics import Picture

FIVE_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)
"""Where ArcFace wants the eyes, the nose and the corners of the mouth in its 112 x 112 crop (Deng et al. 2019)."""
FIVE_LANDMARKS = (468, 473, 4, 61, 291)
"""The same in MediaPipe's mesh."""


def onnx(path: Path | str, inputs: int) -> Any:
    """An ONNX network with a number of inputs.

    Raises:
        WeightsError: There is none, it cannot be read, or it has another number of inputs.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise WeightsError("ONNX networks need onnxruntime; install: pip install 'personatalk[eval]'") from error
    if not Path(path).is_file():
        raise WeightsError(f"{path}: no such network")
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own, which it does not export
        raise WeightsError(f"{path}: not a readable ONNX network ({str(error).splitlines()[0]})") from error
    if len(session.get_inputs()) != inputs:
        raise WeightsError(f"{path}: has {len(session.get_inputs())} inputs, but {inputs} are wanted; another network?")
    return session


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


def probe(path: Path | str, ask: Callable[[], object]) -> None:
    """Ask a network once.

    Raises:
        WeightsError: It does not answer in its kind's convention: it is another network.
    """
    try:
        ask()
    except Exception as error:  # each engine has its own classes
        raise WeightsError(f"{path}: does not answer as wanted ({str(error).strip().splitlines()[0]})") from error


class Identity:
    """An ArcFace network in ONNX, 112 x 112 RGB: insightface's recognition models, or ports of them.

    insightface's own exports from PyTorch want (x - 127.5) / 127.5; those that came from MXNet, whose input is called
    `data`, scale inside.

    Args:
        path: The network.

    Raises:
        WeightsError: It cannot be read, or is none.
    """

    def __init__(self, path: Path | str) -> None:
        self.session = onnx(path, inputs=1)
        (entry,) = self.session.get_inputs()
        if list(entry.shape[1:]) != [3, 112, 112]:
            raise WeightsError(f"{path}: wants {entry.shape}, not (N, 3, 112, 112): not an ArcFace network")
        self.name, self.inside = entry.name, entry.name == "data"
        probe(path, lambda: self.session.run(None, {self.name: np.zeros((1, 3, 112, 112), np.float32)}))

    def embed(self, picture: Picture, marks: Array) -> Array:
        """Unit vector (D,) of the face with landmarks (478, 2 or 3) in pixels."""
        matrix, _ = cv2.estimateAffinePartial2D(
            marks[list(FIVE_LANDMARKS), :2].astype(np.float32), FIVE_POINTS, method=cv2.LMEDS
        )
        crop = cv2.warpAffine(picture, matrix, (112, 112)).transpose(2, 0, 1)[None].astype(np.float32)
        vector = self.session.run(None, {self.name: crop if self.inside else (crop - 127.5) / 127.5})[0].ravel()
        unit: Array = vector / max(1e-12, np.linalg.norm(vector))
        return unit


class Perceptual:
    """LPIPS (Zhang et al. 2018) in ONNX: two inputs (N, 3, H, W) in -1..1, one distance for each pair.

    Args:
        path: The network.

    Raises:
        WeightsError: It cannot be read, or is none.
    """

    SIDE = 256
    """Pictures are compared at this size, as the face boxes of different videos differ."""

    def __init__(self, path: Path | str) -> None:
        self.session = onnx(path, inputs=2)
        self.names = [entry.name for entry in self.session.get_inputs()]
        grey = np.full((self.SIDE, self.SIDE, 3), 128, np.uint8)
        probe(path, lambda: self.distance(grey, grey))

    def distance(self, real: Picture, made: Picture) -> float:
        """LPIPS of two pictures of the same place."""
        pair = {name: self._prepared(p) for name, p in zip(self.names, (real, made), strict=True)}
        return float(np.ravel(self.session.run(None, pair)[0])[0])

    def _prepared(self, picture: Picture) -> Array:
        small = cv2.resize(picture, (self.SIDE, self.SIDE), interpolation=cv2.INTER_AREA)
        return small.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1


class Inception:
    """Inception's pooled features for FID, as the TorchScript file `inception-2015-12-05.pt` of StyleGAN's authors.

    It takes uint8 pictures of any size, scales them itself and gives (N, 2048) with `return_features`.

    Args:
        path: The network.

    Raises:
        WeightsError: It cannot be read.
    """

    def __init__(self, path: Path | str) -> None:
        self.network = script(path)
        probe(path, lambda: self.features(np.zeros((64, 64, 3), np.uint8)))

    @torch.inference_mode()
    def features(self, picture: Picture) -> Array:
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
        probe(path, lambda: self.features([np.zeros((64, 64, 3), np.uint8)] * self.FRAMES))

    @torch.inference_mode()
    def features(self, pictures: list[Picture]) -> Array:
        """(1, D) of `FRAMES` consecutive pictures."""
        small = [cv2.resize(p, (self.SIDE, self.SIDE), interpolation=cv2.INTER_AREA) for p in pictures]
        clip = torch.from_numpy(np.stack(small)).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
        found: Array = self.network(clip, rescale=False, resize=False, return_features=True).numpy()
        return found


def square(marks: npt.NDArray[Any], picture: Picture, margin: float = 0.0) -> Picture:
    """Square crop around a face, from its landmarks' box grown by a share of its side; edges are repeated."""
    low, high = marks[:, :2].min(axis=0), marks[:, :2].max(axis=0)
    half = float((high - low).max()) * (0.5 + margin)
    x, y = (low + high) / 2
    side = max(2, round(2 * half))
    matrix = np.array([[1, 0, half - x], [0, 1, half - y]], np.float32)
    cut: Picture = cv2.warpAffine(picture, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return cut
