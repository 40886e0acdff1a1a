"""Stage 1's training: windows, losses and starting networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.datasets import dataset, made_up
from helpers.synthetic import opened
from transformers import HubertConfig, HubertModel

from personatalk.audio.rates import SAMPLE_RATE
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.stage1.network import GeometryGenerator
from personatalk.training import stage1
from personatalk.training.config import Stage1Config
from personatalk.training.config_files import read_config
from personatalk.training.data.shards import read_dataset
from personatalk.training.stage1 import GeneratorLoss, SpeechClip, Stage1Task, padded_window, spec_augment


def test_windows_repeat_the_ends() -> None:
    series = torch.arange(10.0, dtype=torch.float16)[None, :, None]
    assert padded_window(series, 2, 3)[0, :, 0].tolist() == [2, 3, 4]
    assert padded_window(series, -2, 4)[0, :, 0].tolist() == [0, 0, 0, 1]
    assert padded_window(series, 8, 4)[0, :, 0].tolist() == [8, 9, 9, 9]
    assert padded_window(series, 0, 2).dtype == torch.float32


@pytest.fixture(scope="module")
def config() -> Stage1Config:
    return read_config(Stage1Config, changes=["num_variants=1", "dropout=0", "amplitude_std=0", "articulation=1"])


@pytest.fixture(scope="module")
def task(model: MorphableModel, config: Stage1Config, tmp_path_factory: pytest.TempPathFactory) -> Stage1Task:
    """Stage 1 on a long and a short clip whose first coefficient is the time in seconds."""
    clips = [made_up(model, "long-000000", frames=240, crops=1), made_up(model, "short-000000", frames=20, crops=1)]
    entries = read_dataset(dataset(tmp_path_factory.mktemp("stage1"), clips))
    return Stage1Task(config, model, entries, entries)


@pytest.mark.slow
def test_a_training_window_pairs_the_sound_with_its_expression(task: Stage1Task, config: Stage1Config) -> None:
    starts = set()
    for seed in range(20):
        sample = task.sample(np.random.default_rng(seed), 0)
        assert sample.beta.shape == sample.style.shape == (config.window_frames, sample.beta.shape[1])
        assert sample.states.shape == (5, 2 * config.window_frames, 512)
        assert sample.mask.shape == sample.states.shape[1:]
        first = round(float(sample.beta[0, 0]) * 25)
        starts.add(first)
        clip = 1 if float(sample.beta[-1, 0]) < 0.8 else 0
        heard = task._features(clip, 0)
        torch.testing.assert_close(sample.states, padded_window(heard, 2 * first, 2 * config.window_frames))
    assert len(starts) > 8


@pytest.mark.slow
def test_a_clip_shorter_than_a_window_is_held_at_its_end(task: Stage1Task, config: Stage1Config) -> None:
    samples = [task.sample(np.random.default_rng(seed), 0) for seed in range(60)]
    short = next(s for s in samples if float(s.beta[-1, 0]) < 0.8)
    assert len({float(x) for x in short.beta[19:, 0]}) == 1
    assert float(short.beta[19, 0]) == pytest.approx(19 / 25)


@pytest.mark.parametrize("speed", [0.85, 1.0, 1.15])
def test_sound_and_mouth_are_played_faster_together(model: MorphableModel, tmp_path: Path, speed: float) -> None:
    clip = made_up(model, "a-000000", frames=120, start=0.4, crops=1)
    clip.audio[:] = 0
    clip.audio[16000:16160] = 20000
    speech = SpeechClip.load(read_dataset(dataset(tmp_path, [clip]))[0], model)
    fast = speech.at_speed(speed)
    # The first coefficient is the time; a click after a second is heard when it says a second.
    heard = np.abs(fast.samples).argmax() / SAMPLE_RATE
    seen = np.interp(heard * 25 - fast.first, np.arange(len(fast.beta)), fast.beta[:, 0])
    assert seen == pytest.approx(1.0, abs=0.015)
    assert len(fast.beta) == pytest.approx(len(speech.beta) / speed, abs=2)
    assert np.diff(fast.beta[:, 0]) == pytest.approx(speed / 25, abs=1e-3)


@pytest.mark.slow
def test_style_tells_how_far_the_mouth_moves(model: MorphableModel, task: Stage1Task, config: Stage1Config) -> None:
    louder = Stage1Task(replace(config, amplitude_std=0.5), model, task.entries, task.entries)
    gains = []
    for seed in range(6):
        plain, sample = (t.sample(np.random.default_rng(seed), 0) for t in (task, louder))
        clip = 1 if float(plain.beta[-1, 0]) < 0.8 else 0
        rest = torch.from_numpy(task._load_variant(clip, 0).rest)
        ratios = [(getattr(sample, n) - rest) / (getattr(plain, n) - rest) for n in ("style", "beta")]
        gains.append(float(ratios[0].median()))
        for ratio in ratios:
            torch.testing.assert_close(ratio, torch.full_like(ratio, gains[-1]), rtol=0.02, atol=0.02)
    assert min(gains) < 0.9 < 1.1 < max(gains)


def test_masks_silence_spans_and_channels() -> None:
    mask = spec_augment(200, 64, np.random.default_rng(0), 0.1).numpy()
    assert mask.shape == (200, 64)
    assert set(np.unique(mask).round(4)) == {0, np.float32(1 / 0.9).round(4)}, "what is left is raised"
    deaf = mask.max(axis=0) == 0
    assert 0 < deaf.sum() < 20
    silent = mask.max(axis=1) == 0
    assert 0 < silent.sum() <= 20


def test_the_generators_loss_is_zero_for_the_real_thing_only(model: MorphableModel, config: Stage1Config) -> None:
    random = np.random.default_rng(0)
    gaps = 0.1 + 0.1 * np.sin(np.arange(30))
    beta = torch.from_numpy(np.stack([opened(model, g) for g in gaps])[None])
    template = torch.from_numpy(0.01 * random.standard_normal((1, model.num_vertices, 3)).astype(np.float32))
    loss = GeneratorLoss(model, config)
    real = loss.offsets(beta)
    np.testing.assert_allclose(real[0].numpy(), model.offsets(beta[0].numpy()), atol=1e-5)
    terms = loss(real, beta, template)
    assert set(terms) == {"vertices", "velocity", "opening", "closure", "spread", "correlation"}
    assert all(abs(float(t)) < 1e-4 for t in terms.values()), terms
    half = loss(0.5 * real, beta, template)
    assert float(half["vertices"]) > 0.05
    assert float(half["velocity"]) > 0.05
    assert float(half["spread"]) > 0.5
    wrong = loss(real.flip(1), beta, template)
    assert float(wrong["correlation"]) > 0.5
    assert abs(float(wrong["spread"])) < 1e-4
    opening = loss.gaps(real, template)[0, :, 0].numpy()
    shape = model.mean + template[0].numpy()
    np.testing.assert_allclose(opening, 100 * model.mouth_opening(shape + real[0].numpy()), rtol=1e-3)


def test_stage1_starts_from_a_checkpoint(tmp_path: Path, model: MorphableModel) -> None:
    small = HubertConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=[16] * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    original = HubertModel(small).eval()
    original.save_pretrained(tmp_path / "hubert")
    config = read_config(Stage1Config, changes=[f"backbone={tmp_path / 'hubert'}"])
    network = stage1.initial_network(config, model).eval()
    network.save(tmp_path / "stage1.safetensors")
    again = GeometryGenerator.load(tmp_path / "stage1.safetensors")
    samples = torch.randn(1, 50 * 640, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        offsets, same = (
            n(samples, torch.zeros(1, 192), torch.zeros(1, model.num_vertices, 3)) for n in (network, again)
        )
    assert offsets.shape == (1, 50, model.num_vertices, 3)
    torch.testing.assert_close(same, offsets, atol=5e-3, rtol=0.05)  # kept in float16


@pytest.mark.slow
def test_the_linear_map_is_found_before_the_training_and_stays(task: Stage1Task) -> None:
    audio, speech = task.network.audio, task._load_clip(0)
    with torch.inference_mode():
        told = audio.features(task._features(0, 0)[None].float())[0, speech.first :, audio.dim]
    wanted = torch.from_numpy(speech.beta[:, 0])
    assert torch.corrcoef(torch.stack([told[: len(wanted)], wanted]))[0, 1] > 0.5
    assert not audio.linear_map.weight.requires_grad and audio.first_mix.argmax() == 3


@pytest.mark.slow
def test_the_backbone_does_not_learn(task: Stage1Task) -> None:
    learned = [p for group in task.parameter_groups()["network"] for p in group["params"]]
    assert any(p is task.network.audio.mix for p in learned)
    assert len(learned) == len(list(task.network.parameters()))
    assert not any(p.requires_grad for p in task.network.audio.backbone.parameters())  # type: ignore[attr-defined]
