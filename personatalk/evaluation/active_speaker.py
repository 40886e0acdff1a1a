"""LR-ASD (Liao et al. 2023): active-speaker detection, a coarse measure of sync where SyncNet is not available."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ..utils.arrays import Array, Image
from ..utils.onnx import open_onnx, trial_run
from .syncnet import STEPS_PER_FRAME, mfcc

# Side of its crops in pixels.
SPEAKER_CROP_SIZE = 112
# Frames judged together: 15 s.
FRAMES_AT_ONCE = 375
# Frames that can be judged at all.
MIN_JUDGED_FRAMES = 5


class ActiveSpeaker:
    """LR-ASD's two networks in ONNX.

    Args:
        visual: Grey face crops (1, T, 112, 112) in 0..255 to (1, T, 128).
        backend: Those and MFCC (1, 4 T, 13) to one logit a frame, (T,).

    Raises:
        WeightsError: One cannot be read, or is another network.
    """

    def __init__(self, visual: Path | str, backend: Path | str) -> None:
        self.visual, self.backend = open_onnx(visual, inputs=1), open_onnx(backend, inputs=2)
        trial_run(
            backend,
            lambda: self._logits(
                np.zeros((5, SPEAKER_CROP_SIZE, SPEAKER_CROP_SIZE), np.float32), np.zeros((20, 13), np.float32)
            ),
        )

    def _logits(self, faces: Array, features: Array) -> Array:
        visual = self.visual.run(None, {self.visual.get_inputs()[0].name: faces[None]})[0]
        names = [entry.name for entry in self.backend.get_inputs()]
        logits: Array = self.backend.run(None, dict(zip(names, (visual, features[None]), strict=True)))[0]
        return np.ravel(logits)

    def score(self, crops: Iterator[Image], samples: Array) -> float:
        """Return the mean logit over the frames; above 0 the network takes this face for the speaker.

        Args:
            crops: Square crops of the face at 25 frames a second, one after the other.
            samples: Audio from the same time on at 16 kHz, (N,).

        Returns:
            NaN where there is less than a fifth of a second.
        """
        features, place, found = mfcc(samples), 0, list[Array]()
        while faces := [grey_frame(crop) for crop in itertools.islice(crops, FRAMES_AT_ONCE)]:
            part = features[STEPS_PER_FRAME * place :][: STEPS_PER_FRAME * len(faces)]
            count = len(part) // STEPS_PER_FRAME
            if count >= MIN_JUDGED_FRAMES:
                pixels = np.stack(faces[:count]).astype(np.float32)
                found.append(self._logits(pixels, part[: STEPS_PER_FRAME * count]))
            place += len(faces)
        return float(np.concatenate(found).mean()) if found else float("nan")


def grey_frame(crop: Image) -> Image:
    """Return a face's square crop as a frame of the network's input, uint8 (112, 112)."""
    small: Image = cv2.resize(
        cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (SPEAKER_CROP_SIZE, SPEAKER_CROP_SIZE), interpolation=cv2.INTER_AREA
    )
    return small
