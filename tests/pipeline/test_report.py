"""The report of a run."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from personatalk.errors import MediaError
from personatalk.pipeline.report import Report, Span


@pytest.fixture
def report() -> Report:
    return Report("in.mp4", "speech.wav", "out.mp4", "1.2", {"tool": "PersonaTalk"}, "video")


def test_frames_are_counted(report: Report) -> None:
    for i in range(7):
        report.record_frame(i / 25, None if i % 3 else "no face")
    assert (report.frames, report.dubbed) == (7, 4)
    assert [(s.first, s.last) for s in report.passed_through] == [(0, 0), (3, 3), (6, 6)]


def test_neighbours_of_one_reason_become_one_span(report: Report) -> None:
    reasons = ["small", "small", None, "small", "small", "small", "no face", "no face", None]
    for i, reason in enumerate(reasons):
        report.record_frame(i / 10, reason)
    assert report.passed_through == [
        Span(0, 1, 0.0, 0.1, "small"),
        Span(3, 5, 0.3, 0.5, "small"),
        Span(6, 7, 0.6, 0.7, "no face"),
    ]
    assert sum(s.last - s.first + 1 for s in report.passed_through) == report.frames - report.dubbed


def test_stages_add_up(report: Report) -> None:
    report.add_seconds("faces", 1.5)
    report.add_seconds("render", 4.0)
    report.add_seconds("faces", 0.25)
    assert report.stage_seconds == {"faces": 1.75, "render": 4.0}
    for _ in range(2):
        with report.stage("write"):
            pass
    assert report.stage_seconds["write"] >= 0
    assert list(report.stage_seconds) == ["faces", "render", "write"]


def test_a_stage_that_fails_is_timed_and_fails(report: Report) -> None:
    with pytest.raises(KeyError), report.stage("write"):
        raise KeyError
    assert "write" in report.stage_seconds


def test_reports_share_nothing() -> None:
    one, two = (Report("a", "b", "c", "1", {}, "video") for _ in range(2))
    one.warnings.append("x")
    one.record_frame(0, "y")
    one.add_seconds("z", 1)
    assert (two.warnings, two.passed_through, two.stage_seconds) == ([], [], {})


def test_written_as_json(report: Report, tmp_path: Path) -> None:
    report.video = "Gespräch ü.mp4"
    report.record_frame(0.0, "no face")
    report.record_frame(0.04, None)
    report.shots.append({"first": 0, "last": 1})
    path = tmp_path / "report.json"
    report.write(path)
    text = path.read_text(encoding="utf-8")
    read = json.loads(text)
    assert set(read) == {field.name for field in fields(Report)}
    assert read["video"] == "Gespräch ü.mp4"
    assert "Gespräch" in text
    assert read["passed_through"] == [
        {"first": 0, "last": 0, "start_seconds": 0.0, "end_seconds": 0.0, "reason": "no face"}
    ]
    assert (read["frames"], read["dubbed"], read["shots"]) == (2, 1, [{"first": 0, "last": 1}])


def test_a_report_that_cannot_be_written(report: Report, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing" / "report.json"):
        with pytest.raises(MediaError, match="the report cannot be written") as caught:
            report.write(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)


def test_summary(report: Report) -> None:
    report.frames_per_second = 12.34
    for i in range(5):
        report.record_frame(i / 25, "no face" if i < 2 else None)
    report.warnings.append("the subtitles could not be kept")
    lines = report.summary()
    assert lines[0] == "out.mp4: 5 frames, 3 dubbed, 2 passed through, 12.3 frames/s"
    assert lines[1] == "  0.00 s to 0.04 s passed through: no face"
    assert lines[-1] == "  note: the subtitles could not be kept"
    assert len(lines) == 3


@pytest.mark.parametrize("count, more", [(10, None), (11, 1), (25, 15)])
def test_a_long_summary_is_cut(report: Report, count: int, more: int | None) -> None:
    for i in range(2 * count):
        report.record_frame(i / 25, "no face" if i % 2 else None)
    lines = report.summary()
    assert sum("passed through:" in line for line in lines) == 10
    if more is None:
        assert len(lines) == 11
    else:
        assert lines[-1] == f"  and {more} more stretches; --report lists them"
