"""SyncNet (Chung and Zisserman 2016): SyncScore (LSE-C) and LSE-D, with the authors' weights `syncnet_v2.model`.

The layers and their names are those of the published weights; the code is ours. As in the authors' evaluation: windows
of five frames, 224 x 224 BGR in 0..255, against 200 ms of MFCC, distances at 15 shifts to either side.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from ..audio.rates import SAMPLE_RATE
from ..errors import WeightsError
from ..utils.arrays import Array, Image

# Side of its crops in pixels.
SYNCNET_CROP_SIZE = 224
# Frames of a window.
FRAMES = 5
# Largest shift in frames that is tried.
SHIFTS = 15
# MFCC vectors for each video frame.
STEPS_PER_FRAME = 4
# Windows in a batch.
BATCH = 20


@dataclass(frozen=True)
class Sync:
    """Synchrony of audio and video.

    Attributes:
        confidence: SyncScore, LSE-C: median distance over the shifts less the smallest. Higher is better.
        distance: LSE-D: the smallest distance. Lower is better.
        offset: Frames by which the audio is late at that distance.
    """

    confidence: float
    distance: float
    offset: int


def _block(kind: Any, norm: Any, inputs: int, outputs: int, kernel: Any, **options: Any) -> list[nn.Module]:
    return [kind(inputs, outputs, kernel, **options), norm(outputs), nn.ReLU()]


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))


class SyncNet(nn.Module):
    """The two-stream network; both streams give (N, 1024)."""

    def __init__(self) -> None:
        super().__init__()
        flat, flat_norm, deep, deep_norm = nn.Conv2d, nn.BatchNorm2d, nn.Conv3d, nn.BatchNorm3d
        self.netcnnaud = nn.Sequential(
            *_block(flat, flat_norm, 1, 64, 3, padding=1),
            nn.MaxPool2d(1, 1),
            *_block(flat, flat_norm, 64, 192, 3, padding=1),
            nn.MaxPool2d(3, (1, 2)),
            *_block(flat, flat_norm, 192, 384, 3, padding=1),
            *_block(flat, flat_norm, 384, 256, 3, padding=1),
            *_block(flat, flat_norm, 256, 256, 3, padding=1),
            nn.MaxPool2d(3, 2),
            *_block(flat, flat_norm, 256, 512, (5, 4)),
        )
        self.netfcaud = _head()
        self.netfclip = _head()
        self.netcnnlip = nn.Sequential(
            *_block(deep, deep_norm, 3, 96, (5, 7, 7), stride=(1, 2, 2)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_block(deep, deep_norm, 96, 256, (1, 5, 5), stride=(1, 2, 2), padding=(0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), padding=(0, 1, 1)),
            *_block(deep, deep_norm, 256, 256, (1, 3, 3), padding=(0, 1, 1)),
            *_block(deep, deep_norm, 256, 256, (1, 3, 3), padding=(0, 1, 1)),
            *_block(deep, deep_norm, 256, 256, (1, 3, 3), padding=(0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_block(deep, deep_norm, 256, 512, (1, 6, 6)),
        )

    def embed_audio(self, mfcc: torch.Tensor) -> torch.Tensor:
        """Embed MFCC windows (N, 1, 13, 20) to (N, 1024)."""
        vectors: torch.Tensor = self.netfcaud(self.netcnnaud(mfcc).flatten(1))
        return vectors

    def embed_faces(self, windows: torch.Tensor) -> torch.Tensor:
        """Embed windows of faces (N, 3, 5, 224, 224), BGR in 0..255, to (N, 1024)."""
        vectors: torch.Tensor = self.netfclip(self.netcnnlip(windows).flatten(1))
        return vectors

    @classmethod
    def load(cls, path: Path | str) -> SyncNet:
        """Read the authors' weights; only tensors are unpickled.

        Raises:
            WeightsError: The file is missing, damaged or of another network.
        """
        if not Path(path).is_file():
            raise WeightsError(f"{path}: no such weights; get syncnet_v2.model from SyncNet's authors")
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
            raise WeightsError(f"{path}: not readable weights ({str(error).splitlines()[0]})") from error
        network = cls()
        try:
            missing, unknown = network.load_state_dict(state, strict=False)
        except (RuntimeError, TypeError, AttributeError) as error:
            raise WeightsError(f"{path}: weights of another network, not of SyncNet") from error
        # PyTorch did not count batches yet when the authors trained.
        if unknown or any(not name.endswith("num_batches_tracked") for name in missing):
            raise WeightsError(f"{path}: weights of another network, not of SyncNet")
        return network.eval()


def mfcc(samples: Array) -> Array:
    """Return the MFCC at 100 vectors a second, as the authors' evaluation computes it.

    Args:
        samples: Audio at 16 kHz in -1..1, (N,).

    Returns:
        (T, 13).

    Raises:
        WeightsError: `python_speech_features` is not installed.
    """
    try:
        from python_speech_features import mfcc as features
    except ImportError as error:
        raise WeightsError("SyncNet needs python_speech_features; install: pip install 'personatalk[eval]'") from error
    found: Array = features((samples * 32767).clip(-32768, 32767).astype(np.int16), SAMPLE_RATE).astype(np.float32)
    return found


def face_frame(crop: Image) -> torch.Tensor:
    """Return a face's square crop as a frame of the network's input, (3, 224, 224)."""
    small = cv2.resize(crop, (SYNCNET_CROP_SIZE, SYNCNET_CROP_SIZE), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(np.ascontiguousarray(small[..., ::-1].transpose(2, 0, 1))).float()


@torch.inference_mode()
def sync(network: SyncNet, crops: Iterator[Image], samples: Array) -> Sync:
    """Score a video at 25 frames a second; its frames stream.

    Args:
        network: With the authors' weights.
        crops: Square crops of the face, frame j at time j / 25.
        samples: Audio from the same time on at 16 kHz, (N,).

    Returns:
        NaNs where the video is shorter than a window.
    """
    features = torch.from_numpy(mfcc(samples)).T
    frames: list[torch.Tensor] = []
    windows: list[torch.Tensor] = []
    faces: list[torch.Tensor] = []
    for crop in crops:
        frames = [*frames[-(FRAMES - 1) :], face_frame(crop)]
        if len(frames) == FRAMES:
            windows.append(torch.stack(frames, dim=1))
        if len(windows) == BATCH:
            faces.append(network.embed_faces(torch.stack(windows)))
            windows = []
    if windows:
        faces.append(network.embed_faces(torch.stack(windows)))
    count = min(sum(map(len, faces)), (features.shape[1] - STEPS_PER_FRAME * FRAMES) // STEPS_PER_FRAME + 1)
    if count < 1:
        return Sync(float("nan"), float("nan"), 0)
    spans = [features[:, STEPS_PER_FRAME * j :][:, : STEPS_PER_FRAME * FRAMES] for j in range(count)]
    audio = torch.cat([network.embed_audio(torch.stack(spans[i : i + BATCH])[:, None]) for i in range(0, count, BATCH)])
    return sync_score(torch.cat(faces)[:count], audio)


def sync_score(faces: torch.Tensor, audio: torch.Tensor) -> Sync:
    """Return confidence, distance and offset from both streams' vectors (T, D)."""
    padded = nn.functional.pad(audio, (0, 0, SHIFTS, SHIFTS))
    windows = padded.unfold(0, 2 * SHIFTS + 1, 1).transpose(1, 2)
    distances = (faces[:, None] - windows + 1e-6).norm(dim=2).mean(dim=0)
    best = int(distances.argmin())
    return Sync(float(distances.median() - distances[best]), float(distances[best]), best - SHIFTS)
