"""Stage 2's training: windows of references and targets, and their losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.datasets import dataset, made_up
from helpers.synthetic import face_in_crop, smooth_picture
from torch import nn

from personatalk.geometry.morphable_model import MorphableModel
from personatalk.stage2.geometry_map import CELL_SIZE, geometry_map
from personatalk.stage2.renderer import map_tensors
from personatalk.training.config import Stage2Config
from personatalk.training.data.shards import read_dataset
from personatalk.training.engine import Step
from personatalk.training.stage2 import Stage2Task, pixel_losses, tensor_psnr
from personatalk.training.windows import RenderWindow, WindowSampler


def made_up_window(model: MorphableModel) -> RenderWindow:
    size = 64
    drawn = map_tensors(geometry_map(model, face_in_crop(model, size, 0.2), size))
    picture = torch.from_numpy(smooth_picture(size, size, 3).transpose(2, 0, 1).copy()).float()[None] / 255
    whole = slice(0, size // CELL_SIZE)
    return RenderWindow(picture, [drawn], picture, [drawn], picture, [drawn], (whole, whole))


@pytest.fixture(scope="module")
def sampler(model: MorphableModel, tmp_path_factory: pytest.TempPathFactory) -> WindowSampler:
    clips = [made_up(model, "long-000000", frames=60), made_up(model, "short-000000", frames=20)]
    return WindowSampler(model, read_dataset(dataset(tmp_path_factory.mktemp("stage2"), clips)), 64)


def levels(pictures: torch.Tensor) -> set[float]:
    # The whole window shares one tint, so that equal frames are equal numbers; what is not computed is 0.
    return {round(float(x), 2) for x in pictures.amax(dim=(2, 3)).mean(dim=1) * 255}


def test_a_target_is_never_its_own_reference(sampler: WindowSampler) -> None:
    assert [r.key for r in sampler.entries] == ["long-000000"]
    for seed in range(12):
        drawn = sampler.sample(np.random.default_rng(seed), 3).unpack()
        targets = levels(drawn.targets)
        assert len(targets) == len(drawn.target_maps) == 3
        assert targets.isdisjoint(levels(drawn.lip_textures))
        assert targets.isdisjoint(levels(drawn.face_textures))
        assert len(drawn.lip_maps) == len(drawn.face_maps) == 5
        rows, columns = (side.stop - side.start for side in drawn.box)
        assert drawn.targets.shape == (3, 3, 4 * rows, 4 * columns)
        assert 0 <= drawn.targets.min() <= drawn.targets.max() <= 1


@pytest.mark.slow
def test_without_selection_face_references_come_from_anywhere(sampler: WindowSampler, model: MorphableModel) -> None:
    free = WindowSampler(model, sampler.entries, 64, tint=0.0, use_selection=False)
    near = WindowSampler(model, sampler.entries, 64, tint=0.0)

    def distance(drawn: RenderWindow) -> float:
        faces, targets = ((255 / 4) * p.amax(dim=(2, 3)).mean(dim=1) for p in (drawn.face_textures, drawn.targets))
        return float((faces[:, None] - targets[None]).abs().mean())

    wide, narrow = (
        np.mean([distance(s.sample(np.random.default_rng(i), 1).unpack()) for i in range(20)]) for s in (free, near)
    )
    assert wide > 2 * narrow


def test_the_renderers_loss_looks_under_the_mask_only(model: MorphableModel) -> None:
    sample = made_up_window(model)
    face = sample.target_maps[0].face
    assert sum(map(float, pixel_losses(sample.targets, sample, 4).values())) == 0
    assert tensor_psnr(sample.targets, sample) > 90
    inside = sample.targets + 0.1 * (face > 0.5)
    assert sum(map(float, pixel_losses(inside, sample, 4).values())) > 0.05
    assert 19.9 < tensor_psnr(inside, sample) < 24
    far = nn.functional.max_pool2d(face[None, None], 33, stride=1, padding=16)[0, 0] == 0
    assert far.sum() > 50
    assert sum(map(float, pixel_losses(sample.targets + far, sample, 4).values())) < 1e-3
    assert tensor_psnr(sample.targets + far, sample) > 90


def test_the_mouth_weighs_more(model: MorphableModel) -> None:
    sample = made_up_window(model)
    drawn = sample.target_maps[0]
    lips = nn.functional.interpolate(drawn.lips[None, None], (64, 64), mode="nearest")[0, 0]
    mouth = lips == 1
    cheek = (lips == 0) & (drawn.face == 1)
    assert min(mouth.sum(), cheek.sum()) > 30

    def each(where: torch.Tensor, weight: float) -> float:
        return float(pixel_losses(sample.targets + 0.1 * where, sample, weight)["pixels"]) / int(where.sum())

    assert each(mouth, 4) == pytest.approx(4 * each(cheek, 4), rel=0.2)
    assert each(mouth, 1) == pytest.approx(each(cheek, 1), rel=0.2)


def test_the_discriminator_takes_what_the_renderer_has_rendered(
    model: MorphableModel, tmp_path_factory: pytest.TempPathFactory
) -> None:
    entries = read_dataset(dataset(tmp_path_factory.mktemp("adversarial"), [made_up(model, frames=30)]))
    config = Stage2Config(
        crop_size=64, channels=16, width=16, targets_per_window=1, adversarial_weight=0.1, adversarial_start_step=5
    )
    task = Stage2Task(config, model, entries, entries)
    assert [task.should_step("discriminator", number) for number in (4, 5)] == [False, True]
    window = task.sample(np.random.default_rng(0))
    early = task.losses([window], Step(4, "network"))
    late = task.losses([window], Step(5, "network"))
    assert set(late.terms) - set(early.terms) == {"adversarial", "matching"}
    assert [image.shape for image in late.outputs] == [window.targets.shape]
    assert not any(image.requires_grad for image in late.outputs)
    judged = task.losses([window], Step(5, "discriminator", late.outputs))
    assert set(judged.terms) == {"discriminator"}
    judged.terms["discriminator"].backward()
    assert all(p.grad is None for p in task.network.parameters())


def test_a_window_of_the_mouth_is_the_same_where_it_is_judged(sampler: WindowSampler, model: MorphableModel) -> None:
    entries = sampler.entries
    whole, mouth = (WindowSampler(model, entries, 64, tint=0.0, mouth_share=share) for share in (0.0, 1.0))
    large, small = (each.sample(np.random.default_rng(5), 2).unpack() for each in (whole, mouth))
    assert small.mouth and not large.mouth
    assert small.targets[0, 0].numel() < large.targets[0, 0].numel()
    for cut, full in zip(small.target_maps, large.target_maps, strict=True):
        inside = cut.face > 0
        assert 20 < inside.sum() < (full.face > 0).sum()
        torch.testing.assert_close(cut.face[inside], full.face[inside])
        assert (cut.region <= full.region).all()
        assert (cut.lips <= full.lips).all()
    assert float(torch.stack([m.lips.sum() for m in small.target_maps]).min()) > 0


def test_lip_references_are_apart_from_every_target(model: MorphableModel, sampler: WindowSampler) -> None:
    plain = WindowSampler(model, sampler.entries, 64, tint=0.0)
    for seed in range(10):
        window = plain.sample(np.random.default_rng(seed), 2).unpack()
        lips, targets = ((255 / 4) * p.amax(dim=(2, 3)).mean(dim=1) for p in (window.lip_textures, window.targets))
        assert float((lips[:, None] - targets[None]).abs().min()) > 2.4
