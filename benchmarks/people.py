"""Accuracy of telling people apart: distances of faces, and made scenes of two people, from a folder of real clips.

The folder's `manifest.csv` names file (from the folder above), split and speaker. Every clip's beginning is held
against its own end and against the beginnings of other speakers' clips, each as the mean of eight frames; then pairs
of clips sit side by side, cross, swap at a cut, and leave, as in the tests.

PYTHONPATH=. python benchmarks/people.py CLIPS --split val [--identity FILE.onnx] [--scenes 6]
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np

from personatalk.faces.landmarks import open_tracker
from personatalk.faces.recognition import open_recogniser
from personatalk.faces.selection import FaceSearch
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.media.reader import VideoReader

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from helpers import people_clips

SPAN, FRAMES = 24, 8
LENGTH = 60


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--identity", type=Path)
    parser.add_argument("--scenes", type=int, default=6)
    given = parser.parse_args()
    with (given.clips / "manifest.csv").open() as file:
        rows = {r["speaker"]: r for r in csv.DictReader(file) if r["split"] == given.split}
    paths = {speaker: given.clips.parent / row["file"] for speaker, row in rows.items()}
    distances(paths, given.identity)
    scenes(list(paths.values()), given.scenes, given.identity)


def distances(paths: dict[str, Path], identity: Path | None) -> None:
    """Print how far parts of one video, and videos of different people, are from each other."""
    recogniser = open_recogniser(MorphableModel.load(), identity)
    ends = [pair for path in paths.values() if (pair := described(path, recogniser)) is not None]
    same = np.array([np.linalg.norm(a - b) for a, b in ends])
    others = np.array([np.linalg.norm(a[0] - b[0]) for a, b in combinations(ends, 2)])
    auc = (same[:, None] < others).mean()
    print(f"{len(same)} videos, {len(others)} pairs of people: AUC {auc:.4f}")
    print(f"  one video: median {np.median(same):.2f}, 95 % {np.quantile(same, 0.95):.2f}, most {same.max():.2f}")
    print(
        f"  two people: least {others.min():.2f}, 1 % {np.quantile(others, 0.01):.2f}, median {np.median(others):.2f}"
    )
    limit = recogniser.threshold
    print(f"  at {limit}: {(same > limit).mean():.3f} parted, {(others < limit).mean():.4f} taken for one")


def described(path, recogniser):
    """Mean descriptions of a video's beginning and end; None where one shows no face."""
    tracker = open_tracker()
    with VideoReader(path) as reader:
        count = sum(1 for _ in reader.frames())
        means = []
        for first in (0, max(0, count - SPAN)):
            seen = []
            for frame in reader.frames(first, first + SPAN):
                rgb = frame.rgb()
                faces = tracker.detect(rgb)
                if faces and frame.index % (SPAN // FRAMES) == 0:
                    seen.append(recogniser.embed(rgb, faces[0]))
            if not seen:
                return None
            means.append(np.mean(seen, axis=0))
    tracker.close()
    return means


def scenes(paths: list[Path], count: int, identity: Path | None) -> None:
    """Print the frames in which the wrong person is found, for pairs of clips."""
    kinds = {
        "beside": people_clips.beside,
        "crossing": people_clips.crossing,
        "swapped": people_clips.swapped,
        "away": lambda path, one, two: people_clips.away(path, one, two, LENGTH // 3, 2 * LENGTH // 3),
    }
    for first, second in list(zip(paths[::2], paths[1::2], strict=False))[:count]:
        pair = [people_clips.fitted(start(path)) for path in (first, second)]
        length = min(map(len, pair))
        said = []
        for name, make in kinds.items():
            with tempfile.TemporaryDirectory() as folder:
                scene = make(Path(folder) / "scene.mp4", pair[0][:length], pair[1][:length])
                with VideoReader(scene.path) as reader:
                    people = FaceSearch(identity=identity).people(reader, MorphableModel.load())
            wrong, share = people_clips.mistakes(people, scene.truth), people_clips.found(people, scene.truth)
            said.append(f"{name} {len(people)} people, {wrong} wrong, {100 * share:.0f} % found")
        print(f"{first.name}, {second.name}: " + "; ".join(said), flush=True)


def start(path: Path) -> list[np.ndarray]:
    """The first frames of a video."""
    with VideoReader(path) as reader:
        return [frame.rgb() for frame in reader.frames(0, LENGTH)]


if __name__ == "__main__":
    main()
