"""The style encoder's training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.datasets import dataset, made_up

from personatalk.errors import PersonaTalkError
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.training.config import StyleConfig
from personatalk.training.data.shards import read_dataset
from personatalk.training.engine import Step
from personatalk.training.style import StyleTask


def test_pairs_of_speakers_are_contrasted(tmp_path: Path, model: MorphableModel) -> None:
    clips = [made_up(model, f"{name}-000000", frames=120, crops=1, speaker=name) for name in "abc"]
    entries = read_dataset(dataset(tmp_path, clips))
    task = StyleTask(StyleConfig(speakers_per_group=2, noise_std=0), model, entries, entries)
    pairs = task.sample(np.random.default_rng(0))
    assert pairs.beta.shape[:2] == (2, 2)
    result = task.losses([pairs], Step(0, "network"))
    assert set(result.terms) == {"contrast"}
    result.terms["contrast"].backward()
    assert any(p.grad is not None and torch.any(p.grad != 0) for p in task.network.parameters())


def test_one_speaker_is_too_few(tmp_path: Path, model: MorphableModel) -> None:
    entries = read_dataset(dataset(tmp_path, [made_up(model, frames=120, crops=1)]))
    with pytest.raises(PersonaTalkError, match="two speakers"):
        StyleTask(StyleConfig(), model, entries, entries)
