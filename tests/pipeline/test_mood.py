"""The source's slow expression goes into the new mouth as far as is wanted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.sample_clips import sample_frames, sample_speech, write_video

from personatalk import DubOptions, Models
from personatalk.errors import PersonaTalkError
from personatalk.faces.analysis import Analysis
from personatalk.geometry.mood import moods
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.pipeline.casting import DubPlan, cast_single
from personatalk.pipeline.context import RunContext
from personatalk.pipeline.dub import run
from personatalk.pipeline.request import DubRequest
from personatalk.utils.arrays import Array

FRAMES = 50


class PlannedError(Exception):
    """The plan is made, and all that is wanted."""


def moods_of(model: MorphableModel, analysis: Analysis) -> Array:
    return moods(model, analysis.beta, analysis.time, analysis.usable, analysis.shot_of)


@pytest.mark.slow
def test_the_new_mouth_takes_over_what_is_slow_and_keeps_its_opening(tmp_path: Path, models: Models) -> None:
    video, speech = write_video(tmp_path / "in.mp4", sample_frames(FRAMES)), sample_speech(tmp_path, FRAMES)
    model, times, found = models.morphable, np.arange(FRAMES) / 25, list[list[Array]]()

    def cast(context: RunContext) -> DubPlan:
        (speaker,) = cast_single(context, speech).speakers
        shape = model.shape(speaker.analysis.shots[0].alpha)
        found.append(
            [
                np.stack([speaker.vertices(model, i, time) for i, time in enumerate(times)]),
                np.stack([shape + speaker.motion.displacement_at(time, shape - model.mean) for time in times]),
                model.offsets(moods_of(model, speaker.analysis)),
            ]
        )
        raise PlannedError

    for mood in (0.0, 0.5, 1.0):
        request = DubRequest(video, [speech], tmp_path / f"{mood}.mp4", DubOptions(mood=mood))
        with pytest.raises(PlannedError):
            run(request, cast, models)
    (none, plain, slow), (half, _, _), (whole, _, _) = found
    np.testing.assert_array_equal(none, plain)
    np.testing.assert_allclose(half - none, (whole - none) / 2, atol=1e-5)
    np.testing.assert_allclose(model.mouth_opening(whole), model.mouth_opening(none), atol=1e-5)
    assert np.abs(slow).max() > 0.003
    np.testing.assert_allclose(whole - none, slow, atol=1e-5)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_a_mood_out_of_range_is_refused(wrong: float) -> None:
    with pytest.raises(PersonaTalkError, match="mood"):
        DubOptions(mood=wrong)
