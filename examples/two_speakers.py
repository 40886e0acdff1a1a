"""Gives two people of a video new words, one after the other: first the one on the left, then the one on the right.

python examples/two_speakers.py VIDEO LEFT_SPEECH RIGHT_SPEECH OUT
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import personatalk
from personatalk.media import probe_video
from personatalk.pipeline.cues import Cue


def main(arguments: Sequence[str]) -> None:
    """Let the left person say one speech in the first half of the video, the right one the other in the second."""
    video, left, right, output = map(Path, arguments)
    seconds = probe_video(video).duration
    cues = [
        Cue(start=0.0, end=seconds / 2, face="left", speech=left),
        Cue(start=seconds / 2, end=seconds, face="right", speech=right),
    ]
    report = personatalk.dub_cues(video, cues, output)
    stretches = ", ".join(f"{start:.2f} to {end:.2f} s" for start, end in report.generated)
    print(f"{output}: {report.dubbed} of {report.frames} frames have a new mouth ({stretches})")


if __name__ == "__main__":
    main(sys.argv[1:])
