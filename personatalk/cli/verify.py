"""The command `personatalk verify`."""

from __future__ import annotations

import argparse
from pathlib import Path

from .exit_codes import NOTHING_FOUND
from .options import Commands, Groups, add_command, add_quiet
from .progress import add_progress, open_progress


def add_verify(commands: Commands) -> None:
    """Add `personatalk verify`."""
    verify = add_command(
        commands,
        "verify",
        "tell whether a video was dubbed by PersonaTalk",
        "Report what FILE says about itself: its tags, its C2PA manifest and the invisible watermark in its faces. Exit"
        f" code 0: something was found; {NOTHING_FOUND}: nothing; others: docs/exit-codes.md.",
        ["personatalk verify video.mp4", "personatalk verify video.mp4 --trust company.pem --json"],
    )
    groups = Groups(verify, "what is verified")
    verified = groups["what is verified"]
    verified.add_argument("video", type=Path, metavar="FILE", help="video to look at")
    verified.add_argument("--trust", type=Path, metavar="FILE.pem", help="certificates whose signatures are trusted")
    output = groups["output"]
    output.add_argument("--json", action="store_true", help="print the findings as JSON")
    add_quiet(output)
    add_progress(output)
    verify.set_defaults(run=run_verify)


def run_verify(given: argparse.Namespace) -> int:
    """Run `personatalk verify`."""
    from ..provenance.verify import verify

    with open_progress(given) as progress:
        found = verify(given.video, anchors=given.trust, progress=progress)
    print(found.json() if given.json else "\n".join(found.summary()))
    return 0 if found.anything else NOTHING_FOUND
