"""The catalogue of metrics, and motion in silence."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from helpers.landmarks import speaking
from helpers.sample_clips import spoken

from personatalk.evaluation.catalogue import METRICS, motion_in_silence
from personatalk.evaluation.tracks import Track
from personatalk.geometry.morphable_model import MorphableModel

ROOT = Path(__file__).resolve().parents[2]


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


def test_every_metric_is_measured_in_one_way_and_defined_in_the_documentation() -> None:
    rows = (ROOT / "docs" / "evaluation.md").read_text("utf-8").splitlines()
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        ways = (metric.pair, metric.frame, metric.pooled or None, metric.combine)
        assert any(way is not None for way in ways), metric.name
        if metric.in_table:
            assert any(row.startswith(f"| {metric.title} |") for row in rows), metric.title
