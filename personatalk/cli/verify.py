"""The command `personatalk verify`."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

from .options import Commands, Groups, add_command, add_quiet
from .progress import ProgressBars

# Exit code where nothing says that the video was generated.
NOTHING_FOUND = 3


def add_verify(commands: Commands) -> None:
    """Add `personatalk verify`."""
    verify = add_command(
        commands,
        "verify",
        "tell whether a video was dubbed by PersonaTalk",
        "Report what FILE says about itself: its tags, its C2PA manifest and the invisible watermark in its faces. Exit"
        f" code 0: something was found; {NOTHING_FOUND}: nothing; 1: the file cannot be read.",
        ["personatalk verify video.mp4", "personatalk verify video.mp4 --trust company.pem --json"],
    )
    groups = Groups(verify, "what is verified")
    verified = groups["what is verified"]
    verified.add_argument("video", type=Path, metavar="FILE", help="video to look at")
    verified.add_argument("--trust", type=Path, metavar="FILE.pem", help="certificates whose signatures are trusted")
    output = groups["output"]
    output.add_argument("--json", action="store_true", help="print the findings as JSON")
    add_quiet(output)
    verify.set_defaults(run=run_verify)


def run_verify(given: argparse.Namespace) -> int:
    """Run `personatalk verify`."""
    from ..provenance.verify import verify

    with closing(ProgressBars(given.interrupt, given.quiet)) as bars:
        found = verify(given.video, anchors=given.trust, progress=bars)
    print(found.json() if given.json else "\n".join(found.summary()))
    return 0 if found.anything else NOTHING_FOUND
