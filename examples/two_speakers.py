"""Gives two people of a video new words: first the one on the left, then the one on the right.

python examples/two_speakers.py VIDEO LEFT_SPEECH RIGHT_SPEECH OUT
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import personatalk
from personatalk.media import probe_speech
from personatalk.pipeline.cues import Cue


def main(arguments: Sequence[str]) -> None:
    """Let the left person say one speech from the beginning, and then the right person the other one."""
    video, left, right, output = map(Path, arguments)
    first, second = (probe_speech(speech).seconds for speech in (left, right))
    cues = [
        Cue(start=0.0, end=first, face="left", speech=left),
        Cue(start=first, end=first + second, face="right", speech=right),
    ]
    report = personatalk.dub_cues(video, cues, output)
    stretches = ", ".join(f"{start:.2f} to {end:.2f} s" for start, end in report.generated)
    print(f"{output}: {report.dubbed} of {report.frames} frames have a new mouth ({stretches})")


if __name__ == "__main__":
    main(sys.argv[1:])
