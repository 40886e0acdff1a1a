"""LR-ASD (Liao et al. 2023): does this face say this sound? A coarse meter of sync where SyncNet cannot be had."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ..utils.arrays import Array, Image
from ..utils.onnx import open_onnx, trial_run
from .syncnet import STEPS_PER_FRAME, mfcc

SIDE = 112
CHUNK = 375
"""Frames judged together: 15 s."""
FEWEST = 5
"""Frames that can be judged at all."""


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
        trial_run(backend, lambda: self._judge(np.zeros((5, SIDE, SIDE), np.float32), np.zeros((20, 13), np.float32)))

    def _judge(self, faces: Array, heard: Array) -> Array:
        seen = self.visual.run(None, {self.visual.get_inputs()[0].name: faces[None]})[0]
        names = [entry.name for entry in self.backend.get_inputs()]
        logits: Array = self.backend.run(None, dict(zip(names, (seen, heard[None]), strict=True)))[0]
        return np.ravel(logits)

    def score(self, crops: Iterator[Image], samples: Array) -> float:
        """Mean logit over the frames; above 0 the network hears this face speak.

        Args:
            crops: Square crops of the face at 25 frames a second, which stream.
            samples: Sound from the same time on, 16 kHz, (N,).

        Returns:
            NaN where there is less than a fifth of a second.
        """
        heard, place, found = mfcc(samples), 0, list[Array]()
        while faces := [prepared(crop) for crop in itertools.islice(crops, CHUNK)]:
            sound = heard[STEPS_PER_FRAME * place :][: STEPS_PER_FRAME * len(faces)]
            count = len(sound) // STEPS_PER_FRAME
            if count >= FEWEST:
                pixels = np.stack(faces[:count]).astype(np.float32)
                found.append(self._judge(pixels, sound[: STEPS_PER_FRAME * count]))
            place += len(faces)
        return float(np.concatenate(found).mean()) if found else float("nan")


def prepared(crop: Image) -> Image:
    """A face's square crop as a frame of the network's input, uint8 (112, 112)."""
    small: Image = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return small
