"""Phone targets from a recogniser."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from personatalk.audio import phones
from personatalk.audio.encoder import SAMPLE_RATE, STRIDE
from personatalk.audio.loudness import normalise_loudness
from personatalk.audio.phones import PHONES, aligned_phones, cached_phones, soft_phones
from personatalk.errors import PersonaTalkError
from personatalk.media.audio import read_speech
from personatalk.sample import sample_files
from personatalk.training.audio import add_reverb, change_speed
from personatalk.utils.arrays import Array


@pytest.fixture(scope="module")
def speech() -> Array:
    sound = normalise_loudness(read_speech(sample_files()[1], SAMPLE_RATE))
    return np.concatenate([np.zeros(SAMPLE_RATE, np.float32), sound])


@pytest.mark.slow
def test_phones_are_shares_of_the_passes(speech: Array) -> None:
    found = soft_phones(speech).astype(np.float32)
    assert found.shape == (len(speech) // STRIDE, len(PHONES))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=2e-3)
    # The second of silence in front is silence, what follows is not, and the passes mostly agree on it.
    assert found[:45, 0].mean() > 0.9
    assert found[60:, 0].mean() < 0.5
    assert len(set(found[60:].argmax(axis=1))) > 8
    assert 0.4 < found[60:].max(axis=1).mean() < 1


def test_a_pass_keeps_the_clock_whatever_its_speed(speech: Array) -> None:
    slow, fast = (phones.recognised(speech, speed, 3.0) for speed in (0.9, 1.1))
    assert len(slow) == len(fast) == len(speech) // 160
    agreed = {shift: float((slow == np.roll(fast, shift))[100:].mean()) for shift in range(-30, 31, 3)}
    assert abs(max(agreed, key=lambda s: agreed[s])) <= 3
    assert agreed[0] > 0.35


@pytest.mark.slow
def test_phones_are_kept_under_their_sound(speech: Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = cached_phones(speech, tmp_path / "cache")
    monkeypatch.setattr(phones, "soft_phones", lambda _: pytest.fail("heard again"))
    np.testing.assert_array_equal(cached_phones(speech, tmp_path / "cache"), found)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    with pytest.raises(pytest.fail.Exception):
        cached_phones(speech[1:], tmp_path / "cache")


def test_known_words_are_aligned() -> None:
    quiet = np.zeros(SAMPLE_RATE // 2, np.float32)
    speech = normalise_loudness(read_speech(sample_files()[1], SAMPLE_RATE))
    with pytest.raises(PersonaTalkError, match="does not know: qqxzy"):
        aligned_phones(speech, "hello qqxzy")
    with pytest.raises(PersonaTalkError, match="no words given"):
        aligned_phones(speech, "")
    words = "the weather is lovely today so let us all go outside"
    found, later = (aligned_phones(s, words) for s in (speech, np.concatenate([quiet, speech])))
    names = [p for _, _, p in found if p != "SIL"]
    assert names[0] == "DH"
    starts = np.array([a for a, _, p in found if p != "SIL"])
    assert np.all(np.diff(starts) >= 0)
    moved = np.array([a for a, _, p in later if p != "SIL"]) - starts
    assert np.median(moved) == pytest.approx(0.5, abs=0.03)


def test_silence_has_no_phones() -> None:
    found = soft_phones(np.zeros(SAMPLE_RATE, np.float32))
    assert found.shape == (50, len(PHONES))


def test_without_the_recogniser_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    phones._recogniser.cache_clear()
    with pytest.raises(PersonaTalkError, match="phones=0"):
        phones.recognised(np.zeros(16000, np.float32), 1.0, 1.0)


@pytest.mark.parametrize("speed", [0.85, 1.0, 1.2])
def test_sound_is_played_faster(speed: float) -> None:
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    got = change_speed(np.sin(2 * np.pi * 500 * time).astype(np.float32), speed)
    assert len(got) == pytest.approx(SAMPLE_RATE / speed, rel=0.01)
    peak = np.abs(np.fft.rfft(got)).argmax() * SAMPLE_RATE / len(got)
    assert peak == pytest.approx(500 * speed, rel=0.01)


def test_a_room_is_heard_after_the_sound(speech: Array) -> None:
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[4000] = 1
    got = add_reverb(click, np.random.default_rng(0))
    assert len(got) == len(click)
    assert np.abs(got[:3990]).max() < 1e-3 < np.abs(got[4100:6000]).max()
    assert np.abs(got).argmax() == 4000
    wet = add_reverb(speech, np.random.default_rng(1))
    assert 0.3 < np.corrcoef(wet, speech)[0, 1] < 0.999
