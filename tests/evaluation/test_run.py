"""Measuring lists of pairs: from Python and from the command line."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from helpers.plain_video import write_video

from personatalk.cli import main
from personatalk.evaluation import run
from personatalk.evaluation.compare import ComparisonResult
from personatalk.evaluation.pair import Comparison, MetricNetworks
from personatalk.evaluation.tracks import Track
from personatalk.geometry.morphable_model import MorphableModel


@pytest.mark.slow
def test_the_command_measures_and_reports(
    videos: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listing = tmp_path / "pairs.csv"
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    rows = [("reference", "generated"), (videos["same"], videos["blurred"]), (videos["same"], bad)]
    listing.write_text("".join(f"{a},{b}\n" for a, b in rows))
    assert main.main(["evaluate", "--pairs", str(listing), "-o", str(tmp_path / "report")]) == 0
    out = capsys.readouterr().out
    assert "bad.mp4 is not a media file" in out and "| SSIM ↑ |" in out and "LPIPS: needs --lpips" in out
    assert {f.name for f in (tmp_path / "report").iterdir()} == {
        *("table.md", "clips.csv", "report.json", "report.html", "progress.csv")
    }
    assert "generated: 1 of 2 clips, which some system lacks, are not in its means: bad" in out
    with (tmp_path / "report" / "progress.csv").open(newline="") as file:
        assert [(r["row"], r["clip"]) for r in csv.DictReader(file)] == [
            ("generated", "blurred"),
            ("generated", "bad"),
            ("ground truth", "blurred"),
        ]
    assert main.main(["evaluate", "--reference", str(tmp_path), "-o", str(tmp_path / "r")]) == 2
    assert "belong together" in capsys.readouterr().err
    same = ["--generated", str(tmp_path / "a" / "out"), str(tmp_path / "b" / "out")]
    assert main.main(["evaluate", "--reference", str(tmp_path), *same, "-o", str(tmp_path / "r")]) == 2
    assert "a name of its own" in capsys.readouterr().err


@pytest.fixture
def plain(tmp_path: Path, model: MorphableModel) -> Path:
    """A video of two seconds without a face."""
    return write_video(tmp_path / "plain.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 20)


@pytest.mark.slow
def test_pairs_are_measured_from_python(plain: Path, tmp_path: Path, model: MorphableModel) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    table = run.evaluate([(plain, plain), (plain, bad)], row="mine", networks=MetricNetworks(), model=model)
    assert list(table) == ["mine", "ground truth"]
    assert table["mine"]["clips"].mean == 1 and table["mine"]["faces"].mean == 0
    run.evaluate([(plain, plain)], tmp_path / "report", networks=MetricNetworks(), model=model)
    assert (tmp_path / "report" / "table.md").exists() and (tmp_path / "report" / "progress.csv").exists()


@pytest.mark.slow
def test_a_failed_pair_is_told_and_its_reference_is_tracked_once(
    plain: Path, tmp_path: Path, model: MorphableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracked, told = [], []
    track = run.track

    def counted(path: Path, model: MorphableModel) -> Track:
        tracked.append(path)
        return track(path, model)

    monkeypatch.setattr(run, "track", counted)
    gone = Comparison("gone", plain, tmp_path / "gone.mp4")
    rows = {"one": [Comparison("a", plain, plain), gone], "two": [Comparison("a", plain, plain)]}
    results = run.evaluate_rows(
        rows, MetricNetworks(), model, on_failure=lambda job, reason: told.append((job.name, reason))
    )
    assert tracked == [plain]
    assert [name for name, _ in told] == ["gone"] and "gone.mp4" in told[0][1]
    assert "failed" in results["one"][1].notes and not results["one"][1].figures


def test_silent_and_mismatched_dubs_add_their_figures_to_the_first_row(
    plain: Path, model: MorphableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {"own": {"spread": 0.5}, "silent": {"spread": 0.1}, "mismatched": {"leakage": 0.3}}
    monkeypatch.setattr(run, "evaluate_pair", lambda job, *_: ComparisonResult(job, figures[job.generated.name]))
    rows, silent, mismatched = ({kind: [Comparison("a", plain, Path(kind))]} for kind in figures)
    results = run.evaluate_rows({"PersonaTalk": rows["own"]}, MetricNetworks(), model, beside={**silent, **mismatched})
    assert list(results) == ["PersonaTalk", "ground truth"]
    assert results["PersonaTalk"][0].figures == {"spread": 0.5, "silent_dub": 0.2, "leakage": 0.3}
