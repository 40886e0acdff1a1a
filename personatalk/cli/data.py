"""The command `personatalk data prepare`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..training.data.options import PrepareOptions
from ..utils.options import with_options
from .options import Commands, Groups, add_command, add_options, add_quiet, at_least, require

if TYPE_CHECKING:
    from ..training.data.layouts import VideoSource
    from ..training.data.outcomes import PrepareOutcome
    from ..training.data.prepare import Executor


def add_data(commands: Commands) -> None:
    """Add `personatalk data`."""
    data = add_command(commands, "data", "prepare data for training", "Prepare data for training.")
    steps = data.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_prepare(steps)


def _add_prepare(steps: Commands) -> None:
    prepare = add_command(
        steps,
        "prepare",
        "turn raw videos into a data set",
        "Cut the SOURCEs into clips of one face with geometry, crops and audio, and write them as WebDataset shards"
        " with a manifest. Run again, it goes on where it was stopped.",
        [
            "personatalk data prepare videos/train -o data/train",
            "personatalk data prepare videos/val -o data/val --split val --min-eye-distance 48",
        ],
    )
    groups = Groups(prepare, "sources", "what is kept", "models", "work", "output")
    sources = groups["sources"]
    sources.add_argument("sources", nargs="+", type=Path, metavar="SOURCE", help="video, or folder of videos")
    sources.add_argument(
        "--layout", default="auto", metavar="NAME", help="auto (default), folder, voxceleb2, celebvhq, vfhq or hdtf"
    )
    sources.add_argument("--speakers", type=Path, metavar="TABLE.csv", help="columns 'file' and 'speaker'")
    add_options(groups, PrepareOptions)
    work = groups["work"]
    work.add_argument(
        "--workers", type=at_least(1), default=os.cpu_count() or 1, metavar="N", help="processes (default: all cores)"
    )
    work.add_argument("--ray", metavar="ADDRESS", help="run on this Ray cluster instead; 'local' for a new one here")
    output = groups["output"]
    output.add_argument("-o", "--output", type=Path, required=True, metavar="DATASET", help="folder of the data set")
    output.add_argument(
        "--shard-mb", type=at_least(1), default=256, metavar="MB", help="size of a shard (default: 256)"
    )
    add_quiet(output, "only the summary")
    prepare.set_defaults(run=_prepare)


def _prepare(given: argparse.Namespace) -> int:
    require("webdataset")
    from ..training.data.prepare import prepare

    found = _find(given.sources, given.layout)
    if given.speakers is not None:
        from ..training.data.layouts import with_speakers

        found = with_speakers(found, given.speakers)
    on_outcome: Callable[[PrepareOutcome], None] = (lambda outcome: None) if given.quiet else _print_outcome
    options = with_options(PrepareOptions(), vars(given))
    manifest = prepare(found, given.output, options, _executor(given), on_outcome, given.shard_mb << 20)
    print(
        f"{given.output}: {manifest['clips']} clips of {manifest['speakers']} speakers,"
        f" {60 * manifest['hours']:.1f} minutes, from {manifest['videos']} videos"
    )
    for reason, count in sorted(manifest["rejected"].items()):
        print(f"left out: {count} x {reason}")
    return 0 if manifest["clips"] else 1


def _find(roots: list[Path], layout: str) -> list[VideoSource]:
    from ..training.data.layouts import find_videos

    return [source for root in roots for source in find_videos(root, layout)]


def _executor(given: argparse.Namespace) -> Executor:
    from ..training.data.outcomes import crash_outcome
    from ..utils import processes

    if given.ray is not None:
        return lambda work, sources: processes.map_on_ray(work, sources, given.ray, crash_outcome)
    return lambda work, sources: processes.local(work, sources, given.workers, crash_outcome)


def _print_outcome(outcome: PrepareOutcome) -> None:
    rejected = ", ".join(f"{count} x {reason}" for reason, count in outcome.rejected.items())
    shift = f", offset {outcome.offset} frames undone" if outcome.offset else ""
    why = f"; left out: {rejected}" if rejected else ""
    note = f" ({outcome.note})" if outcome.note else ""
    print(f"{outcome.key}: {len(outcome.clips)} clips{shift}{why}{note}", flush=True)
