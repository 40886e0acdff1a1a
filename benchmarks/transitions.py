"""Gradual transitions between the clips of a folder: how many are found, and what is taken for one.

python benchmarks/transitions.py FOLDER [FOLDER ...] [--pairs 12] [--json RESULT.json]

Every clip is searched as it is: what is found there is a false alarm, unless it has a transition. Then clips
of different people are joined by transitions of several kinds and lengths.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from personatalk.errors import MediaError
from personatalk.faces.transitions import SIDE, Transition, TransitionFinder
from personatalk.media.reader import VideoReader

SECONDS = (0.2, 0.5, 1.0, 2.0)
# Seconds of each shot beside a transition.
LEAD = 1.0
# Characters of a file's name by which clips are taken for the same source.
SOURCE_NAME = 9
# Width and height of the frames that are joined.
FRAME = 128

Mixer = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def _wipe(place: Callable[[np.ndarray, np.ndarray], np.ndarray], softness: float = 0.0) -> Mixer:
    """Return a wipe; `place` tells when the edge reaches a point, 0..1, from x and y, 0..1."""

    def mix(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
        y, x = np.mgrid[: a.shape[0], : a.shape[1]] / np.array(a.shape[:2]).reshape(2, 1, 1)
        passed = share * (1 + softness) - place(x, y)
        mask = np.clip(passed / softness, 0, 1) if softness else passed > 0
        return a + (b - a) * mask[..., None]

    return mix


def _dip(level: float) -> Mixer:
    def mix(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
        return level + (a - level) * (1 - 2 * share) if share < 0.5 else level + (b - level) * (2 * share - 1)

    return mix


def _eased(share: float) -> float:
    return share * share * (3 - 2 * share)


KINDS: dict[str, Mixer] = {
    "dissolve": lambda a, b, share: a + (b - a) * share,
    "eased dissolve": lambda a, b, share: a + (b - a) * _eased(share),
    "dip to black": _dip(0),
    "dip to white": _dip(255),
    "wipe right": _wipe(lambda x, y: x),
    "wipe left": _wipe(lambda x, y: 1 - x),
    "wipe down": _wipe(lambda x, y: y),
    "wipe up, soft": _wipe(lambda x, y: 1 - y, 0.3),
    "wipe right, soft": _wipe(lambda x, y: x, 0.3),
    "diagonal, soft": _wipe(lambda x, y: (x + y) / 2, 0.3),
    "circle": _wipe(lambda x, y: np.hypot(x - 0.5, y - 0.5) / 0.71),
    "circle, soft": _wipe(lambda x, y: np.hypot(x - 0.5, y - 0.5) / 0.71, 0.3),
}


def joined(one: Sequence[np.ndarray], other: Sequence[np.ndarray], kind: str, count: int) -> list[np.ndarray]:
    """Join two clips (uint8 frames of one size): the last `count` frames of the one run over the other's first."""
    mixed = []
    for number, (a, b) in enumerate(zip(one[len(one) - count :], other[:count], strict=True), 1):
        image = KINDS[kind](a.astype(np.float32), b.astype(np.float32), number / (count + 1))
        mixed.append(np.clip(image, 0, 255).round().astype(np.uint8))
    return [*one[: len(one) - count], *mixed, *other[count:]]


def found_in(frames: Sequence[np.ndarray], fps: float = 25.0) -> list[Transition]:
    """Return the transitions in frames, uint8 (H, W, 3)."""
    finder = TransitionFinder(fps)
    for frame in frames:
        finder.add(cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    return finder.finish()


def read_clip(path: Path) -> tuple[list[np.ndarray], list[Transition]]:
    """Return a clip's first frames, small, and the transitions found in all of it."""
    with VideoReader(path) as reader:
        fps, frames = float(reader.info.average_fps), list[np.ndarray]()
        finder = TransitionFinder(fps)
        for frame in reader.frames():
            finder.add(frame.thumbnail(SIDE))
            if len(frames) < (LEAD + SECONDS[-1]) * fps:
                frames.append(frame.thumbnail(FRAME))
    return frames, finder.finish()


def score(found: list[Transition], start: int, stop: int) -> tuple[bool, float, int]:
    """Return whether a transition was found, the share of its frames that pass through, and the frames too many."""
    true, passed = set(range(start, stop)), {i for one in found for i in range(one.start, one.stop)}
    return bool(true & passed), len(true & passed) / len(true), len(passed - true)


def measure_kinds(clips: dict[str, list[np.ndarray]], pairs: int) -> dict[str, Any]:
    """Join clips of different sources by all kinds of transitions."""
    rng, rows = np.random.default_rng(0), dict[str, Any]()
    for kind in KINDS:
        for seconds in SECONDS:
            results, missed = [], []
            for _ in range(pairs):
                count = round(seconds * 25)
                long = [n for n, frames in clips.items() if len(frames) >= count + 5]
                a = long[rng.integers(len(long))]
                others = [n for n in long if n[:SOURCE_NAME] != a[:SOURCE_NAME]]
                b = others[rng.integers(len(others))]
                lead, tail = (min(round(LEAD * 25), len(clips[n]) - count) for n in (a, b))
                frames = joined(clips[a][: lead + count], clips[b][: tail + count], kind, count)
                results.append(score(found_in(frames), lead, lead + count))
                if not results[-1][0]:
                    missed.append(f"{a} > {b}")
            hit, share, extra = (np.array(column, float) for column in zip(*results, strict=True))
            rows[f"{kind}, {seconds:g} s"] = {
                "found": float(hit.mean()),
                "frames_passed": float(share[hit > 0].mean()) if hit.any() else 0.0,
                "frames_too_many": float(extra.mean()),
                "missed": missed,
            }
            row = rows[f"{kind}, {seconds:g} s"]
            print(
                f"{kind:18s} {seconds:3.1f} s  found {hit.sum():3.0f} of {len(hit)}"
                f"  frames passed {row['frames_passed']:.2f}  too many {row['frames_too_many']:.1f}",
                flush=True,
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    clips, alarms = dict[str, list[np.ndarray]](), dict[str, Any]()
    for path in sorted(p for folder in options.folders for p in folder.iterdir()):
        try:
            clips[path.name], found = read_clip(path)
        except MediaError:
            continue
        if found:
            alarms[path.name] = [(one.start, one.stop, round(one.score, 1)) for one in found]
    print(f"{len(clips)} clips as they are: transitions found in {len(alarms)}: {alarms}", flush=True)
    rows = measure_kinds(clips, options.pairs)
    found = np.mean([row["found"] for row in rows.values()])
    print(f"all kinds: found {found:.3f}")
    if options.json:
        options.json.write_text(json.dumps({"clips": len(clips), "false_alarms": alarms, "kinds": rows}, indent=1))


if __name__ == "__main__":
    main()
