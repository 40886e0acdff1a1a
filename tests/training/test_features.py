"""The feature network's training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.datasets import dataset, made_up

from personatalk.geometry.morphable_model import MorphableModel
from personatalk.training.config import FeatureConfig
from personatalk.training.data.shards import read_dataset
from personatalk.training.discriminator import VggFeatures
from personatalk.training.engine import Step
from personatalk.training.features import FeatureTask


def test_positions_follow_the_crop(tmp_path: Path, model: MorphableModel) -> None:
    entries = read_dataset(dataset(tmp_path, [made_up(model, frames=4)]))
    task = FeatureTask(FeatureConfig(crop_size=32), model, entries, entries)
    samples = [task.sample(np.random.default_rng(seed)) for seed in range(2)]
    assert samples[0].image.shape == (3, 32, 32)
    assert samples[0].positions.shape == (len(task.vertices), 2)
    assert 0 < samples[0].positions.mean() < 1
    assert task.losses(samples, Step(0, "network")).terms["places"] > 0
    assert task.validate(task.network.eval()).criterion == "explained"


def test_only_the_features_are_saved(tmp_path: Path, model: MorphableModel) -> None:
    entries = read_dataset(dataset(tmp_path, [made_up(model, frames=2)]))
    task = FeatureTask(FeatureConfig(crop_size=32), model, entries, entries)
    task.save(task.network, tmp_path / "f.safetensors")
    assert VggFeatures.load(tmp_path / "f.safetensors").state_dict().keys() == task.network[0].state_dict().keys()
