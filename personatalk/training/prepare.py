"""Prepares video files for training: geometry, face crops and sound of the longest usable shot of each.

    python -m personatalk.training.prepare SOURCE... -o DATASET --prefix train__

The morphable model, which this needs, is learned from the same files:

    python -m personatalk.training.prepare SOURCE... -o personatalk/weights/morphable.safetensors --morphable
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..analysis import Analysis, analyse, runs
from ..audio import SAMPLE_RATE
from ..errors import MediaError, PersonaTalkError
from ..faces import CutDetector, Follower, open_tracker
from ..geometry import Array, MorphableModel, crop_transform, warp
from ..media import VideoReader, read_speech
from . import morphable

VIDEO_SUFFIXES = (".mp4", ".mpg", ".mkv", ".mov", ".webm", ".avi")
SHORTEST = 20
"""Frames of the shortest clip that is kept."""
MOST_CROPS = 450
"""Crops kept of one clip."""


def track(path: Path) -> Iterator[tuple[bool, Array | None]]:
    """Landmarks of the main face of every frame: whether a shot begins there, and (478, 3) or None."""
    tracker, cuts, follower = open_tracker(), CutDetector(), Follower()
    try:
        with VideoReader(path) as reader:
            for frame in reader.frames():
                rgb = frame.rgb()
                cut = cuts.is_cut(rgb)
                yield cut, follower.follow(tracker.detect(rgb), cut)
    finally:
        tracker.close()


def longest_shot(analysis: Analysis) -> tuple[int, int]:
    """The longest stretch of usable frames within one shot, as (start, stop)."""
    cuts = np.array([False, *(a != b for a, b in pairwise(analysis.shot_of))])
    return max(runs(analysis.usable, cuts), key=lambda run: run[1] - run[0])


def prepare(path: Path, output: Path, model: MorphableModel) -> int:
    """Prepare one file as `output`.npz and `output`.npy; returns the number of frames.

    Raises:
        PersonaTalkError: The file has no usable face, or too few frames of it, or is damaged.
    """
    tracker = open_tracker()
    try:
        with VideoReader(path) as reader:
            analysis = analyse(reader, tracker, model)
            start, stop = longest_shot(analysis)
            if stop - start < SHORTEST:
                raise MediaError(f"{path}: only {stop - start} usable frames in a row")
            crops = _crops(reader, analysis, start, min(stop, start + MOST_CROPS))
    finally:
        tracker.close()
    np.save(output.with_name(output.name + ".npy"), crops)
    np.savez(
        output.with_name(output.name + ".npz"),
        alpha=analysis.shots[analysis.shot_of[start]].alpha,
        beta=analysis.beta[start:stop],
        pose=analysis.pose[start:stop],
        time=analysis.time[start:stop],
        audio=_sound(path),
    )
    return stop - start


def _crops(reader: VideoReader, analysis: Analysis, start: int, stop: int) -> npt.NDArray[np.uint8]:
    frames = reader.frames(start, stop)
    return np.stack([warp(frame.rgb(), crop_transform(analysis.pose[frame.index])) for frame in frames])


def _sound(path: Path) -> npt.NDArray[np.int16]:
    try:
        samples = read_speech(path, SAMPLE_RATE)
    except MediaError:
        return np.zeros(0, np.int16)
    return np.clip(samples * 32767, -32768, 32767).astype(np.int16)


def files(sources: list[Path]) -> list[Path]:
    """Video files of the given files and folders, in order."""
    found = [f for s in sources for f in (sorted(s.iterdir()) if s.is_dir() else [s])]
    return [f for f in found if f.suffix.lower() in VIDEO_SUFFIXES]


def first_shot(path: Path, most: int = 600) -> list[Array]:
    """Landmarks of one person: the faces of the first shot that has enough of them, `most` at most."""
    faces: list[Array] = []
    for cut, face in track(path):
        if len(faces) >= (SHORTEST if cut else most):
            break
        faces = [] if cut else faces
        if face is not None:
            faces.append(face)
    return faces


def learn_morphable(sources: list[Path], output: Path) -> None:
    """Track all files and learn the morphable model from them."""
    clips = []
    for path in files(sources):
        try:
            faces = first_shot(path)
        except PersonaTalkError as error:
            print(f"left out: {error}", flush=True)
            continue
        if len(faces) >= SHORTEST:
            clips.append(np.stack(faces))
        print(f"{path.name}: {len(faces)} faces", flush=True)
    morphable.build(clips).save(output)


def main() -> None:
    """Command line of the preparation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="+", type=Path, help="video files or folders of them")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the data set, or the model's file")
    parser.add_argument("--prefix", default="", help="put before the names, to tell the splits apart")
    parser.add_argument("--morphable", action="store_true", help="learn the morphable model instead")
    parser.add_argument("--model", type=Path, help="morphable model (default: the package's)")
    arguments = parser.parse_args()
    if arguments.morphable:
        learn_morphable(arguments.sources, arguments.output)
        return
    arguments.output.mkdir(parents=True, exist_ok=True)
    model = MorphableModel.load(arguments.model)
    for path in files(arguments.sources):
        output = arguments.output / (arguments.prefix + path.name)
        if output.with_name(output.name + ".npz").exists():
            continue
        try:
            print(f"{path.name}: {prepare(path, output, model)} frames", flush=True)
        except PersonaTalkError as error:
            print(f"left out: {error}", flush=True)


if __name__ == "__main__":
    main()
