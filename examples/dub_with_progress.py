"""Dubs a video from Python, and shows the progress and what became of the frames.

python examples/dub_with_progress.py VIDEO SPEECH OUT
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

import personatalk


def main(arguments: Sequence[str]) -> None:
    """Dub `VIDEO` with `SPEECH` into `OUT`."""
    video, speech, output = arguments
    done: Counter[str] = Counter()

    def progress(stage: str, steps: int, total: int) -> None:
        done[stage] += steps
        print(f"\r{stage}: {done[stage]} of {total or '?'}   ", end="", file=sys.stderr)

    report = personatalk.dub(video, speech, output, progress=progress)
    print(f"\n{report.dubbed} of {report.frames} frames, {report.frames_per_second:.1f} a second")
    for span in report.passed_through:
        print(f"passed through from {span.start_seconds:.2f} s to {span.end_seconds:.2f} s: {span.reason}")


if __name__ == "__main__":
    main(sys.argv[1:])
