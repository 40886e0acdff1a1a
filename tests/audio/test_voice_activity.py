"""Voice activity: silence, pauses and faint rooms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.synthetic import speech_like

from personatalk.audio.encoder import SAMPLE_RATE
from personatalk.audio.loudness import normalise_loudness
from personatalk.audio.voice_activity import PAUSE_FRAMES, SAMPLES_PER_FRAME, speech_mask, voice_activity


def test_silence_is_no_voice() -> None:
    assert not voice_activity(np.zeros(2 * SAMPLE_RATE, np.float32)).any()
    assert len(voice_activity(np.zeros(0, np.float32))) == 0


def test_speech_is_voice_throughout() -> None:
    voice = voice_activity(normalise_loudness(speech_like(2)))
    assert len(voice) == 50
    assert voice.dtype == np.float32
    np.testing.assert_array_equal(voice, 1)


@pytest.mark.parametrize("count", [1, 639, 640, 641])
def test_one_voice_for_every_frame_begun(count: int) -> None:
    assert len(voice_activity(np.full(count, 0.1, np.float32))) == math.ceil(count / SAMPLES_PER_FRAME)


@pytest.mark.parametrize("start", [1.0, 1.013, 1.027])
def test_the_gap_before_a_plosive_is_no_pause(start: float) -> None:
    speech = speech_like(3)
    speech[round(start * SAMPLE_RATE) :][: round(0.12 * SAMPLE_RATE)] = 0
    np.testing.assert_array_equal(voice_activity(normalise_loudness(speech)), 1)


def test_a_long_pause_is_one() -> None:
    speech = speech_like(4)
    speech[SAMPLE_RATE : 3 * SAMPLE_RATE] = 0
    voice = voice_activity(normalise_loudness(speech))
    reach = PAUSE_FRAMES + PAUSE_FRAMES // 2
    assert not voice[25 + reach + 1 : 75 - reach - 1].any()
    np.testing.assert_array_equal(voice[:26], 1)
    np.testing.assert_array_equal(voice[75:], 1)
    # Neither closes nor opens at once.
    assert np.abs(np.diff(voice)).max() < 1.5 / PAUSE_FRAMES


def test_a_faint_room_is_silence() -> None:
    speech = speech_like(4)
    speech[2 * SAMPLE_RATE :] *= 1e-3
    voice = voice_activity(normalise_loudness(speech))
    assert voice[:50].min() == 1
    assert not voice[50 + 2 * PAUSE_FRAMES :].any()


def test_short_silence_is_part_of_the_speech_and_long_silence_is_not() -> None:
    speech = speech_like(6)
    speech[2 * SAMPLE_RATE : round(2.7 * SAMPLE_RATE)] = 0
    speech[4 * SAMPLE_RATE :] = 0
    times = np.array([1.0, 2.35, 3.0, 5.0, 100.0])
    assert speech_mask(speech, times).tolist() == [True, True, True, False, False]
    assert speech_mask(speech, times, pause=0.1).tolist() == [True, False, True, False, False]
