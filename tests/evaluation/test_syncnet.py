"""SyncNet: the authors' layers, shifts and streaming."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.synthetic import smooth_picture

from personatalk.errors import WeightsError
from personatalk.evaluation.syncnet import SHIFTS, SyncNet, mfcc, sync, sync_score


@pytest.fixture(scope="module")
def syncnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights with the authors' names, without the counts that PyTorch did not have then."""
    torch.manual_seed(0)
    state = {k: v for k, v in SyncNet().state_dict().items() if not k.endswith("num_batches_tracked")}
    path = tmp_path_factory.mktemp("sync") / "syncnet_v2.model"
    torch.save(state, path)
    return path


@pytest.mark.slow
def test_syncnet_has_the_authors_layers(syncnet: Path, tmp_path: Path) -> None:
    network = SyncNet.load(syncnet)
    shapes = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    assert shapes["netcnnaud.0.weight"] == (64, 1, 3, 3)
    assert shapes["netcnnaud.18.weight"] == (512, 256, 5, 4)
    assert shapes["netcnnlip.0.weight"] == (96, 3, 5, 7, 7)
    assert shapes["netcnnlip.18.weight"] == (512, 256, 1, 6, 6)
    assert shapes["netfclip.3.weight"] == shapes["netfcaud.3.weight"] == (1024, 512)
    with torch.inference_mode():
        assert network.embed_audio(torch.randn(2, 1, 13, 20)).shape == (2, 1024)
        assert network.embed_faces(torch.randn(2, 3, 5, 224, 224)).shape == (2, 1024)
    state = torch.load(syncnet)
    del state["netfclip.3.weight"]
    torch.save(state, tmp_path / "half.model")
    with pytest.raises(WeightsError, match="another network"):
        SyncNet.load(tmp_path / "half.model")


def test_sync_finds_the_shift() -> None:
    seen = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    for late in (-4, 0, 6):
        got = sync_score(seen, seen.roll(late, 0))
        assert got.offset == late
        assert got.distance < 1 and got.confidence > 1
    unrelated = sync_score(seen, torch.randn(60, 8, generator=torch.Generator().manual_seed(1)))
    assert unrelated.confidence < 0.6
    assert len(range(-SHIFTS, SHIFTS + 1)) == 31


@pytest.mark.slow
def test_sync_streams_a_video(syncnet: Path) -> None:
    network = SyncNet.load(syncnet)
    samples = 0.1 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    assert mfcc(samples).shape == (99, 13)
    crops = [smooth_picture(60, 60, 3, seed=i) for i in range(25)]
    got = sync(network, iter(crops), samples)
    assert math.isfinite(got.confidence) and got.distance > 0
    assert math.isnan(sync(network, iter(crops[:3]), samples).confidence)
