"""The audio encoder's pretraining."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.synthetic import speech_like

from personatalk.audio.encoder import SAMPLE_RATE, STRIDE
from personatalk.training.audio import AudioTask, Recording, augment, filter_bank, log_mel, mask_spans
from personatalk.training.config import AudioConfig
from personatalk.training.config_files import read_config


def test_masks_are_spans() -> None:
    random = np.random.default_rng(0)
    masks = np.stack([mask_spans(200, random) for _ in range(40)])
    assert masks.shape == (40, 200)
    assert 0.2 < masks.mean() < 0.6
    for row in masks:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
        starts, stops = edges[::2], edges[1::2]
        assert ((stops - starts >= 10) | (stops == 200)).all()


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


def test_held_out_sounds_are_not_trained_on() -> None:
    sounds = [Recording(0.1 * np.sin(np.arange(20000) * 0.01 * (k + 1)).astype(np.float32)) for k in range(21)]
    task = AudioTask(read_config(AudioConfig, changes=["num_clusters=4", "window_seconds=1", "phone_weight=0"]), sounds)
    assert set(task.held_out) == {0, 20}
    assert set(task.heard).isdisjoint(task.held_out)


@pytest.mark.parametrize("speed", [0.85, 1.0, 1.15, 1.2])
def test_a_window_pairs_what_is_played_with_what_is_said(speed: float) -> None:
    # A tone that rises by one step a second: its cluster is its pitch.
    steps = 200 * 2 ** (np.arange(8) / 2)
    pitch = np.repeat(steps, 16000)
    sound = (0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / 16000)).astype(np.float32)
    task = AudioTask(
        read_config(AudioConfig, changes=["num_clusters=8", "window_seconds=4", "phone_weight=0"]), [Recording(sound)]
    )
    task.labels[0] = np.arange(400) // 50
    for seed in range(4):
        sample = task._window(0, np.random.default_rng(seed), speed)
        assert sample.samples.shape == (64000,) and sample.cluster.shape == (200,)
        for frame in range(3, 197, 12):
            here = sample.samples[(frame - 2) * 320 : (frame + 3) * 320].numpy()
            heard = np.abs(np.fft.rfft(here * np.hanning(1600), 16000)).argmax()
            said = steps[sample.cluster[frame]] * speed
            edges = sample.cluster[frame - 3 : frame + 4]
            if len(set(edges.tolist())) == 1:
                assert heard == pytest.approx(said, rel=0.03)
