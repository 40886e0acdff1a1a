"""The style encoder's training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.datasets import dataset, made_up
from torch import nn

from personatalk.errors import PersonaTalkError
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.stage1.style_similarity import StyleSimilarityEncoder
from personatalk.training.config import StyleConfig
from personatalk.training.config_files import read_config
from personatalk.training.data.shards import read_dataset
from personatalk.training.engine import Step
from personatalk.training.style import StyleTask


@pytest.mark.slow
def test_pairs_of_speakers_are_contrasted(tmp_path: Path, model: MorphableModel) -> None:
    clips = [made_up(model, f"{name}-000000", frames=120, crops=1, speaker=name) for name in "abc"]
    entries = read_dataset(dataset(tmp_path, clips))
    task = StyleTask(StyleConfig(speakers_per_group=2, noise_std=0), model, entries, entries)
    pairs = task.sample(np.random.default_rng(0), 0)
    assert pairs.beta.shape[:2] == (2, 2)
    result = task.losses([pairs], Step(0, 0.0, "network"))
    assert set(result.terms) == {"contrast"}
    result.terms["contrast"].backward()
    assert any(p.grad is not None and torch.any(p.grad != 0) for p in task.network.parameters())


def test_one_speaker_is_too_few(tmp_path: Path, model: MorphableModel) -> None:
    entries = read_dataset(dataset(tmp_path, [made_up(model, frames=120, crops=1)]))
    with pytest.raises(PersonaTalkError, match="two speakers"):
        StyleTask(StyleConfig(), model, entries, entries)


@pytest.mark.slow
def test_contrast_is_low_where_a_speakers_windows_are_alike(model: MorphableModel) -> None:
    random = np.random.default_rng(0)
    config = read_config(StyleConfig, changes=["dropout=0"])
    task = StyleTask.__new__(StyleTask)
    nn.Module.__init__(task)
    task.config = config
    task.network = StyleSimilarityEncoder(model.num_vertices, model.num_expression, dropout=0).eval()
    task.network.set_expressions(model)
    people = torch.from_numpy(random.standard_normal((6, 1, 1, model.num_expression)).astype(np.float32))
    alike = people.expand(-1, 2, 60, -1).contiguous()
    mixed = torch.stack([alike[:, 0], alike[:, 1].roll(1, 0)], dim=1)
    assert float(task._contrast(alike)) < float(task._contrast(mixed)) - 0.3
