"""Loudness: one level for all speech, with pauses and hum left alone."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.synthetic import speech_like

from personatalk.audio.loudness import match_loudness, normalise_loudness
from personatalk.audio.rates import SAMPLE_RATE


def root_mean_square(samples: np.ndarray) -> float:
    return float(np.sqrt(np.square(samples).mean()))


@pytest.mark.parametrize("gain", [0.1, 0.5, 4.0])
def test_loudness_is_brought_to_one_level(gain: float) -> None:
    speech = speech_like(3)
    got = normalise_loudness(speech * np.float32(gain))
    assert got.dtype == np.float32
    assert len(got) == len(speech)
    assert root_mean_square(got) == pytest.approx(0.1, rel=0.05)
    np.testing.assert_allclose(got, normalise_loudness(speech), rtol=1e-4, atol=1e-6)
    assert root_mean_square(normalise_loudness(speech, level=0.03)) == pytest.approx(0.03, rel=0.05)


def test_pauses_do_not_make_speech_louder() -> None:
    speech = speech_like(3)
    hum = 1e-3 * np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE).astype(np.float32)
    with_pause = normalise_loudness(np.concatenate([hum, speech, hum]))
    np.testing.assert_allclose(with_pause[len(hum) : -len(hum)], normalise_loudness(speech), rtol=0.05, atol=1e-4)


def test_silence_stays_silence() -> None:
    silence = np.zeros(SAMPLE_RATE, np.float32)
    np.testing.assert_array_equal(normalise_loudness(silence), silence)
    assert len(normalise_loudness(silence[:0])) == 0
    np.testing.assert_array_equal(normalise_loudness(np.full(100, 0.5, np.float32)), np.full(100, 0.5))


@pytest.mark.parametrize("level", [1e-6, 1e-4])
def test_a_faint_hum_is_not_taken_for_speech(level: float) -> None:
    hum = level * np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32)
    assert root_mean_square(normalise_loudness(hum)) <= 30.1 * level


def test_matched_audio_is_normalised_where_it_is_read() -> None:
    speech = speech_like(70)  # longer than what is measured at once
    matched = match_loudness(speech)
    assert len(matched) == len(speech)
    np.testing.assert_array_equal(matched[1000:2000], normalise_loudness(speech)[1000:2000])
