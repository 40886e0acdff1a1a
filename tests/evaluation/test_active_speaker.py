"""The active-speaker network: streaming, and its judgement of a real clip."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from personatalk.audio.rates import SAMPLE_RATE
from personatalk.errors import WeightsError
from personatalk.evaluation.active_speaker import ActiveSpeaker
from personatalk.evaluation.tracks import crops_at_25, track
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.media.audio import read_speech


@pytest.mark.slow
@pytest.mark.real_clips
def test_the_active_speaker_network_hears_the_words_of_the_face(shared: Path) -> None:
    folder = shared / "evaluators"
    judge = ActiveSpeaker(folder / "lr_asd_ava_visual.onnx", folder / "lr_asd_ava_backend.onnx")
    clip = shared / "clips" / "val" / "video_retalking_face__1.mp4"
    samples = read_speech(clip, SAMPLE_RATE)
    seen = track(clip, MorphableModel.load())
    own = judge.score(crops_at_25(seen, margin=-0.05), samples)
    late = judge.score(crops_at_25(seen, margin=-0.05), np.roll(samples, SAMPLE_RATE))
    assert own > late
    assert math.isnan(judge.score(iter([]), samples))
    with pytest.raises(WeightsError):
        ActiveSpeaker(folder / "lr_asd_ava_visual.onnx", folder / "lpips_squeeze.onnx")
