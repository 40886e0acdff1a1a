"""The report: means, intervals, missing columns, and a page without foreign markup."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from personatalk.evaluation import report
from personatalk.evaluation.compare import ComparisonResult
from personatalk.evaluation.pair import Comparison


def a_result(name: str, **figures: float) -> ComparisonResult:
    return ComparisonResult(Comparison(name, Path("r"), Path("g")), figures)


def test_the_table_has_means_intervals_and_what_is_missing(tmp_path: Path) -> None:
    results = [a_result(str(i), psnr=30.0 + i, ssim=0.9, lmd=math.nan if i else 2.0) for i in range(5)]
    rows = report.write_report(
        tmp_path / "out", {"ours": results, report.GROUND_TRUTH: [a_result("t", psnr=math.inf, ssim=1.0)]}
    )
    cell = rows["ours"]["psnr"]
    assert cell.mean == 32 and 30 < cell.low < 32 < cell.high < 34
    assert rows["ours"]["lmd"].count == 1
    text = (tmp_path / "out" / "table.md").read_text()
    assert "| PSNR ↑ | 32.00 [" in text and "| - |" in text
    assert "SyncScore: needs --syncnet" in text
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["table"]["ground truth"]["psnr"]["mean"] is None
    assert content["clips"]["ours"][1]["lmd"] is None
    with (tmp_path / "out" / "clips.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["psnr"] for line in lines[:2]] == ["30.0", "31.0"]
    assert lines[1]["lmd"] == ""


def test_means_are_over_the_clips_that_every_system_has() -> None:
    def of(name: str, **figures: float) -> ComparisonResult:
        return ComparisonResult(Comparison(name, Path(name), Path("g")), figures)

    sets = {
        "good": [of("a", psnr=30.0), of("b", psnr=20.0)],
        "fails": [of("a", psnr=28.0), of("b")],
        "never ran": [of("a"), of("b")],
    }
    sets[report.GROUND_TRUTH] = [of("a", psnr=math.inf), of("b", psnr=math.inf)]
    assert {row: len(kept) for row, kept in report.comparable(sets).items()} == dict.fromkeys(sets, 1)
    lines = report.left_out(sets)
    assert [line.split(":")[0] for line in lines] == list(sets)
    assert lines[0].endswith("1 of 2 clips, which some system lacks, are not in its means: b")
    assert report.comparable({"x": [of("a")]}) == {"x": []}


def test_fid_is_of_all_clips_together() -> None:
    random = np.random.default_rng(0)
    results = []
    for _ in range(4):
        result = a_result("x")
        reference, generated = (random.standard_normal((200, 2)) for _ in range(2))
        results.append(replace(result, features={"fid": (reference, generated + np.array([2.0, 0]))}))
    cell = report.summary(results)["fid"]
    assert cell.mean == pytest.approx(4, rel=0.15)
    assert cell.count == 4 and math.isnan(cell.low)


@pytest.mark.slow
def test_the_page_shows_curves_and_worst_frames_and_no_markup_of_names(found: dict[str, ComparisonResult]) -> None:
    odd = ComparisonResult(Comparison("<script>x</script>", Path("r"), Path("g")), {"psnr": 30.0}, {"lmd": "<b>"})
    page = report.page({"ours": [found["late"], odd]}, report.format_table({"ours": report.summary([odd])}), ["a & b"])
    assert page.count("<svg") == 1 and page.count("data:image/jpeg") == 3
    assert "<script>" not in page and "<b>" not in page and "a &amp; b" in page
