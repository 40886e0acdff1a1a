"""The plumbing of a dub: which frames are dubbed, at which times, and what is said about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import tiny
from helpers.sample_clips import decoded, frame_times

import personatalk
from personatalk import Models

pytestmark = pytest.mark.usefixtures("drawn_faces")


def test_every_frame_is_there_at_its_time(tmp_path: Path, tiny_models: Models) -> None:
    source, speech = tiny.clip_of(tmp_path / "in.mp4"), tiny.speech_of(tmp_path / "speech.wav")
    report = personatalk.dub(source, speech, tmp_path / "out.mp4", models=tiny_models)
    assert report.frames == report.dubbed == 10 and report.passed_through == []
    assert frame_times(tmp_path / "out.mp4") == pytest.approx(frame_times(source), abs=1e-4)
    changes = [
        np.abs(a.astype(float) - b).max() for a, b in zip(decoded(source), decoded(tmp_path / "out.mp4"), strict=True)
    ]
    assert min(changes) > 20
