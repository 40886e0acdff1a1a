"""Time that a persona saves: seconds of a second speech for the same video with and without it, and whether both agree.

    python benchmarks/persona.py VIDEO SPEECH -o FOLDER [--rounds 2] [--face WHO]

Each run is a process of its own, with and without in turn; the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from personatalk.media.reader import VideoReader


def run(*words: object) -> float:
    """Seconds of a command."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "personatalk", *map(str, words)], check=True)
    return time.perf_counter() - start


def psnr(one: Path, other: Path) -> float:
    """Of all frames of two videos; at most 99."""
    with VideoReader(one) as a, VideoReader(other) as b:
        errors = [
            float(np.mean((x.rgb().astype(np.float32) - y.rgb()) ** 2))
            for x, y in zip(a.frames(), b.frames(), strict=True)
        ]
    return min(99.0, -10 * float(np.log10(max(np.mean(errors), 1e-12) / 65025)))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--face", help="as of `personatalk dub`: then everybody in the video is looked for")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    kept = given.output / "speaker.persona"
    face = [] if given.face is None else ["--face", given.face]
    print(f"persona make: {run('persona', 'make', given.video, '-o', kept, '--quiet', *face):.1f} s", flush=True)
    seconds: dict[str, list[float]] = {"without": [], "with": []}
    for _ in range(given.rounds):
        for name, more in (("without", []), ("with", ["--persona", kept])):
            output = given.output / f"{name}.mp4"
            report = ["--report", given.output / f"{name}.json", "--quiet", *face]
            seconds[name].append(run("dub", given.video, given.speech, "-o", output, *more, *report))
    for name, found in seconds.items():
        stages = json.loads((given.output / f"{name}.json").read_text())["stage_seconds"]
        print(f"{name}: {statistics.median(found):.1f} s", {k: round(v, 1) for k, v in stages.items()})
    ratio = statistics.median(seconds["without"]) / statistics.median(seconds["with"])
    agree = psnr(given.output / "without.mp4", given.output / "with.mp4")
    print(f"{ratio:.2f} times as fast with it; PSNR between both {agree:.1f} dB")


if __name__ == "__main__":
    main()
