"""Contact sheet of source and result: lower faces of the same frames, one above the other.

python benchmarks/sheet.py SOURCE RESULT [SOURCE RESULT ...] -o SHEET.png [--frames 6]
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from personatalk.faces.landmarks import open_tracker
from personatalk.media.reader import VideoReader

WIDTH, HEIGHT = 240, 200


def chosen_frames(path: Path, indices: list[int]) -> list[np.ndarray]:
    """Frames of a video by number."""
    with VideoReader(path) as reader:
        return [f.rgb() for f in reader.frames(0, max(indices) + 1) if f.index in indices]


def lower_face(rgb: np.ndarray) -> tuple[slice, slice]:
    """Return the place of the face, from the eyes down, in the shape of a tile."""
    tracker = open_tracker()
    points = tracker.detect(rgb)[0][:, :2]
    tracker.close()
    half = 0.55 * float(np.ptp(points[:, 1]))
    x, y = points[[1, 152, 13]].mean(axis=0)
    top, left = max(0, int(y - half * HEIGHT / WIDTH)), max(0, int(x - half))
    return slice(top, int(y + half * HEIGHT / WIDTH)), slice(left, int(x + half))


def rows(source: Path, result: Path, count: int) -> np.ndarray:
    """Two rows of tiles: the source's and the result's."""
    with VideoReader(source) as reader:
        total = sum(1 for _ in reader.frames())
    indices = np.linspace(0, total - 1, count + 2).astype(int)[1:-1].tolist()
    old, new = chosen_frames(source, indices), chosen_frames(result, indices)
    areas = [lower_face(frame) for frame in old]
    lines = [
        np.hstack(
            [
                cv2.resize(f[a], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
                for f, a in zip(frames, areas, strict=True)
            ]
        )
        for frames in (old, new)
    ]
    return np.pad(np.vstack(lines), ((0, 6), (0, 0), (0, 0)))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", nargs="+", type=Path, help="source and result, in pairs")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=6)
    arguments = parser.parse_args()
    pairs = list(pairwise(arguments.videos))[::2]
    sheet = np.vstack([rows(source, result, arguments.frames) for source, result in pairs])
    cv2.imwrite(str(arguments.output), np.ascontiguousarray(sheet[..., ::-1]))


if __name__ == "__main__":
    main()
