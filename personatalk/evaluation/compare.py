"""Measures one generated video against its reference."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..errors import PersonaTalkError
from ..geometry.morphable_model import MorphableModel
from ..utils.arrays import Array
from . import metrics
from .catalogue import METRICS
from .frames import FrameFigures, WorstFrame, compare_frames
from .metrics import Series
from .pair import Comparison, MetricNetworks, Pair
from .tracks import Track, track


@dataclass(frozen=True)
class ComparisonResult:
    """Figures of one pair.

    Attributes:
        job: The comparison.
        figures: Values by the metric's name; those that could not be measured are missing.
        notes: Reasons why figures are missing, by metric; "images" for those of the pixels, "failed" for all.
        reference_opening: Mouth opening of the reference, (T,).
        generated_opening: Mouth opening of the generated video at the same times, (T,).
        worst: Frames with the lowest PSNR, the worst first.
        features: Features of both videos' faces by pooled metric: (reference, generated), each (N, D).
    """

    job: Comparison
    figures: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    reference_opening: Series = field(default_factory=lambda: np.zeros(0))
    generated_opening: Series = field(default_factory=lambda: np.zeros(0))
    worst: list[WorstFrame] = field(default_factory=list)
    features: dict[str, tuple[Array, Array]] = field(default_factory=dict)


def evaluate_pair(
    job: Comparison, networks: MetricNetworks, model: MorphableModel, reference: Track | None = None
) -> ComparisonResult:
    """Measure all figures of one pair.

    What cannot be measured is a note on its own figures, and the others still come.

    Args:
        job: The videos to compare.
        networks: The networks that are there.
        model: The morphable model that expressions are fitted in.
        reference: The reference's track, where it is known already.

    Raises:
        MediaError: A file cannot be read.
    """
    pair = Pair(job, networks, reference or track(job.reference, model), track(job.generated, model))
    figures, notes = dict[str, float](), _pairing_note(pair)
    for metric in METRICS:
        if metric.pair is None or not metric.applies(pair):
            continue
        try:
            value = metric.pair(pair)
        except PersonaTalkError as error:
            notes[metric.name] = str(error)
        else:
            figures |= {} if value is None else {metric.name: value}
    try:
        frames = compare_frames(pair)
    except PersonaTalkError as error:
        notes["images"], frames = str(error), FrameFigures()
    return ComparisonResult(job, figures | frames.means, notes, *pair.openings, frames.worst, frames.features)


def _pairing_note(pair: Pair) -> dict[str, str]:
    """Return a note where the frames are not paired one by one."""
    shown, count = pair.shown, len(pair.generated.times)
    if len(shown) == count and (shown == np.arange(count)).all():
        return {}
    kept = int((shown >= 0).sum())
    return {"frames": f"paired by time: {len(shown)} against {count} frames, {kept} compared"}


def ground_truth(
    job: Comparison, networks: MetricNetworks, model: MorphableModel, reference: Track | None = None
) -> ComparisonResult:
    """Measure the reference against itself: the best values possible.

    CSIM and StyleSim compare its first half with its second, as a copy would be 1 by definition.

    Args:
        job: The comparison of which the reference is taken.
        networks: The networks that are there.
        model: The morphable model that expressions are fitted in.
        reference: The reference's track, where it is known already.

    Raises:
        MediaError: The file cannot be read.
    """
    reference = reference or track(job.reference, model)
    job = Comparison(job.name, job.reference, job.reference, job.text)
    pair = Pair(job, networks, reference, reference)
    figures, notes = dict[str, float](), dict[str, str]()
    for metric in METRICS:
        if metric.truth is None or (callable(metric.truth) and not metric.applies(pair)):
            continue
        try:
            value = metric.truth(pair) if callable(metric.truth) else metric.truth
        except PersonaTalkError as error:
            notes[metric.name] = str(error)
        else:
            figures |= {} if value is None else {metric.name: value}
    opening = metrics.opening(reference.landmarks)
    return ComparisonResult(job, figures, notes, opening, opening)
