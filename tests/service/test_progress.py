"""Progress of a job: stages, and the time that is left."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from personatalk.service.progress import ProgressFile, read_progress


def test_the_time_that_is_left_is_measured_without_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    progress = ProgressFile(tmp_path)

    def step(seconds: float, steps: int = 1) -> float | None:
        clock[0] += seconds
        progress("dubbing", steps, 100)
        return read_progress(tmp_path).stages[-1].left

    assert step(0, steps=40) is None, "of a run before this one"
    assert step(30) is None, "the first step loads much"
    assert step(0.5) == pytest.approx(0.5 * 58)
    assert step(0.3) == pytest.approx(0.4 * 57)
    progress("report", 0, 0)
    assert [stage.name for stage in read_progress(tmp_path).stages] == ["dubbing", "report"]
    assert read_progress(tmp_path).stages[0].seconds == pytest.approx(30.8)
