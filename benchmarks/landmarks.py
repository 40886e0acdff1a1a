"""Is our face tracking MediaPipe's? Landmarks, shake and time of both, clip by clip, in one run.

    python benchmarks/landmarks.py CLIP ... [--frames N] [-o RESULTS.json]
    python benchmarks/landmarks.py SAMPLE --frames 4 --reference tests/data/face_mesh.npy

It needs mediapipe 0.10.21 beside the package, of which the package itself needs nothing. Distances are in % of the
distance between the outer corners of the eyes. lost: faces that MediaPipe finds and we do not; more: the other way
round. shake: mean second difference of the landmarks over time, ours over MediaPipe's. time: processor time of ours
over MediaPipe's, on one thread each, frame by frame in turn. `--reference` writes MediaPipe's landmarks for the tests.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import cv2
import mediapipe
import numpy as np

from personatalk.faces.landmarks import MAX_FACES, MIN_CONFIDENCE, FaceMeshTracker
from personatalk.geometry.mediapipe_mesh import LIP_VERTICES, OUTER_EYE_CORNERS
from personatalk.media.reader import VideoReader


class MediaPipeTracker:
    """The face mesh of mediapipe 0.10.21 as the package used it, a `FaceTracker`."""

    def __init__(self) -> None:
        self._mesh = mediapipe.solutions.face_mesh.FaceMesh(
            static_image_mode=False,
            max_num_faces=MAX_FACES,
            refine_landmarks=True,
            min_detection_confidence=MIN_CONFIDENCE,
            min_tracking_confidence=MIN_CONFIDENCE,
        )

    def detect(self, rgb: np.ndarray) -> list[np.ndarray]:
        """See `FaceTracker.detect`."""
        found = self._mesh.process(rgb).multi_face_landmarks or []
        scale = np.array([rgb.shape[1], rgb.shape[0], rgb.shape[1]])
        return [np.array([(p.x, p.y, p.z) for p in face.landmark], np.float32) * scale for face in found]


def shake(faces: list[np.ndarray | None]) -> float:
    """Mean second difference of landmarks over time, in pixels."""
    triples = zip(faces, faces[1:], faces[2:], strict=False)
    known = [(a, b, c) for a, b, c in triples if a is not None and b is not None and c is not None]
    return float(np.mean([np.linalg.norm((a - 2 * b + c)[:, :2], axis=1).mean() for a, b, c in known]))


def compare(clip: Path, count: int) -> dict[str, Any]:
    """Compare the two on one clip."""
    ours, theirs = FaceMeshTracker(), MediaPipeTracker()
    pairs, lost, more, spent = [], 0, 0, np.zeros(2)
    with VideoReader(clip) as reader:
        for number, frame in enumerate(reader.frames()):
            if number == count:
                break
            rgb, found = frame.rgb(), []
            for i, tracker in enumerate((ours, theirs)):
                start = time.process_time()
                found.append(tracker.detect(rgb))
                spent[i] += time.process_time() - start
            lost += max(0, len(found[1]) - len(found[0]))
            more += max(0, len(found[0]) - len(found[1]))
            same = [min(found[0], key=lambda face: np.abs(face - other).mean()) for other in found[1] if found[0]]
            pairs += [list(zip(same, found[1], strict=False))]
    off = [(np.linalg.norm((a - b)[:, :2], axis=1), b) for pair in pairs for a, b in pair]
    eyes = [np.linalg.norm(b[OUTER_EYE_CORNERS[0], :2] - b[OUTER_EYE_CORNERS[1], :2]) for _, b in off]
    relative = np.array([distance / eye for (distance, _), eye in zip(off, eyes, strict=True)])
    first = [pair[0] if pair else (None, None) for pair in pairs]
    return {
        "clip": clip.stem,
        "frames": len(pairs),
        "lost": lost,
        "more": more,
        "landmarks %": 100 * float(relative.mean()),
        "lips %": 100 * float(relative[:, list(LIP_VERTICES)].mean()),
        "worst frame %": 100 * float(relative.mean(axis=1).max()),
        "shake": shake([a for a, _ in first]) / shake([b for _, b in first]),
        "time": float(spent[0] / spent[1]),
        "ms": 1e3 * float(spent[0]) / len(pairs),
    }


def write_reference(clip: Path, count: int, path: Path) -> None:
    """Write MediaPipe's landmarks in the first frames of a clip, float32 (N, 478, 3)."""
    tracker = MediaPipeTracker()
    with VideoReader(clip) as reader:
        found = [tracker.detect(frame.rgb())[0] for _, frame in zip(range(count), reader.frames(), strict=False)]
    np.save(path, np.array(found, np.float32))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    if given.reference:
        write_reference(given.clips[0], given.frames, given.reference)
        return
    rows = []
    for clip in given.clips:
        rows.append(compare(clip, given.frames))
        print(*(f"{key} {value:.3f}" if isinstance(value, float) else value for key, value in rows[-1].items()))
    figures = [key for key in rows[0] if key not in ("clip", "frames")]
    mean = {key: float(np.mean([row[key] for row in rows])) for key in figures}
    print("mean:", *(f"{key} {value:.3f}" for key, value in mean.items()))
    if given.output:
        given.output.write_text(json.dumps({"clips": rows, "mean": mean}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
