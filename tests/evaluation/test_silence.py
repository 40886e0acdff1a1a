"""The mouth in silence."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from helpers.landmarks import speaking
from helpers.sample_clips import spoken

from personatalk.evaluation.silence import motion_in_silence, open_share
from personatalk.evaluation.tracks import Track
from personatalk.geometry.morphable_model import MorphableModel


@pytest.mark.slow
def test_motion_in_silence_is_that_of_the_frames_without_voice(model: MorphableModel) -> None:
    moving = speaking(model, frames=150)
    still = moving.copy()
    still[75:] = moving[0]
    times = np.arange(150) / 25
    audio = np.concatenate([spoken(3), np.zeros(3 * 16000)])
    for landmarks, low, high in ((still, 0.0, 0.35), (moving, 0.8, 1.2)):
        got = motion_in_silence(Track(Path("x"), (400, 400), times, landmarks, None), audio.astype(np.float32))
        assert low <= got <= high
    loud = np.tile(audio[: 3 * 16000], 2).astype(np.float32)
    assert math.isnan(motion_in_silence(Track(Path("x"), (400, 400), times, moving, None), loud))


def test_lips_count_as_apart_by_the_way_that_the_reference_holds_and_opens_them() -> None:
    reference = 0.1 + 0.2 * np.linspace(0, 1, 101)
    assert open_share(np.full(20, 0.13), reference) == 0
    assert open_share(np.array([0.13] * 15 + [0.2] * 5), reference) == 0.25
    # The same lips are wide apart for somebody who hardly opens them.
    assert open_share(np.full(20, 0.13), 0.1 + 0.02 * np.linspace(0, 1, 101)) == 1
    assert open_share(np.array([0.2, math.nan] * 10), reference) == 1
    assert math.isnan(open_share(np.array([0.2] * 5 + [math.nan] * 30), reference))
