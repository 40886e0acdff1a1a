"""Augmented speech stays speech."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.synthetic import speech_like

from personatalk.audio.rates import SAMPLE_RATE
from personatalk.training.augmentation import add_reverb, augment, change_speed


def test_augmented_audio_stays_recognisable() -> None:
    speech = speech_like(1)
    copies = [augment(speech, np.random.default_rng(seed)) for seed in range(6)]
    correlations = [np.corrcoef(copy, speech)[0, 1] for copy in copies]
    assert all(copy.shape == speech.shape and copy.dtype == np.float32 for copy in copies)
    assert min(correlations) > 0.3
    assert len({round(c, 4) for c in correlations}) == 6


@pytest.mark.parametrize("speed", [0.85, 1.0, 1.2])
def test_sound_is_played_faster(speed: float) -> None:
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    got = change_speed(np.sin(2 * np.pi * 500 * time).astype(np.float32), speed)
    assert len(got) == pytest.approx(SAMPLE_RATE / speed, rel=0.01)
    peak = np.abs(np.fft.rfft(got)).argmax() * SAMPLE_RATE / len(got)
    assert peak == pytest.approx(500 * speed, rel=0.01)


def test_a_room_is_heard_after_the_sound() -> None:
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[4000] = 1
    got = add_reverb(click, np.random.default_rng(0))
    assert len(got) == len(click)
    assert np.abs(got[:3990]).max() < 1e-3 < np.abs(got[4100:6000]).max()
    assert np.abs(got).argmax() == 4000
    speech = speech_like(2)
    wet = add_reverb(speech, np.random.default_rng(1))
    assert 0.3 < np.corrcoef(wet, speech)[0, 1] < 0.999
