"""The commands `personatalk data prepare` and `personatalk data pack`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..training.data.options import PrepareOptions
from ..utils.options import with_options
from .options import Commands, Groups, add_command, add_morphable, add_options, add_quiet, at_least, require

if TYPE_CHECKING:
    from ..training.data.layouts import VideoSource
    from ..training.data.outcomes import PrepareOutcome
    from ..training.data.prepare import Executor


def add_data(commands: Commands) -> None:
    """Add `personatalk data`."""
    data = add_command(commands, "data", "prepare data for training", "Prepare data for training.")
    steps = data.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_prepare(steps)
    _add_pack(steps)


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


def _add_pack(steps: Commands) -> None:
    pack = add_command(
        steps,
        "pack",
        "pack data sets for stage 2 into a small one",
        "Take the clips in which the mouth moves most, evenly over the speakers, and write a data set of their crops as"
        " video, without audio: some 3 kB a frame. 'personatalk train stage2' takes it as it takes any data set.",
        ["personatalk data pack data/train data/val -o pack"],
    )
    pack.add_argument(
        "datasets", nargs="+", type=Path, metavar="DATASET", help="data set of 'personatalk data prepare'"
    )
    pack.add_argument("-o", "--output", type=Path, required=True, metavar="PACK", help="folder of the pack")
    pack.add_argument(
        "--frames", type=at_least(1), default=15000, metavar="N", help="frames to train on (default: 15000)"
    )
    pack.add_argument(
        "--held-out-frames", type=at_least(1), default=1500, metavar="N", help="frames of other splits (default: 1500)"
    )
    add_morphable(pack)
    pack.set_defaults(run=_pack)


def _pack(given: argparse.Namespace) -> int:
    require("webdataset")
    from ..geometry.morphable_model import MorphableModel
    from ..training.data.pack import pack
    from ..training.data.shards import read_dataset

    entries = [entry for folder in given.datasets for entry in read_dataset(folder)]
    model = MorphableModel.load(given.morphable)
    manifest = pack(entries, given.output, given.frames, given.held_out_frames, model)
    size = sum(path.stat().st_size for path in given.output.iterdir())
    frames = ", ".join(f"{count} frames {split}" for split, count in sorted(manifest["frames"].items()))
    print(
        f"{given.output}: {manifest['clips']} clips of {manifest['speakers']} speakers, {frames}, {size / 1e6:.1f} MB"
    )
    return 0


def _prepare(given: argparse.Namespace) -> int:
    require("train", "webdataset")
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
