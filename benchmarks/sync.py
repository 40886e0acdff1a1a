"""Does the meter of sync tell known shifts? Audio is shifted against the image, and the offset's change is measured.

    python benchmarks/sync.py CLIP ... [--shortest 5] [--shifts -300 -130 50 200]

The error of a shift is the offset with it, less the clip's own offset, less the shift.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from personatalk import Models
from personatalk.audio.rates import SAMPLE_RATE
from personatalk.errors import PersonaTalkError
from personatalk.faces.analysis import Analysis, analyse
from personatalk.faces.selection import FaceSearch
from personatalk.media.audio import read_speech
from personatalk.media.reader import VideoReader
from personatalk.pipeline.sync import SyncMeter


def analysed(clip: Path, models: Models) -> Analysis:
    """Return the largest face of a clip."""
    with VideoReader(clip) as reader, FaceSearch().open(reader, models.morphable) as (tracker, follower):
        return analyse(reader, tracker, models.morphable, None, models.initialise, follower)


def shifted(samples: np.ndarray, seconds: float) -> np.ndarray:
    """Return audio that comes some seconds earlier, so that the image is late by as much."""
    count = round(seconds * SAMPLE_RATE)
    return samples[count:] if count >= 0 else np.pad(samples, (-count, 0))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--shortest", type=float, default=5.0, help="seconds of the shortest clip that counts")
    parser.add_argument("--shifts", type=float, nargs="+", default=[-300, -130, 50, 200], help="milliseconds")
    given = parser.parse_args()
    models = Models.load()
    meter, errors = SyncMeter(models.stage1, models.morphable), []
    for clip in given.clips:
        try:
            analysis, samples = analysed(clip, models), read_speech(clip, SAMPLE_RATE)
            own = meter.measure(analysis, samples)
        except PersonaTalkError as error:
            print(f"left out: {error}", flush=True)
            continue
        if own.seconds < given.shortest:
            continue
        found = [meter.measure(analysis, shifted(samples, s / 1000)).offset_seconds for s in given.shifts]
        errors.append([1000 * (f - own.offset_seconds) - s for f, s in zip(found, given.shifts, strict=True)])
        print(
            f"{clip.name}: own offset {1000 * own.offset_seconds:.0f} ms (r {own.r:.2f}, confidence"
            f" {own.confidence:.1f}), errors {np.round(errors[-1], 1).tolist()} ms",
            flush=True,
        )
    worst = np.abs(errors)
    print(
        f"{len(errors)} clips, {worst.size} shifts: median {np.median(worst):.1f} ms, 95 % below"
        f" {np.quantile(worst, 0.95):.1f} ms, largest {worst.max():.1f} ms; below 20 ms {(worst < 20).mean():.0%}"
    )


if __name__ == "__main__":
    main()
