"""What the trainers draw, and what their losses see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.datasets import dataset, made_up
from helpers.synthetic import face_in_crop, opened, smooth_picture, speech_like
from scipy.spatial.transform import Rotation
from torch import nn
from transformers import HubertConfig, HubertModel

from personatalk.audio.encoder import SAMPLE_RATE, STRIDE
from personatalk.errors import WeightsError
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.stage1.network import GeometryGenerator
from personatalk.stage2.geometry_map import geometry_map
from personatalk.training import stage1
from personatalk.training.audio import augment, filter_bank, log_mel, mask_spans
from personatalk.training.config import Stage1Config
from personatalk.training.config_files import read_config
from personatalk.training.data import offset
from personatalk.training.data.shards import read_dataset
from personatalk.training.discriminator import Discriminator, FeatureNetwork, feature_matching_loss, hinge_loss
from personatalk.training.morphable import align_rigidly, lower_weight, mirror, mirror_index
from personatalk.training.stage1 import GeneratorLoss, SpeechClip, Stage1Task, padded_window, spec_augment
from personatalk.training.stage2 import RenderWindow, WindowSampler, pixel_losses, psnr
from personatalk.utils.arrays import Array


def test_windows_repeat_the_ends() -> None:
    series = torch.arange(10.0, dtype=torch.float16)[:, None]
    assert padded_window(series, 2, 3)[:, 0].tolist() == [2, 3, 4]
    assert padded_window(series, -2, 4)[:, 0].tolist() == [0, 0, 0, 1]
    assert padded_window(series, 8, 4)[:, 0].tolist() == [8, 9, 9, 9]
    assert padded_window(series, 0, 2).dtype == torch.float32


def made_up_window(model: MorphableModel) -> RenderWindow:
    size = 64
    drawn = geometry_map(model, face_in_crop(model, size, 0.2), size)
    picture = torch.from_numpy(smooth_picture(size, size, 3).transpose(2, 0, 1).copy()).float()[None] / 255
    return RenderWindow(picture, [drawn], picture, [drawn], picture, [drawn])


@pytest.fixture(scope="module")
def config() -> Stage1Config:
    return read_config(Stage1Config, changes=["num_variants=1", "dropout=0", "amplitude_std=0"])


@pytest.fixture(scope="module")
def task(model: MorphableModel, config: Stage1Config, tmp_path_factory: pytest.TempPathFactory) -> Stage1Task:
    """Stage 1 on a long and a short clip whose first coefficient is the time in seconds."""
    clips = [made_up(model, "long-000000", frames=240, crops=1), made_up(model, "short-000000", frames=20, crops=1)]
    rows = read_dataset(dataset(tmp_path_factory.mktemp("stage1"), clips))
    return Stage1Task(config, model, rows, rows)


def test_a_training_window_pairs_the_sound_with_its_expression(task: Stage1Task, config: Stage1Config) -> None:
    starts = set()
    for seed in range(20):
        sample = task.sample(np.random.default_rng(seed))
        assert sample.beta.shape == sample.style.shape == (config.window_frames, sample.beta.shape[1])
        assert sample.convolved.shape == sample.mask.shape == (2 * config.window_frames, 128)
        first = round(float(sample.beta[0, 0]) * 25)
        starts.add(first)
        clip = 1 if float(sample.beta[-1, 0]) < 0.8 else 0
        heard = task._features(clip, 0)
        torch.testing.assert_close(sample.convolved, padded_window(heard, 2 * first, 2 * config.window_frames))
    assert len(starts) > 8


def test_a_clip_shorter_than_a_window_is_held_at_its_end(task: Stage1Task, config: Stage1Config) -> None:
    samples = [task.sample(np.random.default_rng(seed)) for seed in range(60)]
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


def test_style_tells_how_far_the_mouth_moves(model: MorphableModel, task: Stage1Task, config: Stage1Config) -> None:
    louder = Stage1Task(replace(config, amplitude_std=0.5), model, task.rows, task.rows)
    gains = []
    for seed in range(6):
        plain, sample = (t.sample(np.random.default_rng(seed)) for t in (task, louder))
        clip = 1 if float(plain.beta[-1, 0]) < 0.8 else 0
        rest = torch.from_numpy(task._load_variant(clip, 0).rest)
        ratios = [(getattr(sample, n) - rest) / (getattr(plain, n) - rest) for n in ("style", "beta")]
        gains.append(float(ratios[0].median()))
        for ratio in ratios:
            torch.testing.assert_close(ratio, torch.full_like(ratio, gains[-1]), rtol=0.02, atol=0.02)
    assert min(gains) < 0.9 < 1.1 < max(gains)


def test_masks_silence_spans_and_channels() -> None:
    mask = spec_augment(200, 64, np.random.default_rng(0)).numpy()
    assert mask.shape == (200, 64)
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


@pytest.fixture(scope="module")
def sampler(model: MorphableModel, tmp_path_factory: pytest.TempPathFactory) -> WindowSampler:
    clips = [made_up(model, "long-000000", frames=60), made_up(model, "short-000000", frames=20)]
    return WindowSampler(model, read_dataset(dataset(tmp_path_factory.mktemp("stage2"), clips)), 64)


def levels(pictures: torch.Tensor) -> set[float]:
    # The whole window shares one tint, so that equal frames are equal numbers.
    return {round(float(x), 2) for x in pictures.mean(dim=(1, 2, 3)) * 255}


def test_a_target_is_never_its_own_reference(sampler: WindowSampler) -> None:
    assert [r.key for r in sampler.rows] == ["long-000000"]
    for seed in range(12):
        drawn = sampler.sample(np.random.default_rng(seed), 3)
        targets = levels(drawn.targets)
        assert len(targets) == len(drawn.target_maps) == 3
        assert targets.isdisjoint(levels(drawn.lip_textures))
        assert targets.isdisjoint(levels(drawn.face_textures))
        assert len(drawn.lip_maps) == len(drawn.face_maps) == 5
        assert drawn.targets.shape == (3, 3, 64, 64)
        assert 0 <= drawn.targets.min() <= drawn.targets.max() <= 1


def test_without_selection_face_references_come_from_anywhere(sampler: WindowSampler, model: MorphableModel) -> None:
    free = WindowSampler(model, sampler.rows, 64, tint=0.0, use_selection=False)
    near = WindowSampler(model, sampler.rows, 64, tint=0.0)

    def distance(drawn: RenderWindow) -> float:
        faces, targets = ((255 / 4) * p.mean(dim=(1, 2, 3)) for p in (drawn.face_textures, drawn.targets))
        return float((faces[:, None] - targets[None]).abs().mean())

    wide, narrow = (np.mean([distance(s.sample(np.random.default_rng(i), 1)) for i in range(20)]) for s in (free, near))
    assert wide > 2 * narrow


def test_the_renderers_loss_looks_under_the_mask_only(model: MorphableModel) -> None:
    sample = made_up_window(model)
    face = sample.target_maps[0].face
    assert sum(map(float, pixel_losses(sample.targets, sample, 4).values())) == 0
    assert psnr(sample.targets, sample) > 90
    inside = sample.targets + 0.1 * (face > 0.5)
    assert sum(map(float, pixel_losses(inside, sample, 4).values())) > 0.05
    assert 19.9 < psnr(inside, sample) < 24
    far = nn.functional.max_pool2d(face[None, None], 33, stride=1, padding=16)[0, 0] == 0
    assert far.sum() > 50
    assert sum(map(float, pixel_losses(sample.targets + far, sample, 4).values())) < 1e-3
    assert psnr(sample.targets + far, sample) > 90


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


def test_the_discriminator_sees_picture_and_geometry() -> None:
    torch.manual_seed(0)
    judge = Discriminator(8).eval()
    pictures, pncc = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    found = judge(pictures, pncc)
    assert found[-1].shape == (2, 1, 4, 4)
    assert not torch.equal(judge(pictures, pncc.flip(0))[-1], found[-1])
    assert float(feature_matching_loss(found[:-1], found[:-1]).detach()) == 0
    assert float(hinge_loss(torch.ones(3), -torch.ones(3))) == 0
    assert float(hinge_loss(-torch.ones(3), torch.ones(3))) == 4


def test_vgg16_is_read_from_torchvisions_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = FeatureNetwork()
    # torchvision's numbering: the last convolution that is used is features.21.
    assert network.features[21].out_channels == 512 and sum(p.numel() for p in network.parameters()) == 7635264
    state = {**network.state_dict(), "classifier.0.weight": torch.zeros(3)}
    torch.save(state, tmp_path / "vgg16.pth")
    read_back = FeatureNetwork.vgg16(tmp_path / "vgg16.pth")
    picture = torch.rand(1, 3, 64, 64)
    found = read_back(picture)
    assert [f.shape[1] for f in found] == [64, 128, 256, 512]
    for got, wanted in zip(found, network(picture), strict=True):
        torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(found[1].norm(dim=1), torch.ones(1, 32, 32))
    for content in ({"features.0.weight": torch.zeros(1)}, None):
        if content is None:
            (tmp_path / "vgg16.pth").write_bytes(b"none")
        else:
            torch.save(content, tmp_path / "vgg16.pth")
        with pytest.raises(WeightsError, match="VGG-16"):
            FeatureNetwork.vgg16(tmp_path / "vgg16.pth")


@pytest.mark.parametrize("lag", [-4, 0, 3])
def test_the_lag_is_found(lag: int) -> None:
    random = np.random.default_rng(0)
    motion = np.convolve(random.standard_normal(120), np.ones(4) / 4, mode="same")
    got, real = motion[10:90], 2 * motion[10 - lag : 90 - lag]  # real[t + lag] = got[t]
    found = offset.compare_openings(got, real)
    assert found.lag == lag
    assert found.best == pytest.approx(1)
    assert found.articulation == pytest.approx(0.5, abs=0.1)
    assert (found.unshifted == pytest.approx(1)) == (lag == 0)


def test_agreement_is_pooled_by_frames() -> None:
    a, b = np.zeros(15), np.zeros(15)
    a[3], b[9] = 0.9, 0.8
    whole = offset.pooled([offset.Agreement(a, 1.0, 10), offset.Agreement(b, 0.5, 90)])
    assert (whole.lag, whole.frames) == (2, 100)
    assert whole.articulation == pytest.approx(0.55)


def test_masks_are_spans() -> None:
    random = np.random.default_rng(0)
    masks = np.stack([mask_spans(200, random) for _ in range(40)])
    assert masks.shape == (40, 200)
    assert 0.2 < masks.mean() < 0.6
    for row in masks:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
        starts, stops = edges[::2], edges[1::2]
        assert ((stops - starts >= 10) | (stops == 200)).all()


def test_stage1_starts_from_a_hubert_checkpoint(tmp_path: Path, model: MorphableModel) -> None:
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
    original.save_pretrained(tmp_path)
    config = read_config(Stage1Config, changes=[f"hubert={tmp_path}"])
    network = stage1.initial_network(config, model).eval()
    assert torch.equal(
        network.audio.hubert.feature_projection.projection.weight, original.feature_projection.projection.weight
    )
    samples = torch.randn(1, 50 * 640, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        offsets = network(samples, torch.zeros(1, 192), torch.zeros(1, model.num_vertices, 3))
    assert offsets.shape == (1, 50, model.num_vertices, 3)


def test_stage1_starts_from_earlier_weights(tmp_path: Path, model: MorphableModel) -> None:
    shipped = GeometryGenerator.load()
    shipped.save(tmp_path / "s.safetensors")
    config = read_config(Stage1Config, changes=[f"init_from={tmp_path / 's.safetensors'}"])
    assert torch.equal(stage1.initial_network(config, model).decoder.weight, shipped.decoder.weight)


def test_a_still_mouth_correlates_with_nothing() -> None:
    moving = np.random.default_rng(0).random(50)
    assert (offset.correlations(np.zeros(50), moving) == 0).all()
    assert (offset.correlations(moving, np.zeros(50)) == 0).all()
    assert (offset.correlations(moving[:20], moving[:20]) == 0).all()
    assert offset.correlations(moving, moving)[7] == pytest.approx(1)


@pytest.mark.parametrize(("frames", "found"), [(60, 0), (400, 4)])
def test_a_short_recording_is_not_shifted_on_chance(frames: int, found: int) -> None:
    r = np.full(15, 0.1)
    r[7], r[11] = 0.3, 0.6
    assert offset.Agreement(r, 1.0, frames).convincing_lag == found
    edge = np.roll(r, 3)
    assert offset.Agreement(edge, 1.0, 400).lag == 7
    assert offset.Agreement(edge, 1.0, 400).convincing_lag == 0


def test_log_mel_has_the_encoders_clock() -> None:
    samples = torch.zeros(2, 20 * STRIDE)
    middle = 8 * STRIDE + STRIDE // 2
    samples[:, middle - 3 : middle + 3] = 0.9
    got = log_mel(samples)
    assert got.shape[:2] == (2, 20)
    assert int(got[0].sum(dim=1).argmax()) == 8


def test_log_mel_tells_pitches_apart() -> None:
    time = torch.arange(SAMPLE_RATE) / SAMPLE_RATE
    places = [int(log_mel(torch.sin(2 * torch.pi * f * time)[None])[0, 25].argmax()) for f in (200, 800, 3000)]
    assert places == sorted(set(places))


def test_augmented_sound_stays_recognisable() -> None:
    sound = speech_like(1)[None].repeat(6, axis=0)
    got = augment(sound, np.random.default_rng(0))
    assert got.shape == sound.shape
    assert got.dtype == np.float32
    correlations = [np.corrcoef(a, b)[0, 1] for a, b in zip(got, sound, strict=True)]
    assert min(correlations) > 0.7
    assert len({round(c, 4) for c in correlations}) == 6


def test_the_mirror_swaps_the_sides(model: MorphableModel) -> None:
    index = mirror_index(model.mean)
    np.testing.assert_array_equal(index[index], np.arange(model.num_vertices))
    assert index[33] == 263
    assert index[61] == 291
    assert index[1] == 1
    both = mirror(model.mean[None], index)[0]
    np.testing.assert_allclose(both, model.mean, atol=2e-3)


def test_align_undoes_a_similarity(model: MorphableModel) -> None:
    random = np.random.default_rng(0)
    faces: list[Array] = []
    for _ in range(5):
        turn = Rotation.random(random_state=random).as_matrix()
        faces.append(random.uniform(20, 400) * model.mean @ turn.T + random.uniform(-500, 500, 3))
    np.testing.assert_allclose(
        align_rigidly(np.stack(faces), model.mean), np.repeat(model.mean[None], 5, axis=0), atol=1e-4
    )


def test_align_leaves_the_expression(model: MorphableModel) -> None:
    wide = model.expression_only(opened(model, 0.3))
    moved = align_rigidly(300 * wide[None].astype(np.float64) + 77, model.mean)[0]
    assert float(model.mouth_opening(moved)) == pytest.approx(float(model.mouth_opening(wide)), rel=0.1)


def test_the_models_own_seam_is_the_trainings(model: MorphableModel) -> None:
    np.testing.assert_allclose(lower_weight(model.mean), model.lower, atol=5e-3)  # float16


def test_filters_answer_to_their_own_band() -> None:
    bank, length = filter_bank(256, 400).numpy(), 400
    seconds = np.arange(length) / SAMPLE_RATE
    loudest = []
    for hertz in (150, 400, 1000, 2500, 6000):
        answers = np.maximum(bank @ np.sin(2 * np.pi * hertz * seconds + 0.3), 0).reshape(4, 64).sum(axis=0)
        loudest.append(int(answers.argmax()))
        assert answers[loudest[-1]] > 5 * np.median(answers)
    assert loudest == sorted(set(loudest))
    # Nothing of a constant: microphones have an offset.
    assert np.abs(bank.sum(axis=1)).max() < 0.2
