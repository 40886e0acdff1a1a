"""Curves of a dub for people: how far the mouth opens, before and after, and how loud the speech is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..audio.rates import SAMPLE_RATE
from ..geometry.camera import project
from ..geometry.morphable_model import MorphableModel
from ..media.audio import mono_blocks
from ..utils.arrays import Array
from .casting import DubPlan

# Most points of a curve; a long video is sampled.
POINTS = 3000

# Seconds over which the loudness is averaged, and what is called silence, in dB of full scale.
WINDOW, SILENCE = 0.04, -80.0


@dataclass
class DubCurves:
    """Curves of a dub, one value for each of some output frames; None where there is none.

    Attributes:
        time: Seconds.
        source: Opening of the source's mouth, as share of the distance between the outer eye corners.
        dubbed: Opening of the new mouth likewise, as stage 1 asks for it.
        loudness: Root mean square of the speech in dB of full scale.
        mouth: Middle of the mouth, as shares of the upright image's width and height.
        eyes: Distance between the outer eye corners, as share of the image's width.
    """

    time: list[float] = field(default_factory=list)
    source: list[float | None] = field(default_factory=list)
    dubbed: list[float | None] = field(default_factory=list)
    loudness: list[float] = field(default_factory=list)
    mouth: list[tuple[float, float] | None] = field(default_factory=list)
    eyes: list[float | None] = field(default_factory=list)


def dub_curves(model: MorphableModel, plan: DubPlan) -> DubCurves:
    """Return the curves of a dub with one speaker.

    Args:
        model: The morphable model.
        plan: The plan of the output.

    Raises:
        MediaError: The speech cannot be read.
    """
    curves, timeline, speaker = DubCurves(), plan.timeline, plan.speakers[0]
    analysis = speaker.analysis
    loudness = _loudness(plan.audio)
    width, height = analysis.info.upright_size
    for place in range(0, len(timeline), -(-len(timeline) // POINTS)):
        frame, time = int(timeline.source_index[place]), float(timeline.time[place])
        curves.time.append(round(time, 3))
        window = int(time / WINDOW)
        curves.loudness.append(round(float(loudness[window]), 1) if window < len(loudness) else SILENCE)
        if not analysis.usable[frame]:
            for missing in (curves.source, curves.dubbed, curves.mouth, curves.eyes):
                missing.append(None)
            continue
        source = analysis.vertices(model, frame)
        x, y = project(source[model.inner_lips[0]], analysis.pose[frame])[:, :2].mean(axis=0)
        curves.source.append(_opening(model, source))
        curves.mouth.append((round(float(x) / width, 4), round(float(y) / height, 4)))
        curves.eyes.append(round(float(np.exp(analysis.pose[frame][3])) / width, 4))
        new = speaker.vertices(model, frame, time)
        curves.dubbed.append(_opening(model, new) if speaker.dubbed[place] else None)
    return curves


def _opening(model: MorphableModel, vertices: Array) -> float:
    return round(float(model.mouth_opening(vertices)), 4)


def _loudness(speech: Path) -> Array:
    """Return the loudness of each window of a speech in dB, (N,); the samples stream by."""
    size = round(WINDOW * SAMPLE_RATE)
    rest, found = np.zeros(0, np.float32), [np.zeros(0, np.float32)]
    for block in mono_blocks(speech, SAMPLE_RATE):
        samples = np.concatenate([rest, block])
        whole = len(samples) // size * size
        power = np.square(samples[:whole].reshape(-1, size)).mean(axis=1)
        found.append((10 * np.log10(np.maximum(power, 10 ** (SILENCE / 10)))).astype(np.float32))
        rest = samples[whole:]
    return np.concatenate(found)
