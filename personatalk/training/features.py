"""Trains the feature network of stage 2's perceptual loss, from our own data alone.

From a crop it tells the vertices of the lower face in crop pixels. What helps with that (lips, teeth, folds, the jaw's
edge, at several scales) is what a blurred mouth lacks.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from ..geometry.camera import apply_transform, crop_transform, project
from ..geometry.morphable_model import MorphableModel
from ..stage2.renderer import to_tensor
from .config import FeatureConfig
from .data.shards import Clip, IndexEntry, evenly_spaced, read_datasets
from .discriminator import SMALL, VggFeatures
from .engine import PartResult, Step, Task, Validation, clip_sampler

# Clips of a validation at most, of each of which six crops are taken.
MAX_VALIDATION_CLIPS = 64


@dataclass(frozen=True)
class LandmarkedCrop:
    """A crop (3, S, S) in 0..1, and the positions of its lower face's vertices (N, 2), as shares of its side."""

    image: torch.Tensor
    positions: torch.Tensor


class FeatureTask(Task[LandmarkedCrop]):
    """The feature network's training.

    Args:
        config: The fields that configure it.
        model: The morphable model.
        entries: Clips to train on.
        held_out: Clips of other speakers.
    """

    network: nn.Sequential

    def __init__(
        self, config: FeatureConfig, model: MorphableModel, entries: list[IndexEntry], held_out: list[IndexEntry]
    ) -> None:
        super().__init__()
        torch.manual_seed(config.seed)
        self.config, self.model = config, model
        self.vertices = np.flatnonzero(model.lower > 0.5)
        self.network = nn.Sequential(VggFeatures(SMALL), _PositionHead(SMALL[-1], 2 * len(self.vertices)))
        self.held_out = evenly_spaced(held_out, MAX_VALIDATION_CLIPS)
        self.sample_clip = clip_sampler(
            [r.frames for r in entries], [r.speaker for r in entries], config.max_frames_per_speaker
        )
        self._clip = functools.lru_cache(maxsize=256)(lambda i: entries[i].load())

    @classmethod
    def from_config(cls, config: FeatureConfig, morphable: Path | None = None) -> FeatureTask:
        """Return the task on the data sets that the configuration names.

        Raises:
            PersonaTalkError: A data set cannot be read.
        """
        entries = read_datasets(config.datasets, config.train_splits)
        held_out = read_datasets(config.datasets, config.val_splits)
        return cls(config, MorphableModel.load(morphable), entries, held_out)

    def parameter_groups(self) -> dict[str, list[dict[str, Any]]]:
        """Return one part with all parameters."""
        return {"network": [{"params": list(self.network.parameters())}]}

    def sample(self, random: np.random.Generator) -> LandmarkedCrop:
        """Return a random crop in a random light, slightly shifted."""
        clip = self._clip(self.sample_clip(random))
        return self._sample(clip, int(random.integers(len(clip.crops))), random)

    def _sample(self, clip: Clip, frame: int, random: np.random.Generator | None) -> LandmarkedCrop:
        size = self.config.crop_size
        image = cv2.resize(clip.crops[frame], (size, size), interpolation=cv2.INTER_AREA)
        vertices = self.model.vertices(clip.alpha, clip.beta[frame])[self.vertices]
        positions = apply_transform(crop_transform(clip.pose[frame], size), project(vertices, clip.pose[frame]))[:, :2]
        if random is not None:
            shift = random.uniform(-0.06, 0.06, 2) * size
            matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
            image = cv2.warpAffine(image, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE)
            positions = positions + shift
            light = random.uniform(0.8, 1.2, 3)
            image = np.clip(image * light, 0, 255).astype(np.uint8)
        return LandmarkedCrop(to_tensor(image), torch.from_numpy((positions / size).astype(np.float32)))

    def losses(self, samples: Sequence[LandmarkedCrop], step: Step) -> PartResult:
        """Return the L1 of the positions in per cent of the crop."""
        images = torch.stack([s.image for s in samples])
        positions = torch.stack([s.positions for s in samples])
        error = self.network(images).view_as(positions).float() - positions
        return PartResult({"places": 100 * error.abs().mean()})

    def validate(self, network: nn.Sequential) -> Validation:
        """Measure the share of the variance of the positions that the network explains, on speakers never seen."""
        samples = [
            self._sample(clip, frame, None)
            for clip in (entry.load() for entry in self.held_out)
            for frame in np.linspace(0, len(clip.crops) - 1, 6).astype(int)
        ]
        positions = torch.stack([s.positions for s in samples])
        with torch.no_grad():
            got = network(torch.stack([s.image for s in samples])).view_as(positions)
        explained = 1 - (got - positions).square().mean() / (positions - positions.mean(dim=0)).square().mean()
        return Validation({"explained": float(explained)}, "explained")

    def save(self, network: nn.Sequential, path: Path) -> None:
        """Write the feature network without its head."""
        features = network[0]
        assert isinstance(features, VggFeatures)
        features.save(path)


class _PositionHead(nn.Module):
    """Head from the coarsest features to positions."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(64 * channels, 128), nn.ReLU(), nn.Linear(128, outputs)
        )

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        found: torch.Tensor = self.layers(features[-1])
        return found
