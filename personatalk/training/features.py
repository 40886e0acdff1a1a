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
from .config import TrainConfig
from .data.shards import Clip, Row, read_datasets, spread
from .discriminator import SMALL, FeatureNetwork
from .engine import Task, Validation, clip_sampler

VALIDATIONS = 64
"""Clips of a validation at most, of each of which six crops are taken."""


@dataclass(frozen=True, kw_only=True)
class FeatureConfig(TrainConfig):
    """Configuration of the feature network's training; `configs/features.yaml` says what the fields mean."""

    most_frames: int
    size: int


@dataclass(frozen=True)
class Sample:
    """A crop (3, S, S) in 0..1, and the places of its lower face's vertices (N, 2), as shares of its side."""

    picture: torch.Tensor
    places: torch.Tensor


class FeatureTask(Task[Sample]):
    """The feature network's training.

    Args:
        config: How.
        model: The morphable model.
        rows: Clips to train on.
        held_out: Clips of other speakers.
    """

    network: nn.Sequential

    def __init__(self, config: FeatureConfig, model: MorphableModel, rows: list[Row], held_out: list[Row]) -> None:
        super().__init__()
        torch.manual_seed(config.seed)
        self.config, self.model = config, model
        self.vertices = np.flatnonzero(model.lower > 0.5)
        self.network = nn.Sequential(FeatureNetwork(SMALL), _Head(SMALL[-1], 2 * len(self.vertices)))
        self.held_out = spread(held_out, VALIDATIONS)
        self.choose = clip_sampler([r.frames for r in rows], [r.speaker for r in rows], config.most_frames)
        self._clip = functools.lru_cache(maxsize=256)(lambda i: rows[i].load())

    @classmethod
    def from_config(cls, config: FeatureConfig, morphable: Path | None = None) -> FeatureTask:
        """The task on the data sets that the configuration names.

        Raises:
            PersonaTalkError: A data set cannot be read.
        """
        rows, held_out = (read_datasets(config.dataset, splits) for splits in (config.train, config.val))
        return cls(config, MorphableModel.load(morphable), rows, held_out)

    def groups(self) -> dict[str, list[dict[str, Any]]]:
        """One part."""
        return {"network": [{"params": list(self.network.parameters())}]}

    def draw(self, random: np.random.Generator) -> Sample:
        """A random crop, blurred or not, in a random light, slightly moved."""
        clip = self._clip(self.choose(random))
        return self._sample(clip, int(random.integers(len(clip.crops))), random)

    def _sample(self, clip: Clip, frame: int, random: np.random.Generator | None) -> Sample:
        size = self.config.size
        picture = cv2.resize(clip.crops[frame], (size, size), interpolation=cv2.INTER_AREA)
        vertices = self.model.vertices(clip.alpha, clip.beta[frame])[self.vertices]
        places = apply_transform(crop_transform(clip.pose[frame], size), project(vertices, clip.pose[frame]))[:, :2]
        if random is not None:
            shift = random.uniform(-0.06, 0.06, 2) * size
            matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
            picture = cv2.warpAffine(picture, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE)
            places = places + shift
            light = random.uniform(0.8, 1.2, 3)
            picture = np.clip(picture * light, 0, 255).astype(np.uint8)
        return Sample(to_tensor(picture), torch.from_numpy((places / size).astype(np.float32)))

    def losses(self, samples: Sequence[Sample], part: str) -> dict[str, torch.Tensor]:
        """L1 of the places in per cent of the crop."""
        pictures = torch.stack([s.picture for s in samples])
        places = torch.stack([s.places for s in samples])
        return {"places": 100 * (self.network(pictures).view_as(places).float() - places).abs().mean()}

    def validate(self, network: nn.Sequential) -> Validation:
        """Share of the variance of the vertices' places that the network explains, on people never seen."""
        samples = [
            self._sample(clip, frame, None)
            for clip in (row.load() for row in self.held_out)
            for frame in np.linspace(0, len(clip.crops) - 1, 6).astype(int)
        ]
        places = torch.stack([s.places for s in samples])
        with torch.no_grad():
            got = network(torch.stack([s.picture for s in samples])).view_as(places)
        explained = 1 - (got - places).square().mean() / (places - places.mean(dim=0)).square().mean()
        return Validation({"explained": float(explained)}, "explained")

    def save(self, network: nn.Sequential, path: Path) -> None:
        """Write the feature network without its head."""
        features = network[0]
        assert isinstance(features, FeatureNetwork)
        features.save(path)


class _Head(nn.Module):
    """From the coarsest features to places."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(64 * channels, 128), nn.ReLU(), nn.Linear(128, outputs)
        )

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        found: torch.Tensor = self.layers(features[-1])
        return found
