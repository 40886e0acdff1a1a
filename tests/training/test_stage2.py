"""Stage 2's training: windows of references and targets, and their losses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.datasets import dataset, made_up
from helpers.synthetic import face_in_crop, smooth_picture
from torch import nn

from personatalk.geometry.morphable_model import MorphableModel
from personatalk.stage2.geometry_map import geometry_map
from personatalk.stage2.renderer import Renderer
from personatalk.training.config import Stage2Config
from personatalk.training.data.shards import IndexEntry, read_dataset
from personatalk.training.engine import Step
from personatalk.training.frames import read_all
from personatalk.training.stage2 import Stage2Task, pixel_losses, tensor_psnr
from personatalk.training.windows import Window, WindowSampler


@pytest.fixture(scope="module")
def entries(model: MorphableModel, tmp_path_factory: pytest.TempPathFactory) -> list[IndexEntry]:
    clips = [made_up(model, "long-000000", frames=60), made_up(model, "short-000000", frames=20)]
    return read_dataset(dataset(tmp_path_factory.mktemp("stage2"), clips))


@pytest.fixture(scope="module")
def sampler(model: MorphableModel, entries: list[IndexEntry]) -> WindowSampler:
    """Windows numbered by the frames of the clip."""
    return WindowSampler(model, entries, 64, resident=True)


def windows(sampler: WindowSampler, count: int, targets: int = 3, mouth: bool = False) -> list[Window]:
    return [sampler.sample(np.random.default_rng(seed), targets, mouth) for seed in range(count)]


@pytest.mark.parametrize("mouth", [False, True])
def test_a_target_is_never_its_own_reference(sampler: WindowSampler, mouth: bool) -> None:
    assert [entry.key for entry in sampler.entries] == ["long-000000"]
    for window in windows(sampler, 40, mouth=mouth):
        assert (len(window.lips), len(window.faces), len(window.targets)) == (5, 2 if mouth else 5, 3)
        assert set(window.targets).isdisjoint(window.faces)
        assert np.abs(window.lips[:, None] - window.targets).min() >= 3
        assert np.ptp(window.targets) <= 8
        assert all(0 <= frame < 60 for part in (window.lips, window.faces, window.targets) for frame in part)


def test_face_references_are_near_and_often_next_to_the_targets(sampler: WindowSampler) -> None:
    far = [np.abs(window.faces[:, None] - window.targets).min(axis=0).max() for window in windows(sampler, 100, 1)]
    assert max(far) <= 10
    assert 0.3 < np.mean(np.array(far) == 1) < 0.9


def test_without_selection_face_references_come_from_anywhere(
    sampler: WindowSampler, model: MorphableModel, entries: list[IndexEntry]
) -> None:
    free = WindowSampler(model, entries, 64, use_selection=False, resident=True)

    def distance(some: WindowSampler) -> float:
        return float(np.mean([np.abs(w.faces[:, None] - w.targets).mean() for w in windows(some, 20, 1)]))

    assert distance(free) > 2 * distance(sampler)


def test_frames_read_for_a_window_are_those_of_the_table_of_all(
    sampler: WindowSampler, model: MorphableModel, entries: list[IndexEntry]
) -> None:
    alone = WindowSampler(model, entries, 64).sample(np.random.default_rng(5), 3, False)
    window = sampler.sample(np.random.default_rng(5), 3, False)
    whole = read_all(model, sampler.entries, 64, torch.device("cpu"), 0)
    assert alone.table is not None and len(whole.images) == 60
    for name in ("lips", "faces", "targets", "others"):
        own, all_frames = getattr(alone, name), getattr(window, name)
        assert len(set(own)) == len(set(all_frames))
        for table in ("images", "geometry", "codes", "lips", "faces", "regions"):
            assert torch.equal(getattr(alone.table, table)[own], getattr(whole, table)[all_frames]), table


class Sight:
    """A picture, where it is judged, and its lips."""

    def __init__(self, model: MorphableModel) -> None:
        drawn = geometry_map(model, face_in_crop(model, 64, 0.2), 64)
        picture = torch.from_numpy(smooth_picture(64, 64, 3).transpose(2, 0, 1).copy())
        self.target = picture.float()[None] / 255
        self.face, self.lips = torch.from_numpy(drawn.face)[None], torch.from_numpy(drawn.lips)[None]

    def losses(self, image: torch.Tensor, mouth: float = 4) -> dict[str, float]:
        found = pixel_losses(image, self.target, self.face, self.lips, mouth)
        return {name: float(value) for name, value in found.items()}

    def psnr(self, image: torch.Tensor) -> float:
        return tensor_psnr(image, self.target, self.face)


def test_the_renderers_loss_looks_under_the_mask_only(model: MorphableModel) -> None:
    sight = Sight(model)
    assert sum(sight.losses(sight.target).values()) == 0
    assert sight.psnr(sight.target) > 90
    inside = sight.target + 0.1 * (sight.face > 0.5)
    assert sum(sight.losses(inside).values()) > 0.05
    assert 19.9 < sight.psnr(inside) < 24
    far = nn.functional.max_pool2d(sight.face[None], 33, stride=1, padding=16)[0] == 0
    assert far.sum() > 50
    assert sum(sight.losses(sight.target + far).values()) < 1e-3
    assert sight.psnr(sight.target + far) > 90


def test_the_mouth_weighs_more(model: MorphableModel) -> None:
    sight = Sight(model)
    lips = nn.functional.interpolate(sight.lips[None], (64, 64), mode="nearest")[0]
    mouth = lips == 1
    cheek = (lips == 0) & (sight.face == 1)
    assert min(mouth.sum(), cheek.sum()) > 30

    def each(where: torch.Tensor, weight: float) -> float:
        return sight.losses(sight.target + 0.1 * where, weight)["pixels"] / int(where.sum())

    assert each(mouth, 4) == pytest.approx(4 * each(cheek, 4), rel=0.2)
    assert each(mouth, 1) == pytest.approx(each(cheek, 1), rel=0.2)


@pytest.mark.slow
def test_the_discriminator_takes_what_the_renderer_has_rendered(
    model: MorphableModel, entries: list[IndexEntry]
) -> None:
    config = Stage2Config(
        crop_size=64,
        channels=16,
        width=16,
        batch_size=2,
        mouth_share=0.5,
        targets_per_window=1,
        adversarial_weight=0.1,
        adversarial_start=0.4,
    )
    task = Stage2Task(config, model, entries, entries)
    assert [task.should_step("discriminator", progress) for progress in (0.39, 0.4)] == [False, True]
    samples = [task.sample(np.random.default_rng(place), place) for place in range(2)]
    assert [window.mouth for window in samples] == [True, False]
    early = task.losses(samples, Step(4, 0.3, "network"))
    late = task.losses(samples, Step(5, 0.5, "network"))
    assert set(late.terms) - set(early.terms) == {"adversarial", "matching"}
    assert [image.shape for image in late.outputs] == [(1, 1, 3, 64, 56), (1, 1, 3, 24, 32)]
    assert not any(image.requires_grad for image in late.outputs)
    judged = task.losses(samples, Step(5, 0.5, "discriminator", late.outputs))
    assert set(judged.terms) == {"discriminator"}
    judged.terms["discriminator"].backward()
    assert all(p.grad is None for p in task.network.parameters())


@pytest.mark.slow
def test_frames_kept_on_the_device_give_the_same_losses(model: MorphableModel, entries: list[IndexEntry]) -> None:
    config = Stage2Config(crop_size=64, channels=16, width=16, batch_size=2, mouth_share=0.5)
    found = []
    for resident in (False, True):
        task = Stage2Task(replace(config, resident=resident), model, entries, entries)
        samples = [task.sample(np.random.default_rng(place), place) for place in range(2)]
        found.append({k: float(v) for k, v in task.losses(samples, Step(0, 0.0, "network")).terms.items()})
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_saved_weights_know_the_ranges_of_the_decoder(
    model: MorphableModel, entries: list[IndexEntry], tmp_path: Path
) -> None:
    config = Stage2Config(crop_size=64, channels=8, width=8, perceptual_weight=0, adversarial_weight=0)
    task = Stage2Task(config, model, entries, entries)
    task.save(task.network, tmp_path / "a.safetensors")
    ranges = Renderer.load(tmp_path / "a.safetensors").config["ranges"]
    assert list(ranges) == task.network.roundable()
    assert all(low <= 0 < high for low, high in ranges.values())
