"""Voice activity: silence, pauses and faint rooms; noise and music, alone and under speech."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import made_sounds
import numpy as np
import pytest
from helpers.sample_clips import spoken

from personatalk.audio import speech_detector
from personatalk.audio.loudness import normalise_loudness
from personatalk.audio.rates import SAMPLE_RATE
from personatalk.audio.voice_activity import (
    PAUSE_FRAMES,
    SAMPLES_PER_FRAME,
    loudness_gate,
    speech_mask,
    voice_activity,
    without_gaps,
)
from personatalk.utils.arrays import Array


def test_silence_is_no_voice() -> None:
    assert not voice_activity(np.zeros(2 * SAMPLE_RATE, np.float32)).any()
    assert len(voice_activity(np.zeros(0, np.float32))) == 0


def test_speech_is_voice_throughout() -> None:
    voice = voice_activity(normalise_loudness(spoken(2)))
    assert len(voice) == 50
    assert voice.dtype == np.float32
    np.testing.assert_array_equal(voice, 1)


@pytest.mark.parametrize("count", [1, 639, 640, 641])
def test_one_voice_for_every_frame_begun(count: int) -> None:
    assert len(voice_activity(np.full(count, 0.1, np.float32))) == math.ceil(count / SAMPLES_PER_FRAME)


@pytest.mark.parametrize("start", [1.0, 1.013, 1.027])
def test_the_gap_before_a_plosive_is_no_pause(start: float) -> None:
    speech = spoken(3)
    speech[round(start * SAMPLE_RATE) :][: round(0.12 * SAMPLE_RATE)] = 0
    np.testing.assert_array_equal(voice_activity(normalise_loudness(speech)), 1)


def test_a_long_pause_is_one() -> None:
    speech = spoken(4)
    speech[SAMPLE_RATE : 3 * SAMPLE_RATE] = 0
    voice = voice_activity(normalise_loudness(speech))
    reach = PAUSE_FRAMES + PAUSE_FRAMES // 2
    assert not voice[25 + reach + 1 : 75 - reach - 1].any()
    np.testing.assert_array_equal(voice[:26], 1)
    np.testing.assert_array_equal(voice[75:], 1)
    # Neither closes nor opens at once.
    assert np.abs(np.diff(voice)).max() < 1.5 / PAUSE_FRAMES


@pytest.mark.parametrize("ramp", np.linspace(0.05, 0.95, 7))
def test_silence_after_partial_loudness_is_exactly_none(ramp: float) -> None:
    voice = without_gaps(np.concatenate([[0.3, 1.0, 0.7], np.full(20, ramp), np.zeros(40)]))
    np.testing.assert_array_equal(voice[23 + PAUSE_FRAMES + PAUSE_FRAMES // 2 :], 0)
    assert voice.max() <= 1


def test_a_faint_room_is_silence() -> None:
    speech = spoken(4)
    speech[2 * SAMPLE_RATE :] *= 1e-3
    voice = voice_activity(normalise_loudness(speech))
    assert voice[:50].min() == 1
    assert not voice[50 + 2 * PAUSE_FRAMES :].any()


def sound(kind: str, count: int) -> Array:
    if kind.endswith("noise"):
        return made_sounds.noise(count, seed=1, slope={"white noise": 0, "pink noise": -1}[kind])
    make: Callable[[int, int], Array] = getattr(made_sounds, kind)
    return make(count, 1)


@pytest.mark.parametrize("kind", ["white noise", "pink noise", "hum", "music", "knocks", "breath"])
def test_what_is_no_speech_is_no_voice_however_loud(kind: str) -> None:
    heard = sound(kind, 5 * SAMPLE_RATE)
    assert loudness_gate(heard).mean() > 0.3, "too faint to test anything"
    assert not voice_activity(normalise_loudness(heard)).any()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["white noise", "pink noise", "hum", "music"])
def test_speech_over_noise_and_music_is_voice_from_the_first_sound_to_the_last(kind: str) -> None:
    count = 8 * SAMPLE_RATE
    speech = np.zeros(count, np.float32)
    speech[3 * SAMPLE_RATE : 6 * SAMPLE_RATE] = normalise_loudness(spoken(3))
    voice = voice_activity(normalise_loudness(speech + 0.3 * sound(kind, count)))
    np.testing.assert_array_equal(voice[without_gaps(loudness_gate(speech)) == 1], 1)
    assert not voice[:50].any() and not voice[-25:].any()


@pytest.mark.parametrize("kind", ["white noise", "pink noise", "hum"])
def test_speech_is_heard_under_noise_louder_than_itself(kind: str) -> None:
    speech = normalise_loudness(spoken(8))
    noise = 3 * sound(kind, len(speech))
    np.testing.assert_array_equal(voice_activity(normalise_loudness(speech + noise)), 1)


@pytest.mark.parametrize("change", [made_sounds.whispered, made_sounds.sung])
def test_whispering_and_singing_are_voice(change: Callable[[Array, int], Array]) -> None:
    voice = voice_activity(normalise_loudness(change(spoken(3), 0)))
    assert voice.mean() > 0.95


@pytest.mark.parametrize("seconds", [0.1, 0.2, 0.4])
def test_a_single_syllable_is_voice(seconds: float) -> None:
    np.testing.assert_array_equal(voice_activity(normalise_loudness(spoken(seconds))), 1)


@dataclass
class ShortReads:
    """Audio of which no more than some seconds may be read at once."""

    samples: Array
    most: float

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, span: slice) -> Array:
        found = self.samples[span]
        assert len(found) <= self.most * SAMPLE_RATE
        return found


@pytest.mark.slow
def test_speech_is_heard_piece_by_piece_and_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    speech = normalise_loudness(np.concatenate([spoken(3), 0.1 * sound("music", 3 * SAMPLE_RATE), spoken(1.01)]))
    whole = voice_activity(speech)
    assert 0 < whole.mean() < 1
    monkeypatch.setattr(speech_detector, "BLOCK", 63 * speech_detector.WINDOW)
    np.testing.assert_array_equal(voice_activity(ShortReads(speech, 2.1)), whole)


@pytest.mark.slow
def test_short_silence_is_part_of_the_speech_and_long_silence_is_not() -> None:
    speech = spoken(6)
    speech[2 * SAMPLE_RATE : round(2.7 * SAMPLE_RATE)] = 0
    speech[4 * SAMPLE_RATE :] = 0
    times = np.array([1.0, 2.35, 3.0, 5.0, 100.0])
    assert speech_mask(speech, times).tolist() == [True, True, True, False, False]
    assert speech_mask(speech, times, pause=0.1).tolist() == [True, False, True, False, False]
