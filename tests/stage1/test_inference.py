"""Stage 1 at work: style, chunks, silence, and the motion of a speech on demand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.generator import SMALLER
from helpers.sample_clips import spoken
from helpers.synthetic import opened, speech_like

from personatalk.audio.loudness import normalise_loudness
from personatalk.audio.rates import FPS, SAMPLE_RATE
from personatalk.audio.voice_activity import PAUSE_FRAMES, SAMPLES_PER_FRAME
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.media.audio import read_speech
from personatalk.sample import sample_files
from personatalk.stage1.inference import (
    CHUNK,
    CHUNKING_TOLERANCE,
    SpeechMotion,
    generate,
    generate_span,
    rest_offsets,
    speaking_style,
)
from personatalk.stage1.network import GeometryGenerator
from personatalk.utils.arrays import Array


def test_all_geometry_is_made_of_expressions(
    network: GeometryGenerator, model: MorphableModel, style: Array, template: Array
) -> None:
    got = generate(network, normalise_loudness(speech_like(1.2)), 30, style, template).reshape(30, -1)
    basis = model.expression.reshape(-1, model.num_expression)
    beta = np.linalg.lstsq(basis, got.T, rcond=None)[0]
    assert np.abs(got).max() > 1e-3
    np.testing.assert_allclose(basis @ beta, got.T, atol=1e-5)


def test_speech_style_and_template_all_matter(network: GeometryGenerator, style: Array, template: Array) -> None:
    speech = normalise_loudness(speech_like(1.2))
    plain = generate(network, speech, 30, style, template)
    others = [
        generate(network, normalise_loudness(speech_like(1.2, seed=9)), 30, style, template),
        generate(network, speech, 30, -style, template),
        generate(network, speech, 30, style, 0 * template),
    ]
    for other in others:
        assert np.abs(other - plain).max() > 1e-5


def test_style_is_a_statistic(network: GeometryGenerator, model: MorphableModel) -> None:
    random = np.random.default_rng(3)
    beta = random.standard_normal((80, model.num_expression)).astype(np.float32)
    plain = speaking_style(network, model, beta)
    assert plain.shape == (1, 64)
    np.testing.assert_allclose(speaking_style(network, model, beta[random.permutation(80)]), plain, atol=1e-5)
    livelier = speaking_style(network, model, 2 * beta)
    raised = speaking_style(network, model, beta + 1)
    assert np.abs(livelier - plain).max() > 1e-3
    assert np.abs(raised - plain).max() > 1e-3


@pytest.mark.parametrize("frames", [1, 2, 4000])
def test_style_of_short_and_long_videos(network: GeometryGenerator, model: MorphableModel, frames: int) -> None:
    time = np.arange(frames)[:, None] / 25
    beta = np.sin(time * np.linspace(1, 6, model.num_expression)).astype(np.float32)
    got = speaking_style(network, model, beta)
    assert np.isfinite(got).all()
    if frames > 1000:
        np.testing.assert_allclose(got, speaking_style(network, model, beta[: frames // 2]), atol=0.05, rtol=0)


def test_without_style_nobody_has_one(model: MorphableModel, network: GeometryGenerator) -> None:
    torch.manual_seed(4)
    plain = GeometryGenerator(model.num_vertices, model.num_expression, SMALLER, 64, layers=1, use_style=False).eval()
    random = np.random.default_rng(4)
    betas = [random.standard_normal((40, model.num_expression)).astype(np.float32) for _ in range(2)]
    styles = [speaking_style(plain, model, beta) for beta in betas]
    np.testing.assert_array_equal(styles[0], styles[1])
    assert np.abs(np.subtract(*(speaking_style(network, model, beta) for beta in betas))).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [30, 100])
def test_chunks_do_not_show(network: GeometryGenerator, style: Array, template: Array, chunk: int) -> None:
    speech = normalise_loudness(speech_like(8.8))
    whole = generate(network, speech, 220, style, template, chunk=220)
    parts = generate(network, speech, 220, style, template, chunk=chunk)
    difference = np.abs(parts - whole).max()
    assert difference < CHUNKING_TOLERANCE
    # Context makes it better still than the fading alone does.
    bare = np.abs(generate(network, speech, 220, style, template, chunk=chunk, margin=0) - whole).max()
    assert difference < 0.9 * bare


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [100, CHUNK])
def test_chunks_do_not_show_with_the_packages_weights(model: MorphableModel, template: Array, chunk: int) -> None:
    network = GeometryGenerator.load()
    network.check_fits(model)
    random = np.random.default_rng(0)
    beta = 0.7 * random.standard_normal((200, model.num_expression)).astype(np.float32)
    style = speaking_style(network, model, beta)
    sound = read_speech(sample_files()[1])
    speech = normalise_loudness(np.tile(sound, 3))[: 16 * SAMPLE_RATE]
    frames = len(speech) // SAMPLES_PER_FRAME
    whole = generate(network, speech, frames, style, 0.5 * template, chunk=frames)
    parts = generate(network, speech, frames, style, 0.5 * template, chunk=chunk)
    assert np.abs(parts - whole).max() < CHUNKING_TOLERANCE


def test_a_span_is_part_of_the_whole(network: GeometryGenerator, style: Array, template: Array) -> None:
    speech = normalise_loudness(speech_like(3))
    span = generate_span(network, speech, 20, 50, style, template)
    assert span.shape == (30, *template.shape)
    assert span.dtype == np.float32
    whole = generate(network, speech, 75, style, template, chunk=75)
    assert np.abs(span - whole[20:50]).max() < CHUNKING_TOLERANCE
    beyond = generate_span(network, speech, 500, 503, style, template)
    assert beyond.shape == (3, *template.shape)
    assert np.isfinite(beyond).all()


@pytest.fixture(scope="module")
def rest(model: MorphableModel) -> Array:
    return model.offsets(opened(model, 0.07))


@pytest.mark.slow
def test_motion_equals_what_is_generated(
    network: GeometryGenerator, style: Array, template: Array, rest: Array
) -> None:
    speech = spoken(1.25 * CHUNK / FPS)
    motion = SpeechMotion(network, speech, style, rest)
    wanted = generate(network, normalise_loudness(speech), 2 * CHUNK, style, template)
    for frame in (0, 1, 57, CHUNK - 1, CHUNK, CHUNK + 7):
        np.testing.assert_allclose(motion.displacement_at(frame / FPS, template), wanted[frame], atol=1e-6)
        between = motion.displacement_at((frame + 0.25) / FPS, template)
        np.testing.assert_allclose(between, 0.75 * wanted[frame] + 0.25 * wanted[frame + 1], atol=1e-6)
    np.testing.assert_array_equal(motion.displacement_at(-1.0, template), motion.displacement_at(0.0, template))


def test_the_mouth_does_not_snap_shut_where_the_speech_ends_in_a_sound(
    network: GeometryGenerator, style: Array, template: Array, rest: Array
) -> None:
    motion = SpeechMotion(network, spoken(2), style, rest)
    assert np.abs(np.diff(motion.voice)).max() < 1.5 / PAUSE_FRAMES
    assert motion.voice[49] == 1
    np.testing.assert_array_equal(motion.displacement_at(2 + 2 * PAUSE_FRAMES / FPS, template), rest)


@pytest.mark.slow
def test_the_order_of_asking_does_not_matter(
    network: GeometryGenerator,
    style: Array,
    template: Array,
    rest: Array,
) -> None:
    speech = spoken(4.5)  # more chunks than are kept
    times = np.arange(0, 4.4, 0.17)
    random = np.random.default_rng(5)

    def asked(order: np.ndarray) -> np.ndarray:
        motion = SpeechMotion(network, speech, style, rest, chunk=20)
        found = {k: motion.displacement_at(float(times[k]), template) for k in order}
        assert len(motion.speech._kept) <= motion.speech.kept
        return np.stack([found[k] for k in range(len(times))])

    forward = asked(np.arange(len(times)))
    assert forward.std(axis=0).max() > 1e-5, "nothing moves: the test is void"
    np.testing.assert_array_equal(asked(np.arange(len(times))[::-1]), forward)
    np.testing.assert_array_equal(asked(random.permutation(len(times))), forward)


@pytest.mark.slow
def test_two_speakers_do_not_get_mixed_up(
    network: GeometryGenerator, style: Array, template: Array, rest: Array
) -> None:
    motion = SpeechMotion(network, spoken(1), style, rest)
    one, other = motion.displacement_at(0.4, template), motion.displacement_at(0.4, -template)
    assert np.abs(one - other).max() > 1e-6
    np.testing.assert_array_equal(motion.displacement_at(0.4, template), one)


def test_the_mouth_rests_in_silence_and_after_the_end(
    network: GeometryGenerator, style: Array, template: Array, rest: Array
) -> None:
    speech = spoken(4)
    speech[SAMPLE_RATE : 3 * SAMPLE_RATE] = 0
    motion = SpeechMotion(network, speech, style, rest)
    for time in (2.0, 2.1, 4.5, 60.0):
        np.testing.assert_array_equal(motion.displacement_at(time, template), rest)
    assert np.abs(motion.displacement_at(0.5, template) - rest).max() > 1e-3
    assert np.abs(motion.displacement_at(3.5, template) - rest).max() > 1e-3
    times = np.arange(0.5, 3.5, 0.02)
    steps = np.diff(np.stack([motion.displacement_at(t, template) for t in times]), axis=0)
    assert np.abs(steps).max() < 0.5 * np.abs(motion.displacement_at(0.5, template) - rest).max(), (
        "no jump into the rest"
    )


def test_no_speech_at_all_is_rest(network: GeometryGenerator, style: Array, template: Array, rest: Array) -> None:
    for samples in (np.zeros(0, np.float32), np.zeros(SAMPLE_RATE, np.float32)):
        np.testing.assert_array_equal(SpeechMotion(network, samples, style, rest).displacement_at(0.3, template), rest)


def test_rest_is_the_speakers_closed_mouth(model: MorphableModel) -> None:
    gaps = np.linspace(0.02, 0.3, 40).astype(np.float32)
    order = np.random.default_rng(6).permutation(40)
    beta = np.stack([opened(model, g) for g in gaps])[order]
    got = rest_offsets(model, beta, gaps[order])
    np.testing.assert_allclose(got, model.offsets(opened(model, float(gaps[:4].mean()))), atol=1e-4)
    single = rest_offsets(model, beta[:1], gaps[order][:1])
    np.testing.assert_allclose(single, model.offsets(beta[0]), atol=1e-6)


def test_the_mouth_rests_while_there_is_noise_and_no_speech(
    network: GeometryGenerator, style: Array, template: Array, rest: Array
) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE).astype(np.float32)
    motion = SpeechMotion(network, np.concatenate([noise, spoken(1)]), style, rest)
    for time in (0.0, 1.0, 2.0):
        np.testing.assert_array_equal(motion.displacement_at(time, template), rest)
    assert np.abs(motion.displacement_at(3.5, template) - rest).max() > 1e-3
