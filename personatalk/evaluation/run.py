"""Measures lists of pairs and writes their report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import PersonaTalkError
from ..geometry.morphable_model import MorphableModel
from ..pipeline.sync import SyncMeter
from ..stage1.runtime import GeometryRuntime
from ..stage1.style_similarity import StyleSimilarityEncoder
from . import report
from .catalogue import METRICS
from .compare import ComparisonResult, evaluate_pair, ground_truth
from .pair import Comparison, MetricNetworks
from .report import GROUND_TRUTH, Table
from .tracks import Track, track

Rows = dict[str, list[Comparison]]
Results = dict[str, list[ComparisonResult]]


def evaluate(
    pairs: Iterable[Comparison | tuple[Path | str, Path | str]],
    output: Path | str | None = None,
    *,
    row: str = "generated",
    networks: MetricNetworks | None = None,
    model: MorphableModel | None = None,
) -> Table:
    """Measure generated videos against their references.

    Args:
        pairs: Reference and generated video of each pair.
        output: Folder of the report; None writes none.
        row: Name of the table's row, such as that of the system that made the videos.
        networks: The networks that metrics need; the package's style encoder and meter of sync where None.
        model: The morphable model; that of the package where None.

    Returns:
        The table: for the row and for "ground truth", each metric's mean and 95 % interval by the metric's name.
        A pair that cannot be measured is left out; the report has the reason.

    Raises:
        PersonaTalkError: Weights cannot be read.
    """
    rows = {row: [_comparison(pair) for pair in pairs]}
    model = model or MorphableModel.load()
    networks = networks or MetricNetworks(
        style=StyleSimilarityEncoder.load(), hearing=SyncMeter(GeometryRuntime(), model)
    )
    folder = None if output is None else Path(output)
    results = evaluate_rows(rows, networks, model, folder)
    return report.table_of(results) if folder is None else report.write_report(folder, results)


def _comparison(pair: Comparison | tuple[Path | str, Path | str]) -> Comparison:
    """Name a pair of files after the generated one."""
    if isinstance(pair, Comparison):
        return pair
    reference, generated = map(Path, pair)
    return Comparison(generated.stem, reference, generated)


def evaluate_rows(
    rows: Rows,
    networks: MetricNetworks,
    model: MorphableModel,
    output: Path | None = None,
    beside: Rows | None = None,
    on_failure: Callable[[Comparison, str], None] | None = None,
) -> Results:
    """Measure several systems, each reference tracked once.

    Args:
        rows: Pairs by row of the table.
        networks: The networks that are there.
        model: The morphable model.
        output: Folder for `progress.csv`, which has the figures of each pair as they come; None writes none.
        beside: Dubs of the first row's clips with other speech, by kind, which add figures to that row.
        on_failure: Called with each pair that cannot be measured and the reason; the others are still measured.

    Returns:
        Results by row, with those of the references themselves as "ground truth".
    """
    beside = beside or {}
    everything = {**rows, **beside}
    results: Results = {name: [] for name in [*everything, GROUND_TRUTH]}
    with contextlib.ExitStack() as stack:
        progress = None if output is None else stack.enter_context(report.ProgressFile(output / "progress.csv"))
        for path in dict.fromkeys(job.reference for jobs in everything.values() for job in jobs):
            reference = _tracked(path, model)
            pairs = [(row, job) for row, jobs in everything.items() for job in jobs if job.reference == path]
            work = [(row, job, evaluate_pair) for row, job in pairs]
            own = [job for row, job in pairs if row in rows and not job.mismatched]
            work += [(GROUND_TRUTH, job, ground_truth) for job in own[:1]]
            for row, job, measure in work:
                result = _measured(measure, job, networks, model, reference)
                results[row].append(result)
                if progress is not None:
                    progress.add(row, result)
                if on_failure is not None and "failed" in result.notes:
                    on_failure(job, result.notes["failed"])
    for kind in beside:
        first = next(iter(rows))
        results[first] = _combined(results[first], kind, results.pop(kind))
    return results


def _measured(
    measure: Callable[[Comparison, MetricNetworks, MorphableModel, Track], ComparisonResult],
    job: Comparison,
    networks: MetricNetworks,
    model: MorphableModel,
    reference: Track | PersonaTalkError,
) -> ComparisonResult:
    """Measure a pair; one that cannot be measured has the note "failed" and no figures."""
    try:
        if isinstance(reference, PersonaTalkError):
            raise reference
        return measure(job, networks, model, reference)
    except PersonaTalkError as error:
        return ComparisonResult(job, notes={"failed": str(error)})


def _tracked(path: Path, model: MorphableModel) -> Track | PersonaTalkError:
    """Return a reference's track, or the reason why there is none, with which each of its pairs fails."""
    try:
        return track(path, model)
    except PersonaTalkError as error:
        return error


def _combined(own: Sequence[ComparisonResult], kind: str, others: Sequence[ComparisonResult]) -> list[ComparisonResult]:
    """Add the figures that another dub of the same clip gives, such as one with silence."""
    figures = {other.job.name: other.figures for other in others}
    combined = []
    for result in own:
        added = {}
        for metric in METRICS:
            if metric.combine is not None and metric.combine[0] == kind:
                with contextlib.suppress(KeyError):  # a figure that could not be measured
                    added[metric.name] = metric.combine[1](result.figures, figures[result.job.name])
        combined.append(replace(result, figures={**result.figures, **added}))
    return combined
