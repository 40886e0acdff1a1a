"""Trains the style encoder of StyleSim, contrastively: windows of one speaker are alike, those of two are not.

NT-Xent (Chen et al. 2020), as DiffPoseTalk takes it. A sample is a group of speakers with two windows each, from
different videos of the speaker where there are several, so that the loss does not depend on how a batch is shared out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import PersonaTalkError
from ..geometry.morphable_model import MorphableModel
from ..stage1.style_similarity import StyleSimilarityEncoder, auc, same_speaker
from ..utils.arrays import Array
from .config import StyleConfig
from .data.shards import IndexEntry, read_datasets
from .engine import PartResult, Step, Task, Validation


@dataclass(frozen=True)
class SpeakerPairs:
    """Two windows of expression of each of K speakers, (K, 2, T, E)."""

    beta: torch.Tensor


class StyleTask(Task[SpeakerPairs]):
    """The style encoder's training.

    Args:
        config: The fields that configure it.
        model: The morphable model.
        entries: Clips to train on.
        held_out: Clips of other speakers.
    """

    network: StyleSimilarityEncoder

    def __init__(
        self, config: StyleConfig, model: MorphableModel, entries: list[IndexEntry], held_out: list[IndexEntry]
    ) -> None:
        super().__init__()
        torch.manual_seed(config.seed)
        self.config = config
        self.network = StyleSimilarityEncoder(model.num_vertices, model.num_expression, dropout=config.dropout)
        self.network.set_expressions(model)
        self.clips = clips_by_speaker(entries)
        if len(self.clips) < 2:
            raise PersonaTalkError("the style encoder needs clips of two speakers or more")
        self.held_out = clips_by_speaker(held_out)
        self._kept: dict[tuple[str, str], Array] = {}

    @classmethod
    def from_config(cls, config: StyleConfig, morphable: Path | None = None) -> StyleTask:
        """Return the task on the data sets that the configuration names.

        Raises:
            PersonaTalkError: A data set cannot be read, or has too few speakers.
        """
        entries = read_datasets(config.datasets, config.train_splits)
        held_out = read_datasets(config.datasets, config.val_splits)
        return cls(config, MorphableModel.load(morphable), entries, held_out)

    def parameter_groups(self) -> dict[str, list[dict[str, Any]]]:
        """Return one part with all parameters."""
        return {"network": [{"params": list(self.network.parameters())}]}

    def sample(self, random: np.random.Generator, place: int) -> SpeakerPairs:
        """Return two windows of each of some speakers."""
        names = sorted(self.clips)
        chosen = random.choice(len(names), min(self.config.speakers_per_group, len(names)), replace=False)
        length = int(random.integers(StyleSimilarityEncoder.LENGTH // 2, StyleSimilarityEncoder.LENGTH + 1))
        pairs = [self._pair(self.clips[names[i]], length, random) for i in chosen]
        beta = np.stack(pairs)
        return SpeakerPairs(
            torch.from_numpy(beta + self.config.noise_std * random.standard_normal(beta.shape).astype(np.float32))
        )

    def _beta(self, entry: IndexEntry) -> Array:
        """Return the expression of a clip at 25 frames a second, (T, E)."""
        place = (str(entry.shard), entry.key)
        if place not in self._kept:
            self._kept[place] = entry.load(crops=False).beta_at_clock()[1]
        return self._kept[place]

    def _pair(self, entries: list[IndexEntry], length: int, random: np.random.Generator) -> Array:
        """Return two windows of a speaker, (2, T, E), that share no frame where there are enough."""
        first, second = entries[int(random.integers(len(entries)))], entries[int(random.integers(len(entries)))]
        a, b = self._beta(first), self._beta(second)
        if first is second:
            middle = int(random.integers(len(a) // 3, len(a) - len(a) // 3 + 1))
            a, b = a[:middle], a[middle:]
        return np.stack([_random_window(x, length, random) for x in (a, b)])

    def losses(self, samples: Sequence[SpeakerPairs], step: Step) -> PartResult:
        """Return the mean of the groups' NT-Xent."""
        return PartResult({"contrast": torch.stack([self._contrast(s.beta) for s in samples]).mean()})

    def _contrast(self, beta: torch.Tensor) -> torch.Tensor:
        count = len(beta)
        styles = self.network(beta.flatten(0, 1)).view(count, 2, -1).transpose(0, 1).flatten(0, 1)
        scores = styles @ styles.T / self.config.temperature
        scores = scores.masked_fill(torch.eye(2 * count, dtype=torch.bool, device=scores.device), -torch.inf)
        partner = torch.arange(2 * count, device=scores.device).roll(count)
        return nn.functional.cross_entropy(scores, partner)

    def validate(self, network: StyleSimilarityEncoder) -> Validation:
        """Measure the AUC of same against different speaker, over windows of unseen speakers that share no frame."""
        styles, speakers = [], []
        for speaker, entries in self.held_out.items():
            for entry in entries:
                beta = self._beta(entry)
                parts = max(1, round(len(beta) / StyleSimilarityEncoder.LENGTH))
                for part in np.array_split(beta, parts):
                    styles.append(network.embed(part))
                    speakers.append(speaker)
        same, different = same_speaker(np.stack(styles), speakers)
        figures = {"auc": auc(same, different) if len(same) and len(different) else 0.5}
        return Validation({**figures, "same": _mean(same), "different": _mean(different)}, "auc")

    def save(self, network: StyleSimilarityEncoder, path: Path) -> None:
        """Write a style encoder."""
        network.save(path)


def clips_by_speaker(entries: list[IndexEntry]) -> dict[str, list[IndexEntry]]:
    """Group the clips that are long enough to tell style from by speaker."""
    found: dict[str, list[IndexEntry]] = {}
    for entry in entries:
        if entry.frames >= 2 * StyleSimilarityEncoder.SHORTEST:
            found.setdefault(entry.speaker, []).append(entry)
    return found


def _random_window(beta: Array, length: int, random: np.random.Generator) -> Array:
    """Return a random window of a series (T, E); a shorter series is reflected at its ends."""
    if len(beta) < length:
        beta = np.pad(beta, ((0, length - len(beta)), (0, 0)), mode="reflect" if len(beta) > 1 else "edge")
    start = int(random.integers(len(beta) - length + 1))
    return beta[start : start + length]


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else 0.0
