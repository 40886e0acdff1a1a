"""The catalogue of metrics, and those figures of it that are no more than a formula."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.landmarks import speaking

from personatalk.errors import FaceError
from personatalk.evaluation.catalogue import METRICS
from personatalk.evaluation.pair import Comparison, MetricNetworks, Pair
from personatalk.evaluation.tracks import Track
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.pipeline.sync import VideoSync

ROOT = Path(__file__).resolve().parents[2]
BY_NAME = {metric.name: metric for metric in METRICS}


def test_every_metric_is_measured_in_one_way_and_defined_in_the_documentation() -> None:
    rows = (ROOT / "docs" / "evaluation.md").read_text("utf-8").splitlines()
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        ways = (metric.pair, metric.frame, metric.pooled or None, metric.combine)
        assert any(way is not None for way in ways), metric.name
        if metric.in_table:
            assert any(row.startswith(f"| {metric.title} |") for row in rows), metric.title


@pytest.fixture
def pair(model: MorphableModel) -> Pair:
    """A pair whose meter of sync always finds the image 80 ms late."""
    meter: Any = SimpleNamespace(measure=lambda analysis, samples: VideoSync(0.08, 0.7, 0.5, 4.0, 6.0))
    analysis: Any = SimpleNamespace()
    track = Track(Path("x"), (400, 400), np.arange(150) / 25, speaking(model, frames=150), analysis)
    found = Pair(Comparison("x", Path("x"), Path("x")), MetricNetworks(hearing=meter), track, track)
    found.samples = np.zeros(6 * 16000, np.float32)
    return found


def test_sync_is_told_in_milliseconds_and_needs_a_face_and_the_meter(pair: Pair) -> None:
    offset, r = BY_NAME["sync_offset"], BY_NAME["sync_r"]
    assert offset.pair is not None and r.pair is not None
    assert offset.applies(pair) and offset.pair(pair) == pytest.approx(80)
    assert r.pair(pair) == 0.7
    bare = Pair(pair.job, pair.networks, pair.reference, replace(pair.generated, analysis=None))
    with pytest.raises(FaceError, match="no usable face"):
        r.pair(bare)
    assert not r.applies(Pair(pair.job, MetricNetworks(), pair.reference, pair.generated))


def test_figures_of_other_dubs_of_a_clip_come_from_their_own_columns() -> None:
    for name, kind, source in (("lip_leak", "silent", "open_frames"), ("sync_r_other", "mismatched", "sync_r")):
        combine = BY_NAME[name].combine
        assert combine is not None and combine[0] == kind
        assert combine[1]({source: 0.9}, {source: 0.2}) == 0.2


@pytest.mark.slow
def test_the_silent_mouth_score_falls_when_the_mouth_talks_on_in_silence(pair: Pair) -> None:
    score, opened = BY_NAME["silent_mouth"].pair, BY_NAME["open_frames"].pair
    assert score is not None and opened is not None
    talking = score(pair)
    landmarks = pair.reference.landmarks
    gaps = np.linalg.norm(landmarks[:, 13, :2] - landmarks[:, 14, :2], axis=-1)
    still = replace(pair.generated, landmarks=np.repeat(landmarks[[gaps.argmin()]], 150, axis=0))
    resting = Pair(pair.job, pair.networks, pair.reference, still)
    resting.samples = pair.samples
    assert talking is not None and talking < 0.8
    assert score(resting) == 1
    assert opened(resting) == 0 and opened(pair) == pytest.approx(1 - talking)
