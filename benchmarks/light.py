"""How well the new mouth follows changes of light inside a shot.

    PYTHONPATH=. python benchmarks/light.py VIDEO [VIDEO ...] --speech SPEECH [--kinds KIND ...] [--keep FOLDER]

The beginning of each video is shown as it is and under made changes of light, and dubbed. Where the new mouth is
opaque, just inside its rim, the mean colour of the result is held against that of the source at the same place;
printed are mean and worst difference over all frames, in grey levels of the worst channel. "glow" is the most by which
the brightest pixel of a new mouth exceeds the brightest of the source's lower face.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from personatalk import DubOptions, Models
from personatalk.errors import PersonaTalkError
from personatalk.media.reader import VideoReader
from personatalk.pipeline.casting import cast_single
from personatalk.pipeline.dub import DubRequest, run
from personatalk.stage2.compositing import Patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from helpers.sample_clips import decoded, write_video

FRAMES, FPS = 75, 25
# Width of the ring inside the rim, as a share of the mask's width.
RING = 0.04


def step(i: int) -> float:
    """A lamp goes off in the middle."""
    return 1.0 if i < FRAMES // 2 else 0.35


def flash(i: int) -> float:
    """Two bright frames each second."""
    return 2.0 if i % FPS in (12, 13) else 1.0


def flicker(i: int) -> float:
    """Light that swings three times a second."""
    return 0.6 + 0.4 * float(np.sin(2 * np.pi * 3 * i / FPS))


def fade(i: int) -> float:
    """From black, and back to it."""
    return min(1.0, i / 15, (FRAMES - 1 - i) / 15)


def stage(i: int) -> np.ndarray:
    """Coloured light that changes every half second."""
    return np.array([(1.0, 0.3, 0.25), (0.3, 0.4, 1.0), (0.35, 0.9, 0.3)])[i // 12 % 3]


# Gain of the channels of frame `i` of every kind.
KINDS: dict[str, Callable[[int], float | np.ndarray]] = {
    "ordinary": lambda i: 1.0,
    "dimmed to 15 %": lambda i: 0.15,
    "coloured": lambda i: np.array([1.0, 0.45, 0.3]),
    "step": step,
    "flash": flash,
    "flicker": flicker,
    "fade": fade,
    "stage": stage,
}


def differences(source: list[np.ndarray], result: list[np.ndarray], patches: dict[int, Patch]) -> np.ndarray:
    """Worst channel's difference at the rim, and the glow, of each dubbed frame, (N, 2)."""
    rows = []
    for place, patch in patches.items():
        height, width = patch.mask.shape
        where = np.s_[patch.top : patch.top + height, patch.left : patch.left + width]
        opaque = np.pad(patch.mask > 0.5, 1).astype(np.uint8)
        inner = cv2.erode(opaque, np.ones((2 * max(1, round(RING * width)) + 1,) * 2, np.uint8))
        opaque, ring = opaque[1:-1, 1:-1] > 0, (opaque > inner)[1:-1, 1:-1]
        if ring.any():
            old, new = (frames[place][where].astype(float) for frames in (source, result))
            rim = np.abs(old[ring].mean(axis=0) - new[ring].mean(axis=0)).max()
            rows.append((rim, max(0.0, new[opaque].max() - old[opaque].max())))
    return np.array(rows).reshape(-1, 2)


def measure(video: Path, speech: Path, folder: Path, models: Models) -> tuple[np.ndarray, int]:
    """Dub a video; `differences`, and the number of its frames."""
    patches: dict[int, Patch] = {}
    request = DubRequest(video, [speech], folder / f"{video.stem} dubbed.mp4", DubOptions())
    run(request, lambda context: cast_single(context, speech), models, on_composited=patches.__setitem__)
    source, result = decoded(video), decoded(request.output)
    return differences(source, result, patches), len(source)


def report(name: str, rows: np.ndarray, frames: int) -> None:
    """Print one line."""
    if len(rows):
        figures = f"rim mean {rows[:, 0].mean():5.2f} worst {rows[:, 0].max():6.2f}  glow {rows[:, 1].max():5.0f}"
        print(f"{name:48s} {figures}  {len(rows)} of {frames} frames dubbed", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--keep", type=Path, help="where the made videos and their dubs are kept")
    given = parser.parse_args()
    models = Models.load()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for kind in given.kinds:
            found, total = [np.zeros((0, 2))], 0
            for video in given.videos:
                with VideoReader(video) as reader:
                    frames = [frame.rgb() for frame in reader.frames(0, FRAMES)]
                lit = [np.clip(frame * KINDS[kind](i), 0, 255).astype(np.uint8) for i, frame in enumerate(frames)]
                path = write_video(folder / f"{video.stem} {kind}.mp4", lit, fps=FPS)
                try:
                    rows, count = measure(path, given.speech, folder, models)
                except PersonaTalkError as error:
                    print(error)
                    continue
                report(f"  {path.stem}", rows, count)
                found.append(rows)
                total += count
            report(kind, np.concatenate(found), total)


if __name__ == "__main__":
    main()
