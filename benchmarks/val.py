"""Dubs a folder of clips and measures what the path may not break, and how good the mouth is.

    python benchmarks/val.py CLIPS -o RESULTS [--speech FILE ...] [--quality quality.py]

Every clip is dubbed with its own sound and with each of the given speeches. For every result: frame count and
timestamps against the source's, and PSNR of all pixels outside the mask after the encode. With `--quality` the
self-dubbed results are also held against their sources by that script, and its table is averaged.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from personatalk import Models
from personatalk.media.reader import VideoReader
from personatalk.pipeline import dub, rendering
from personatalk.training.data.layouts import find_videos

MASKS: dict[int, np.ndarray] = {}
"""Where pixels may have changed, by output frame of the run in progress: bool, packed to bits."""


@dataclass(frozen=True)
class Row:
    """One dubbed clip."""

    clip: str
    speech: str
    frames: int
    source_frames: int
    same_times: bool
    dubbed: int
    psnr_outside: float
    worst_outside: float
    fps: float


def watch_masks() -> None:
    """Make the pipeline leave the mask of every frame here."""
    compose = rendering.Dubbing._composed

    def watched(self: rendering.Dubbing, waiting: rendering._Waiting, rendered: np.ndarray, mask: np.ndarray) -> object:
        width, height = self.reader.info.upright_size
        patch = rendering.to_picture(rendered, mask, waiting.transform, width, height)
        touched = np.zeros((height, width), bool)
        if patch is not None:
            h, w = patch.mask.shape
            # Chroma is coarser than luma: the neighbours of a changed pixel share its colour.
            grown = np.pad(patch.mask > 0, 2)
            grown = grown | np.roll(grown, 2, 0) | np.roll(grown, -2, 0)
            grown = (grown | np.roll(grown, 2, 1) | np.roll(grown, -2, 1))[2:-2, 2:-2]
            touched[patch.top : patch.top + h, patch.left : patch.left + w] = grown
        MASKS[self.report.frames - 1] = np.packbits(touched)
        return compose(self, waiting, rendered, mask)

    rendering.Dubbing._composed = watched  # type: ignore[method-assign,assignment]


def measure(source: Path, result: Path) -> tuple[int, int, bool, float, float]:
    """Frames of both, whether their times agree, and mean and worst PSNR outside the masks."""
    times: tuple[list[float], list[float]] = ([], [])
    values = []
    with VideoReader(source) as a, VideoReader(result) as b:
        width, height = a.info.upright_size
        for number, (old, new) in enumerate(zip(a.frames(), b.frames(), strict=False)):
            times[0].append(old.pts * float(a.info.time_base))
            times[1].append(new.pts * float(b.info.time_base))
            keep = np.ones(width * height, bool)
            if number in MASKS:
                keep = ~np.unpackbits(MASKS[number], count=width * height).astype(bool)
            keep = keep.reshape(height, width)
            error = (old.rgb()[keep].astype(np.float32) - new.rgb()[keep]) ** 2
            values.append(-10 * np.log10(max(float(error.mean()), 1e-6) / 65025))
        counts = [sum(1 for _ in reader.frames()) for reader in (a, b)]
    same = len(times[0]) == counts[0] and bool(np.allclose(times[0], times[1], atol=0.0011))
    return counts[0], counts[1], same, float(np.mean(values)), float(np.min(values))


def quality(script: Path, source: Path, result: Path) -> dict[str, float]:
    """Figures of the yardstick script, by name."""
    call = [sys.executable, str(script), str(source), f"own={result}"]
    words = subprocess.run(call, capture_output=True, text=True, check=True).stdout.split()
    return {k: float(v) for k, v in (w.split("=") for w in words if "=" in w)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--speech", type=Path, nargs="*", default=[])
    parser.add_argument("--quality", type=Path)
    parser.add_argument("--only", default="", help="part of the names of the clips to take")
    parser.add_argument("--part", type=int, nargs=2, default=(0, 1), help="I N: every Nth clip from number I on")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    watch_masks()
    models, rows, figures = Models.load(), [], []
    first, step = arguments.part
    for clip in [s.video for s in find_videos(arguments.clips, "folder") if arguments.only in s.video.name][
        first::step
    ]:
        for speech in [clip, *arguments.speech]:
            MASKS.clear()
            name = "own" if speech == clip else speech.stem
            result = arguments.output / f"{clip.stem}__{name}.mp4"
            start = time.perf_counter()
            report = dub.dub(clip, speech, result, models=models)
            seconds = time.perf_counter() - start
            source_count, count, same, mean, worst = measure(clip, result)
            rows.append(Row(clip.name, name, count, source_count, same, report.dubbed, mean, worst, count / seconds))
            print(rows[-1], flush=True)
            write(arguments.output / f"path{first}.csv", [asdict(row) for row in rows])
        if arguments.quality is not None:
            figures.append(
                {"clip": clip.name, **quality(arguments.quality, clip, arguments.output / f"{clip.stem}__own.mp4")}
            )
            print(figures[-1], flush=True)
            write(arguments.output / f"quality{first}.csv", figures)
    if figures:
        means = {k: float(np.nanmean([float(f[k]) for f in figures])) for k in figures[0] if k != "clip"}
        print("mean", " ".join(f"{k}={v:.3f}" for k, v in means.items()))


def write(path: Path, rows: list[dict[str, object]]) -> None:
    """Write rows as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main()
