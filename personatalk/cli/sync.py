"""The command `personatalk sync`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from ..pipeline.options import DubOptions, WeightPaths
from ..utils.options import with_options
from .options import Commands, Groups, add_command, add_options, add_quiet
from .progress import add_progress, open_progress


def add_sync(commands: Commands) -> None:
    """Add `personatalk sync`."""
    sync = add_command(
        commands,
        "sync",
        "tell by how much a video's audio and image are apart",
        "Tell the offset between the audio and the image of a talking-head video, from the mouth that is heard and the"
        " mouth that is seen.",
        ["personatalk sync video.mp4", "personatalk sync video.mp4 --face left --json"],
    )
    groups = Groups(sync, "what is measured")
    groups["what is measured"].add_argument("video", type=Path, metavar="VIDEO", help="video with its own audio")
    add_options(groups, DubOptions, ("face", "identity"))
    add_options(groups, WeightPaths)
    output = groups["output"]
    output.add_argument("--json", action="store_true", help="print the figures as JSON")
    add_quiet(output)
    add_progress(output)
    sync.set_defaults(run=run_sync)


def run_sync(given: argparse.Namespace) -> int:
    """Run `personatalk sync`."""
    from ..faces.selection import FaceSearch
    from ..pipeline.sync import measure_sync

    models = with_options(WeightPaths(), vars(given)).load()
    search = FaceSearch(given.face, given.identity)
    with open_progress(given) as progress:
        found = measure_sync(given.video, search=search, models=models, progress=progress)
    if given.json:
        print(json.dumps(asdict(found)))
        return 0
    late = "image" if found.offset_seconds > 0 else "audio"
    trust = "sure" if found.confidence >= 2 else "not sure"
    print(
        f"{given.video}: the {late} is {1000 * abs(found.offset_seconds):.0f} ms late ({trust}: confidence"
        f" {found.confidence:.1f}, r {found.r:.2f}, {found.r_unshifted:.2f} as it is, {found.seconds:.1f} s)"
    )
    return 0
