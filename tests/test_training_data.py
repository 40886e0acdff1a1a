"""What the trainers read and draw, and how a training is kept and resumed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from synthetic import face_in_crop, opened, pose_of, smooth_picture, speech_like
from torch import nn
from transformers import HubertConfig, HubertModel

from personatalk.audio import FPS, SAMPLE_RATE, SMALL_HUBERT, STRIDE, AudioEncoder
from personatalk.errors import MediaError
from personatalk.geometry import Array, MorphableModel
from personatalk.stage2 import geometry_map
from personatalk.training import stage1 as training
from personatalk.training.audio import augment, filter_bank, log_mel, spans
from personatalk.training.checkpoints import Averaged, State, load_checkpoint, save_checkpoint
from personatalk.training.data import Clip, load_clips
from personatalk.training.morphable import align, lower_weight, mirror_index, mirrored
from personatalk.training.stage1 import FRAMES, Batch, Loss, Speech, draw, shifted_correlation, window
from personatalk.training.stage2 import Sampler, Window, losses


def write(
    folder: Path,
    name: str,
    model: MorphableModel,
    frames: int = 30,
    rate: float = 25.0,
    start: float = 0.0,
    seconds: float = 1.5,
    crops: int = 0,
) -> Path:
    """A clip whose first coefficient is its time in seconds; crop i has the grey level 4 i."""
    random = np.random.default_rng(0)
    time = start + np.arange(frames) / rate
    beta = random.standard_normal((frames, model.num_expression)).astype(np.float32)
    beta[:, 0] = time
    sound = (20000 * np.clip(speech_like(seconds), -1, 1)).astype(np.int16)
    path = folder / f"{name}.npz"
    np.savez(
        path,
        alpha=random.standard_normal(model.num_identity).astype(np.float32),
        beta=beta,
        pose=np.repeat(pose_of()[None], frames, axis=0),
        time=time,
        audio=sound,
    )
    if crops:
        grey = (4 * np.arange(crops)).astype(np.uint8)
        np.save(path.with_suffix(".npy"), np.broadcast_to(grey[:, None, None, None], (crops, 256, 256, 3)))
    return path


def test_a_clip_is_read_as_it_was_written(tmp_path: Path, model: MorphableModel) -> None:
    path = write(tmp_path, "val__a", model, crops=7)
    clip = Clip.load(path)
    assert clip.name == "val__a"
    with np.load(path) as stored:
        for name in ("alpha", "beta", "pose", "time"):
            np.testing.assert_array_equal(getattr(clip, name), stored[name])
        np.testing.assert_array_equal(clip.sound, stored["audio"])
    assert clip.crops is not None
    assert clip.crops.shape == (7, 256, 256, 3)
    assert isinstance(clip.crops, np.memmap)
    assert int(clip.crops[5, 9, 9, 0]) == 20
    samples = clip.samples()
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples * 32768, clip.sound)
    assert np.abs(samples).max() <= 1


def test_clips_are_chosen_by_name_and_sound(tmp_path: Path, model: MorphableModel) -> None:
    for name, seconds in (("val__b", 2.0), ("train__a", 2.0), ("val__a", 2.0), ("val__mute", 0.0)):
        write(tmp_path, name, model, seconds=seconds)
    assert [c.name for c in load_clips(tmp_path, ("val__",))] == ["val__a", "val__b", "val__mute"]
    assert [c.name for c in load_clips(tmp_path, ("val__",), with_sound=True)] == ["val__a", "val__b"]
    assert len(load_clips(tmp_path, ("val__", "train__"))) == 4
    assert load_clips(tmp_path, ("val__",))[0].crops is None
    with pytest.raises(MediaError, match="test__"):
        load_clips(tmp_path, ("test__",))


@pytest.mark.parametrize("rate", [25.0, 30.0, 23.976, 50.0])
@pytest.mark.parametrize("start", [0.0, 0.05])
def test_expression_comes_at_the_models_clock(tmp_path: Path, model: MorphableModel, rate: float, start: float) -> None:
    clip = Clip.load(write(tmp_path, "a", model, frames=61, rate=rate, start=start))
    first, beta = clip.beta_at_clock()
    assert first == (0 if start == 0 else 2)
    wanted = (first + np.arange(len(beta))) / FPS
    np.testing.assert_allclose(beta[:, 0], wanted, atol=1e-5)
    end = start + 60 / rate
    assert wanted[-1] <= end + 1e-6
    assert end - wanted[-1] < 1 / FPS
    assert beta.dtype == np.float32
    if rate == 25.0 and start == 0:
        np.testing.assert_allclose(beta, clip.beta, atol=1e-5)


def test_windows_repeat_the_ends() -> None:
    series = torch.arange(10.0, dtype=torch.float16)[:, None]
    assert window(series, 2, 3)[:, 0].tolist() == [2, 3, 4]
    assert window(series, -2, 4)[:, 0].tolist() == [0, 0, 0, 1]
    assert window(series, 8, 4)[:, 0].tolist() == [8, 9, 9, 9]
    assert window(series, 0, 2).dtype == torch.float32


@pytest.fixture(scope="module")
def encoder() -> AudioEncoder:
    torch.manual_seed(0)
    return AudioEncoder(8, {**SMALL_HUBERT, "num_hidden_layers": 1}).eval()


def test_a_speech_holds_sound_and_expression_at_one_clock(
    tmp_path: Path, model: MorphableModel, encoder: AudioEncoder
) -> None:
    clip = Clip.load(write(tmp_path, "a", model, frames=61, rate=30.0, start=0.2, seconds=3.0))
    speech = Speech.of(clip, model, encoder, 0.0, variants=2, seed=0)
    assert speech.first == 5
    assert len(speech.beta) == 51
    assert speech.variants.shape[:2] == (2, 150)
    assert not torch.equal(speech.variants[0], speech.variants[1])
    np.testing.assert_allclose(model.mean + speech.template, model.shape(clip.alpha), atol=1e-5)
    again = Speech.of(clip, model, encoder, 0.0, variants=2, seed=0)
    assert torch.equal(again.variants, speech.variants)
    assert len(Speech.of(clip, model, encoder, 0.0, variants=0, seed=0).variants) == 0


@pytest.mark.parametrize("lag", [0.0, 3.0, -2.0])
def test_a_training_window_pairs_the_sound_with_its_expression(model: MorphableModel, lag: float) -> None:
    first, frames = 4, FRAMES + 60
    beta = np.zeros((frames, model.num_expression), np.float32)
    beta[:, 0] = first + np.arange(frames)  # the frame's number on the clock
    features = torch.arange(2.0 * (first + frames + 10))[None, :, None].half()
    template = np.zeros((model.num_vertices, 3), np.float32)
    speech = Speech("a", np.zeros(0, np.float32), features, first, beta, template, lag)
    batch = draw([speech], 12, np.random.default_rng(0))
    assert batch.convolved.shape == (12, 2 * FRAMES, 1)
    assert batch.beta.shape == batch.style.shape == (12, FRAMES, model.num_expression)
    for heard, shown in zip(batch.convolved[:, ::2, 0], batch.beta[:, :, 0], strict=True):
        # A picture that is late by `lag` frames shows what was said so much earlier.
        wanted = (2 * (shown - lag)).clamp(0, features.shape[1] - 1)
        torch.testing.assert_close(heard, wanted, atol=0.5, rtol=0)  # float16
    assert len({float(x) for x in batch.beta[:, 0, 0]}) > 5


def test_a_clip_shorter_than_a_window_is_held_at_its_end(model: MorphableModel) -> None:
    beta = np.arange(20, dtype=np.float32)[:, None].repeat(model.num_expression, axis=1)
    template = np.zeros((model.num_vertices, 3), np.float32)
    speech = Speech("a", np.zeros(0, np.float32), torch.zeros(1, 40, 3).half(), 0, beta, template, 0.0)
    batch = draw([speech], 2, np.random.default_rng(0))
    assert batch.beta[0, :, 0].tolist() == [*range(20), *[19] * (FRAMES - 20)]


def test_the_generators_loss_is_zero_for_the_real_thing_only(model: MorphableModel) -> None:
    random = np.random.default_rng(0)
    gaps = 0.1 + 0.1 * np.sin(np.arange(30))
    beta = torch.from_numpy(np.stack([opened(model, g) for g in gaps])[None])
    template = torch.from_numpy(0.01 * random.standard_normal((1, model.num_vertices, 3)).astype(np.float32))
    batch = Batch(torch.zeros(0), beta, template, beta)
    loss = Loss(model)
    real = loss.offsets(beta)
    np.testing.assert_allclose(real[0].numpy(), model.offsets(beta[0].numpy()), atol=1e-5)
    terms = loss(real, batch)
    assert all(abs(float(t)) < 1e-4 for t in terms.values()), terms
    half = loss(0.5 * real, batch)
    assert float(half["vertices"]) > 0.05
    assert float(half["velocity"]) > 0.05
    assert float(half["spread"]) > 0.5
    wrong = loss(real.flip(1), batch)
    assert float(wrong["correlation"]) > 0.5
    assert abs(float(wrong["spread"])) < 1e-4
    opening = loss.opening(real, template)[0, :, 0].numpy()
    shape = model.mean + template[0].numpy()
    np.testing.assert_allclose(opening, 100 * model.mouth_opening(shape + real[0].numpy()), rtol=1e-3)


def test_the_average_follows_the_network() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    averaged = Averaged(network, decay=0.9)
    start = network[0].weight.detach().clone()
    with torch.no_grad():
        network[0].weight.add_(1)
        network[1].running_mean.add_(3)
    averaged.update(network)
    mean = averaged.network[0].weight
    torch.testing.assert_close(mean, start + 10 / 11)  # the first step counts nearly wholly
    torch.testing.assert_close(averaged.network[1].running_mean, network[1].running_mean)
    assert not mean.requires_grad
    assert not averaged.network.training
    assert network.training
    assert network[0].weight.requires_grad
    for _ in range(200):
        averaged.update(network)
    torch.testing.assert_close(mean, network[0].weight, atol=1e-4, rtol=0)
    before = mean.clone()
    with torch.no_grad():
        network[0].weight.add_(1)
    averaged.update(network)
    torch.testing.assert_close(mean - before, torch.full_like(mean, 0.1), atol=1e-3, rtol=0)


class Run:
    """A little training."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        self.network = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
        self.averaged = Averaged(self.network, decay=0.5)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=0.05)
        self.state = State()

    def steps(self, count: int) -> None:
        for _ in range(count):
            x = torch.randn(8, 4, generator=torch.Generator().manual_seed(self.state.step))
            self.optimiser.zero_grad()
            (self.network(x) - x.sum(dim=1, keepdim=True)).square().mean().backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            self.averaged.update(self.network)
            self.state.step += 1

    def save(self, folder: Path) -> None:
        save_checkpoint(folder, self.state, self.network, self.averaged, self.optimiser)

    def load(self, folder: Path) -> None:
        self.state = load_checkpoint(folder, self.network, self.averaged, self.optimiser)


def test_a_resumed_training_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    unbroken = Run()
    unbroken.steps(9)
    first = Run()
    first.steps(4)
    first.state.best = 0.25
    first.save(tmp_path)
    second = Run()
    second.load(tmp_path)
    assert second.state == State(4, 0.25)
    second.steps(5)
    for part in ("network", "averaged"):
        a, b = getattr(unbroken, part), getattr(second, part)
        a, b = (x.network if isinstance(x, Averaged) else x for x in (a, b))
        for name, wanted in a.state_dict().items():
            assert torch.equal(b.state_dict()[name], wanted), (part, name)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
    second.save(tmp_path)
    third = Run()
    third.load(tmp_path)
    assert third.state.step == 9


def test_without_a_checkpoint_a_training_starts_anew(tmp_path: Path) -> None:
    run, fresh = Run(), Run()
    run.load(tmp_path)
    assert run.state == State(0)
    assert torch.equal(run.network[0].weight, fresh.network[0].weight)


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run()
    run.steps(2)
    run.save(tmp_path)

    def full_disk(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="disk full"):
        run.save(tmp_path)
    again = Run()
    again.load(tmp_path)
    assert again.state.step == 2


@pytest.fixture(scope="module")
def sampler(model: MorphableModel, tmp_path_factory: pytest.TempPathFactory) -> Sampler:
    folder = tmp_path_factory.mktemp("clips")
    write(folder, "train__long", model, frames=60, crops=60)
    write(folder, "train__short", model, frames=20, crops=20)
    write(folder, "train__mute", model, frames=60)
    return Sampler(model, load_clips(folder, ("train__",)), 64, seed=3)


def test_a_target_is_never_its_own_reference(sampler: Sampler) -> None:
    assert [c.name for c in sampler.clips] == ["train__long"]
    for _ in range(12):
        drawn = sampler.draw()
        frames = [
            (pictures.mean(dim=(1, 2, 3)) * 255).tolist()
            for pictures in (drawn.targets, drawn.lip_textures, drawn.face_textures)
        ]
        # The whole window shares one tint, so that equal frames are equal numbers.
        targets, lips, faces = ({round(x, 2) for x in part} for part in frames)
        assert len(targets) == 3
        assert targets.isdisjoint(lips)
        assert targets.isdisjoint(faces)
        assert len(drawn.target_maps) == 3
        assert len(drawn.lip_maps) == len(drawn.face_maps) == 5
        assert drawn.targets.shape == (3, 3, 64, 64)
        assert 0 <= drawn.targets.min() <= drawn.targets.max() <= 1


def made_up_window(model: MorphableModel) -> Window:
    size = 64
    drawn = geometry_map(model, face_in_crop(model, size, 0.2), size)
    picture = torch.from_numpy(smooth_picture(size, size, 3).transpose(2, 0, 1).copy()).float()[None] / 255
    return Window(picture, [drawn], picture, [drawn], picture, [drawn])


def test_the_renderers_loss_looks_under_the_mask_only(model: MorphableModel) -> None:
    sample = made_up_window(model)
    face = sample.target_maps[0].face
    same, squared = losses(sample.targets, sample)
    assert float(same) == 0
    assert float(squared) == 0
    inside = sample.targets + 0.1 * (face > 0.5)
    loss, squared = losses(inside, sample)
    assert float(loss) > 0.05
    assert 0.005 < float(squared) <= 0.0101
    far = nn.functional.max_pool2d(face[None, None], 33, stride=1, padding=16)[0, 0] == 0
    assert far.sum() > 50
    loss, squared = losses(sample.targets + far, sample)
    assert float(squared) == 0
    assert float(loss) < 1e-3


def test_the_mouth_weighs_more(model: MorphableModel) -> None:
    sample = made_up_window(model)
    drawn = sample.target_maps[0]
    lips = nn.functional.interpolate(drawn.lips[None, None], (64, 64), mode="nearest")[0, 0]
    mouth = lips == 1
    cheek = (lips == 0) & (drawn.face == 1)
    assert min(mouth.sum(), cheek.sum()) > 30
    mouth_loss, cheek_loss = (
        float(losses(sample.targets + 0.1 * where, sample)[0]) / int(where.sum()) for where in (mouth, cheek)
    )
    assert mouth_loss > 1.5 * cheek_loss


@pytest.mark.parametrize("lag", [-4, 0, 3])
def test_the_lag_is_found(lag: int) -> None:
    random = np.random.default_rng(0)
    motion = np.convolve(random.standard_normal(120), np.ones(4) / 4, mode="same")
    got, real = motion[10:90], motion[10 - lag : 90 - lag]  # real[t + lag] = got[t]
    scores = {k: shifted_correlation(got, real, k) for k in range(-7, 8)}
    assert max(scores, key=lambda k: scores[k]) == lag
    assert scores[lag] == pytest.approx(1)


@pytest.mark.parametrize("known", [0.0, 3.0])
def test_the_estimated_offset_is_the_whole_one_whatever_was_known(
    model: MorphableModel, monkeypatch: pytest.MonkeyPatch, known: float
) -> None:
    motion = np.convolve(np.random.default_rng(0).standard_normal(130), np.ones(4) / 4, mode="same")
    gaps = (0.1 + 0.1 * motion / np.abs(motion).max()).astype(np.float32)
    shown = np.stack([opened(model, g) for g in gaps[10 - 3 : 110 - 3]])  # three frames late
    heard = np.stack([model.offsets(opened(model, g)) for g in gaps[10:110]])
    monkeypatch.setattr(training, "generate", lambda *_: heard)
    monkeypatch.setattr(training, "speaking_style", lambda *_: torch.zeros(1, 1))
    template = np.zeros((model.num_vertices, 3), np.float32)
    speech = Speech("a", np.zeros(0, np.float32), torch.zeros(0), 0, shown, template, known)
    assert training.estimate_lags(None, model, [speech]) == {"a": 3.0}  # type: ignore[arg-type]


def test_a_still_mouth_correlates_with_nothing() -> None:
    assert shifted_correlation(np.zeros(50, np.float32), np.arange(50.0), 0) == 0
    assert shifted_correlation(np.arange(9.0), np.arange(9.0), 0) == 0


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


def test_masks_are_spans() -> None:
    mask = spans((40, 200), np.random.default_rng(0)).numpy()
    assert mask.shape == (40, 200)
    assert 0.2 < mask.mean() < 0.6
    for row in mask:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
        starts, stops = edges[::2], edges[1::2]
        assert ((stops - starts >= 10) | (stops == 200)).all()


def test_the_mirror_swaps_the_sides(model: MorphableModel) -> None:
    index = mirror_index(model.mean)
    np.testing.assert_array_equal(index[index], np.arange(model.num_vertices))
    assert index[33] == 263
    assert index[61] == 291
    assert index[1] == 1
    both = mirrored(model.mean[None], index)[0]
    np.testing.assert_allclose(both, model.mean, atol=2e-3)


def test_align_undoes_a_similarity(model: MorphableModel) -> None:
    random = np.random.default_rng(0)
    faces: list[Array] = []
    for _ in range(5):
        turn = Rotation.random(random_state=random).as_matrix()
        faces.append(random.uniform(20, 400) * model.mean @ turn.T + random.uniform(-500, 500, 3))
    np.testing.assert_allclose(align(np.stack(faces), model.mean), np.repeat(model.mean[None], 5, axis=0), atol=1e-4)


def test_align_leaves_the_expression(model: MorphableModel) -> None:
    wide = model.expression_only(opened(model, 0.3))
    moved = align(300 * wide[None].astype(np.float64) + 77, model.mean)[0]
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


def test_stage1_starts_from_a_hubert_checkpoint(tmp_path: Path, model: MorphableModel) -> None:
    config = HubertConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=[16] * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    original = HubertModel(config).eval()
    original.save_pretrained(tmp_path)
    network = training.starting_network(model, None, tmp_path).eval()
    assert torch.equal(
        network.audio.hubert.feature_projection.projection.weight, original.feature_projection.projection.weight
    )
    samples = torch.randn(1, 50 * 640, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        offsets = network(samples, torch.zeros(1, 192), torch.zeros(1, model.num_vertices, 3))
    assert offsets.shape == (1, 50, model.num_vertices, 3)
