"""Kills a dub with SIGKILL at random moments until it gets through, and holds the result against an unbroken run's.

    python benchmarks/kills.py VIDEO SPEECH -o FOLDER [--kills 20] [--segment 25] [--seed 0]

Prints the kills, what each run took over, and the frames lost, doubled or different in the end.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path

from personatalk.media.reader import VideoReader

RUN = """
import sys
from personatalk.cli import main as cli
from personatalk.media import segments
segments.SEGMENT_FRAMES = int(sys.argv[1])
sys.exit(cli.main(sys.argv[2:]))
"""


def call(segment: int, video: Path, speech: Path, output: Path) -> list[str]:
    """Words of the process that dubs."""
    report = output.with_suffix(".json")
    options = ["--report", str(report), "--quiet", "--preset", "veryfast"]
    return [sys.executable, "-c", RUN, str(segment), "dub", str(video), str(speech), "-o", str(output), *options]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--segment", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    whole, broken = given.output / "whole.mp4", given.output / "broken.mp4"
    start = time.monotonic()
    subprocess.run(call(given.segment, given.video, given.speech, whole), check=True)
    unbroken = time.monotonic() - start
    chance, kills, early = random.Random(given.seed), 0, 0
    while True:
        process = subprocess.Popen(call(given.segment, given.video, given.speech, broken))
        try:
            # All moments of a run are as likely, while there are kills left.
            code = process.wait(chance.uniform(0, unbroken) if kills < given.kills else None)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            if broken.exists():  # killed after the output had its name: it must be whole
                assert all(same_frames(whole, broken)), "something has the output's name before it is whole"
                broken.unlink()
            continue
        assert code == 0, code
        early += 1
        if kills >= given.kills:
            break
        broken.unlink()
    pairs = same_frames(whole, broken)
    resumed = json.loads(broken.with_suffix(".json").read_text())["resumed"]
    different = sum(1 for same in pairs if not same)
    print(f"{kills} kills, {early} runs that got through, {len(pairs)} frames, the last took over {resumed}")
    print(f"frames lost, doubled or different: {different}; unbroken run {unbroken:.1f} s")


def same_frames(one: Path, other: Path) -> list[bool]:
    """Return whether each frame of two videos has the same time and image; a missing one has not."""
    found: list[bool] = []
    with VideoReader(one) as a, VideoReader(other) as b:
        others = b.frames()
        for frame in a.frames():
            match = next(others, None)
            found.append(match is not None and frame.pts == match.pts and bool((frame.rgb() == match.rgb()).all()))
        return found + [False for _ in others]


if __name__ == "__main__":
    main()
