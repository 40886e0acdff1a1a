"""Tables of figures with confidence intervals, as text, CSV, JSON and one HTML page with curves and worst frames."""

from __future__ import annotations

import base64
import csv
import html
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..utils.arrays import Array
from . import metrics
from .catalogue import METRICS, Metric
from .compare import ComparisonResult
from .frames import WorstFrame
from .metrics import Series

# The first column: how many clips were measured.
CLIPS = Metric("clips", "clips measured", digits=0)
TABLE_COLUMNS = (CLIPS, *(metric for metric in METRICS if metric.in_table))
# Metrics of single clips: the columns of the CSV files.
CLIP_METRICS = tuple(metric for metric in METRICS if not metric.pooled)
TABLE_HEADER = ["row", "clip", *(metric.name for metric in CLIP_METRICS), "notes"]
# Name of the row of the references themselves.
GROUND_TRUTH = "ground truth"
# Style sheet of the page.
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1c1c1c;background:#fff}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}h2{margin-top:2.2rem;font-size:1.1rem}svg{width:100%;height:auto;background:#f7f7f7}
figure{display:inline-block;margin:.4rem .8rem .4rem 0}figcaption{font-size:.85rem;color:#555}.note{color:#8a4b00}
"""


@dataclass(frozen=True)
class Cell:
    """A figure over all clips: its mean, the bounds of its 95 % interval, and the number of clips."""

    mean: float
    low: float
    high: float
    count: int


# Cells by row and metric.
Table = dict[str, dict[str, Cell]]


def comparable(sets: dict[str, list[ComparisonResult]]) -> dict[str, list[ComparisonResult]]:
    """Return the results of the clips that every system could measure, over which means are comparable.

    Systems that measured nothing do not count. The ground truth has the references of those.
    """
    systems = [results for row, results in sets.items() if row != GROUND_TRUTH]
    measured = [{r.job.name for r in results if r.figures} for results in systems]
    names = set.intersection(*(known for known in measured if known)) if any(measured) else set()
    references = {r.job.reference for results in systems for r in results if r.job.name in names}
    return {
        row: [r for r in results if (r.job.reference in references if row == GROUND_TRUTH else r.job.name in names)]
        for row, results in sets.items()
    }


def left_out(sets: dict[str, list[ComparisonResult]]) -> list[str]:
    """Return one line for every row whose means leave out clips, as some system could not measure them."""
    kept, lines = comparable(sets), []
    for row, results in sets.items():
        lost = [r.job.name for r in results if r not in kept[row]]
        if lost:
            lines.append(f"{row}: {len(lost)} of {len(results)} clips, which some system lacks, are not in its means:")
            lines[-1] += f" {_listed(lost)}"
    return lines


def _listed(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (" ..." if len(names) > most else "")


def summary(results: Sequence[ComparisonResult]) -> dict[str, Cell]:
    """Return every metric over the clips; those that no clip has are left out."""
    cells = {"clips": Cell(sum(bool(r.figures) for r in results), math.nan, math.nan, len(results))}
    for column in TABLE_COLUMNS[1:]:
        features = [r.features[column.name] for r in results if column.name in r.features]
        if features:
            cells[column.name] = _distance(features)
            continue
        values = np.array([r.figures[column.name] for r in results if column.name in r.figures], np.float64)
        known = values[~np.isnan(values)]
        if len(known):
            low, high = metrics.bootstrap(known) if np.isfinite(known).all() else (math.nan, math.nan)
            cells[column.name] = Cell(float(known.mean()), low, high, len(known))
    return cells


def _distance(features: Sequence[tuple[Array, Array]]) -> Cell:
    """Return the Fréchet distance of all clips together. Drawing clips twice would inflate it: there is no interval."""
    reference, generated = (np.concatenate(side) for side in zip(*features, strict=True))
    return Cell(metrics.frechet(reference, generated), math.nan, math.nan, len(features))


def number(value: float, digits: int) -> str:
    """Format a figure for people; "-" where there is none."""
    return "-" if not math.isfinite(value) else f"{value:.{digits}f}"


def table_of(results: dict[str, list[ComparisonResult]]) -> Table:
    """Return the table of results by row, over the clips that every system could measure."""
    return {row: summary(kept) for row, kept in comparable(results).items()}


def format_table(rows: Table) -> list[list[str]]:
    """Return the table as words: a header, then a line for every row; the interval in brackets."""
    columns = [c for c in TABLE_COLUMNS if c.name in _measured(rows)]
    lines = [["", *(c.title + {"higher": " ↑", "lower": " ↓"}.get(c.better, "") for c in columns)]]
    for name, cells in rows.items():
        words = [name]
        for column in columns:
            cell = cells.get(column.name)
            text = "-" if cell is None else number(cell.mean, column.digits)
            if cell is not None and math.isfinite(cell.low) and cell.high > cell.low:
                text += f" [{number(cell.low, column.digits)}, {number(cell.high, column.digits)}]"
            words.append(text)
        lines.append(words)
    return lines


def missing(rows: Table) -> list[str]:
    """Return one line for every column that no row has, saying what it needs."""
    found = _measured(rows)
    return [f"{c.title}: needs {c.needs}" for c in TABLE_COLUMNS if c.needs and c.name not in found]


def _measured(rows: Table) -> set[str]:
    """Return the names of the figures that were measured: the ground truth has some by definition."""
    systems = {name: cells for name, cells in rows.items() if name != GROUND_TRUTH} or rows
    return {name for cells in systems.values() for name in cells}


def markdown(lines: list[list[str]]) -> str:
    """Return a table of words in Markdown, one figure a line, as there are many of them."""
    turned = [list(column) for column in zip(*lines, strict=True)]
    head = "| " + " | ".join(turned[0]) + " |\n|" + "---|" * len(turned[0])
    return "\n".join([head, *("| " + " | ".join(words) + " |" for words in turned[1:])])


def write_report(folder: Path, sets: dict[str, list[ComparisonResult]]) -> Table:
    """Write `table.md`, `clips.csv`, `report.json` and `report.html`.

    Args:
        folder: Folder of the report; made if it is not there.
        sets: Results by row of the table, such as a system's name or "ground truth".

    Returns:
        The table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = table_of(sets)
    lines, notes = format_table(rows), [*missing(rows), *left_out(sets)]
    (folder / "table.md").write_text(markdown(lines) + "\n" + "".join(f"\n{line}" for line in notes) + "\n")
    _write_csv(folder / "clips.csv", sets)
    content = {name: {k: vars(cell) for k, cell in cells.items()} for name, cells in rows.items()}
    clips = {name: [{"clip": r.job.name, **r.figures, "notes": r.notes} for r in rs] for name, rs in sets.items()}
    (folder / "report.json").write_text(json.dumps(_plain({"table": content, "clips": clips}), indent=1))
    (folder / "report.html").write_text(page(sets, lines, notes), encoding="utf8")
    return rows


def _plain(value: object) -> object:
    """Return a value for JSON, which has no NaN and no infinity."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _line(row: str, result: ComparisonResult) -> list[object]:
    figures = [result.figures.get(metric.name, math.nan) for metric in CLIP_METRICS]
    values = ["" if math.isnan(figure) else figure for figure in figures]
    return [row, result.job.name, *values, "; ".join(f"{name}: {note}" for name, note in result.notes.items())]


def _write_csv(path: Path, sets: dict[str, list[ComparisonResult]]) -> None:
    with path.open("w", newline="", encoding="utf8") as file:
        writer = csv.writer(file)
        writer.writerow(TABLE_HEADER)
        writer.writerows(_line(row, result) for row, results in sets.items() for result in results)


class ProgressFile:
    """CSV file of the figures of each pair as they come, for a run that is watched or cut off.

    Args:
        path: CSV file to write; one that is there is replaced.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", newline="", encoding="utf8")
        self._writer = csv.writer(self._file)
        self._writer.writerow(TABLE_HEADER)

    def __enter__(self) -> ProgressFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, row: str, result: ComparisonResult) -> None:
        """Write a pair's line."""
        self._writer.writerow(_line(row, result))
        self._file.flush()


def page(sets: dict[str, list[ComparisonResult]], lines: list[list[str]], lacking: list[str]) -> str:
    """Return the report as one HTML page that needs no network."""
    parts = ["<!doctype html><html lang=en><meta charset=utf-8><title>PersonaTalk: evaluation</title>"]
    parts.append(f"<style>{STYLE}</style><h1>Evaluation</h1>{_html_table(lines)}")
    parts.append("<p>Mean over clips, in brackets the 95 % interval (percentile bootstrap over clips).</p>")
    parts += [f"<p class=note>{html.escape(line)}</p>" for line in lacking]
    for row, results in sets.items():
        for result in results:
            parts.append(f"<h2>{html.escape(row)}: {html.escape(result.job.name)}</h2>")
            parts += [f"<p class=note>{html.escape(k)}: {html.escape(v)}</p>" for k, v in result.notes.items()]
            parts.append(_facts(result))
            if len(result.reference_opening) > 1 and row != GROUND_TRUTH:
                parts.append(curve(result.reference_opening, result.generated_opening))
            parts += [_figure(frame) for frame in result.worst]
    return "\n".join(parts) + "</html>\n"


def _html_table(lines: list[list[str]]) -> str:
    turned = [list(column) for column in zip(*lines, strict=True)]
    head = "".join(f"<th>{html.escape(word)}</th>" for word in turned[0])
    rows = ["".join(f"<td>{html.escape(word)}</td>" for word in words) for words in turned[1:]]
    return f"<table><tr>{head}</tr>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


def _facts(result: ComparisonResult) -> str:
    known = [(c, result.figures[c.name]) for c in TABLE_COLUMNS if c.name in result.figures]
    return "<p>" + " · ".join(f"{html.escape(c.title)} {number(v, c.digits)}" for c, v in known) + "</p>"


def curve(reference: Series, generated: Series, width: int = 900, height: int = 130) -> str:
    """Draw mouth openings over time as an SVG: reference in grey, generated in colour; gaps where there is no face."""
    top = max(1e-6, float(np.nanmax([*reference, *generated, 1e-6])))
    longest = max(len(reference), len(generated), 2)

    def path(series: Series) -> str:
        words, pen = [], "M"
        for place, value in enumerate(series):
            if math.isnan(value):
                pen = "M"
                continue
            x, y = place * width / (longest - 1), height - 6 - value / top * (height - 12)
            words.append(f"{pen}{x:.1f} {y:.1f}")
            pen = "L"
        return "".join(words)

    lines = ((reference, "#9a9a9a"), (generated, "#0b62c4"))
    drawn = "".join(f'<path d="{path(s)}" fill="none" stroke="{c}" stroke-width="1.6"/>' for s, c in lines)
    caption = "<figcaption>Mouth opening: reference in grey, generated in blue</figcaption>"
    return f'<svg viewBox="0 0 {width} {height}" role="img">{drawn}</svg>{caption}'


def _figure(frame: WorstFrame) -> str:
    images = np.hstack([frame.reference, frame.generated])
    _, data = cv2.imencode(".jpg", images[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    source = base64.b64encode(data.tobytes()).decode()
    caption = f"frame {frame.number}: reference, generated (PSNR {frame.psnr:.1f})"
    return f'<figure><img src="data:image/jpeg;base64,{source}" alt=""><figcaption>{caption}</figcaption></figure>'
