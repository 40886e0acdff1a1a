"""Dubs a folder of clips and measures what the path may not break, and how good the mouth is.

    python benchmarks/val.py CLIPS -o RESULTS [--speech FILE ...] [--quality quality.py]

Every clip is dubbed with its own audio and with each of the given speeches. For every result: frame count and
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

import cv2
import numpy as np

from personatalk import DubOptions, Models, Report
from personatalk.media.reader import VideoReader
from personatalk.pipeline.casting import cast_single
from personatalk.pipeline.dub import run
from personatalk.pipeline.request import DubRequest
from personatalk.stage2.compositing import Patch
from personatalk.training.data.layouts import find_videos

# Pixels that may have changed by output frame: bool, packed to bits.
Masks = dict[int, np.ndarray]


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


def dub_with_masks(video: Path, speech: Path, output: Path, models: Models) -> tuple[Report, Masks]:
    """Dub one clip and keep where its frames were changed."""
    masks: Masks = {}
    with VideoReader(video) as reader:
        width, height = reader.info.upright_size

    def keep(place: int, patch: Patch) -> None:
        touched = np.zeros((height, width), bool)
        h, w = patch.mask.shape
        touched[patch.top : patch.top + h, patch.left : patch.left + w] = patch.mask > 0
        # Chroma is coarser than luma: the neighbours of a changed pixel share its colour.
        touched = cv2.dilate(touched.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        masks[place] = np.packbits(touched)

    request = DubRequest(video, [speech], output, DubOptions())
    report = run(request, lambda context: cast_single(context, speech), models, on_composited=keep)
    return report, masks


def measure(source: Path, result: Path, masks: Masks) -> tuple[int, int, bool, float, float]:
    """Frames of both, whether their times agree, and mean and worst PSNR outside the masks."""
    times: tuple[list[float], list[float]] = ([], [])
    values = []
    with VideoReader(source) as a, VideoReader(result) as b:
        width, height = a.info.upright_size
        for number, (old, new) in enumerate(zip(a.frames(), b.frames(), strict=False)):
            times[0].append(old.pts * float(a.info.time_base))
            times[1].append(new.pts * float(b.info.time_base))
            keep = np.ones(width * height, bool)
            if number in masks:
                keep = ~np.unpackbits(masks[number], count=width * height).astype(bool)
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
    models, rows, figures = Models.load(), [], []
    first, step = arguments.part
    for clip in [s.video for s in find_videos(arguments.clips, "folder") if arguments.only in s.video.name][
        first::step
    ]:
        for speech in [clip, *arguments.speech]:
            name = "own" if speech == clip else speech.stem
            result = arguments.output / f"{clip.stem}__{name}.mp4"
            start = time.perf_counter()
            report, masks = dub_with_masks(clip, speech, result, models)
            seconds = time.perf_counter() - start
            source_count, count, same, mean, worst = measure(clip, result, masks)
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
