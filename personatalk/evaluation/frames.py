"""Compares two videos frame by frame: one pass over both, of which only a few of the worst frames are kept."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from ..errors import FaceError
from ..media.reader import VideoReader
from ..utils.arrays import Array, Image
from . import metrics
from .catalogue import METRICS, Metric
from .networks import FeatureNetwork
from .pair import FramePair, MetricNetworks, Pair
from .tracks import AlignedVideo, landmark_box

# Number of worst frames that are kept.
WORST = 3
# Least distance in frames between two of them: neighbours look alike.
APART = 10
# Height in pixels at which they are kept.
KEPT_HEIGHT = 220


@dataclass(frozen=True)
class WorstFrame:
    """A frame of both videos that differs much.

    Attributes:
        number: Number of the frame in the reference.
        psnr: PSNR of the face box in dB.
        reference: Face box of the reference, 220 pixels high.
        generated: Face box of the generated video.
    """

    number: int
    psnr: float
    reference: Image
    generated: Image


@dataclass(frozen=True)
class FrameFigures:
    """Figures of the pixels.

    Attributes:
        means: Mean of each metric of single frames, by name.
        features: Features of both videos' faces by pooled metric: (reference, generated), each (N, D).
        worst: Frames with the lowest PSNR, the worst first.
    """

    means: dict[str, float] = field(default_factory=dict)
    features: dict[str, tuple[Array, Array]] = field(default_factory=dict)
    worst: list[WorstFrame] = field(default_factory=list)


def compare_frames(pair: Pair) -> FrameFigures:
    """Measure the pixels of a pair; frames are paired by time, and the lag stays in.

    Raises:
        FaceError: The reference shows no face, or the generated video not all of it.
        MediaError: A file cannot be read.
    """
    applying = [metric for metric in METRICS if metric.applies(pair)]
    values: dict[str, list[float]] = {metric.name: [] for metric in applying if metric.frame is not None}
    pools = {metric.name: _Pool(metric, pair.networks) for metric in applying if metric.pooled}
    worst: list[WorstFrame] = []
    for number, frame in _frame_pairs(pair):
        for metric in applying:
            if metric.frame is not None and number % metric.every == 0:
                value = metric.frame(frame, pair.networks)
                values[metric.name] += [] if value is None else [value]
        for pool in pools.values():
            pool.add(number, frame)
        if not pair.job.mismatched:
            worst = _keep_worst(worst, number, frame)
    return FrameFigures(
        {name: float(np.mean(found)) for name, found in values.items() if found},
        {name: pool.features() for name, pool in pools.items() if pool.samples},
        worst,
    )


def _frame_pairs(pair: Pair) -> Iterator[tuple[int, FramePair]]:
    """Yield the number of each reference frame to which there is a generated one, and both."""
    reference, generated = pair.reference, pair.generated
    rows, columns = landmark_box(reference)
    aligned = AlignedVideo(reference, generated)
    if not aligned.covered[rows, columns].all():
        raise FaceError(f"{generated.path}: does not show all of the reference's face")
    outside = aligned.covered.copy()
    outside[rows, columns] = False
    with VideoReader(reference.path) as reader, VideoReader(generated.path) as other_reader:
        others, place, other = other_reader.frames(), -1, None
        for number, frame in enumerate(reader.frames()):
            wanted = int(pair.shown[number]) if number < len(pair.shown) else -1
            while place < wanted and (other := next(others, None)) is not None:
                place += 1
            if wanted < 0 or other is None:
                continue
            images = frame.rgb(), aligned.image(other.rgb())
            landmarks = reference.landmarks[number], aligned.landmarks(generated.landmarks[wanted])
            boxes = images[0][rows, columns], images[1][rows, columns]
            yield number, FramePair(images, landmarks, boxes, outside)


def _keep_worst(worst: list[WorstFrame], number: int, frame: FramePair) -> list[WorstFrame]:
    """Return the worst frames so far; of neighbours, the worst alone is kept."""
    psnr = metrics.psnr(*frame.boxes)
    if len(worst) == WORST and psnr >= max(kept.psnr for kept in worst):
        return worst
    candidates = [*worst, WorstFrame(number, psnr, *map(_small, frame.boxes))]
    close = [kept for kept in candidates if abs(kept.number - number) < APART]
    candidates = [kept for kept in candidates if abs(kept.number - number) >= APART] + [
        min(close, key=lambda kept: kept.psnr)
    ]
    return heapq.nsmallest(WORST, candidates, key=lambda kept: kept.psnr)


def _small(image: Image) -> Image:
    width = max(1, round(image.shape[1] * KEPT_HEIGHT / image.shape[0]))
    return cv2.resize(image, (width, KEPT_HEIGHT), interpolation=cv2.INTER_AREA)


class _Pool:
    """Collects a network's features of both videos' face boxes."""

    def __init__(self, metric: Metric, networks: MetricNetworks) -> None:
        self.network: FeatureNetwork = getattr(networks, metric.network)
        self.every = metric.every
        self.samples: list[tuple[Array, Array]] = []
        self._waiting: list[tuple[Image, Image]] = []

    def add(self, number: int, frame: FramePair) -> None:
        """Add a frame; the network runs when it has as many as it takes."""
        if number % self.every:
            return
        self._waiting.append((self.network.prepare(frame.boxes[0]), self.network.prepare(frame.boxes[1])))
        if len(self._waiting) == self.network.FRAMES:
            reference, generated = (self.network.features(list(side)) for side in zip(*self._waiting, strict=True))
            self.samples.append((reference.astype(np.float32), generated.astype(np.float32)))
            self._waiting = []

    def features(self) -> tuple[Array, Array]:
        """Return the features of both videos, (N, D) each."""
        reference, generated = zip(*self.samples, strict=True)
        return np.concatenate(reference), np.concatenate(generated)
