"""The command line of data preparation and training: `personatalk data ...`, `personatalk train ...`."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import PersonaTalkError
from ..training.config import CONFIGS, TrainConfig, as_yaml
from ..training.data.options import PrepareOptions
from ..utils.options import options_of
from .options import Commands, Groups, add_command, add_options

if TYPE_CHECKING:
    from ..training.data.layouts import VideoSource
    from ..training.data.outcomes import PrepareOutcome
    from ..training.data.prepare import Executor

# The networks that `personatalk train` trains on prepared data.
TRAINED = {
    "audio": "audio encoder, pretrained on speech alone",
    "features": "feature network of stage 2's perceptual loss",
    "stage1": "stage 1, the geometry generator",
    "stage2": "stage 2, the renderer",
    "style": "style encoder of StyleSim",
}


def add_data(commands: Commands) -> None:
    """Add `personatalk data`."""
    data = commands.add_parser("data", help="prepare data for training")
    steps = data.add_subparsers(title="commands", required=True, metavar="COMMAND")
    prepare = steps.add_parser(
        "prepare",
        help="turn raw videos into a data set",
        description="Cut the SOURCEs into clips of one face with geometry, crops and audio, and write them as"
        " WebDataset shards with a manifest. Run again, it goes on where it was stopped.",
    )
    prepare.add_argument("sources", nargs="+", type=Path, metavar="SOURCE", help="video, or folder of videos")
    prepare.add_argument("-o", "--output", type=Path, required=True, metavar="DATASET", help="folder of the data set")
    prepare.add_argument("--layout", default="auto", help="auto, folder, voxceleb2, celebvhq, vfhq or hdtf")
    prepare.add_argument("--speakers", type=Path, metavar="TABLE.csv", help="columns 'file' and 'speaker'")
    prepare.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    prepare.add_argument("--ray", metavar="ADDRESS", help="run on this Ray cluster instead; 'local' for a new one here")
    prepare.add_argument("--shard-mb", type=int, default=256, help="size of a shard (default: 256)")
    prepare.add_argument("--quiet", action="store_true", help="only the summary")
    groups = Groups(prepare)
    groups["options"] = prepare
    add_options(groups, PrepareOptions)
    prepare.set_defaults(run=_prepare)
    synthesise = steps.add_parser(
        "synthesise",
        help="make synthetic speech with known phones",
        description="Write made-up words in many voices and languages (eSpeak NG, and Flite where it is installed),"
        " each with its phones beside it, to pretrain the audio encoder on.",
    )
    synthesise.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="a new folder")
    synthesise.add_argument("--minutes", type=float, default=60, help="how much speech (default: 60)")
    synthesise.add_argument("--seed", type=int, default=0, help="of voices and words (default: 0)")
    synthesise.set_defaults(run=_synthesise)


def add_train(commands: Commands) -> None:
    """Add `personatalk train`."""
    train = commands.add_parser(
        "train",
        help="train a network",
        description="Train a network on prepared data. Run again with the same RUN, it goes on exactly where it was"
        " stopped. Under torchrun, or with --devices, several processes share the batch.",
    )
    networks = train.add_subparsers(title="networks", required=True, metavar="NETWORK", dest="network")
    for name, config in CONFIGS.items():
        _add_trainer(networks, name, config)
    morphable = networks.add_parser("morphable", help="morphable model, learned from videos")
    morphable.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="video, or folder of videos")
    morphable.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="file to write")
    morphable.set_defaults(run=_train_morphable)


def _add_trainer(networks: Commands, name: str, config: type[TrainConfig]) -> None:
    """Add the command that trains one network; its help lists the fields of its configuration."""
    train = add_command(networks, name, TRAINED[name], f"Train: {TRAINED[name]}.")
    train.epilog = f"fields, with their defaults and meanings:\n\n{textwrap.indent(as_yaml(config()), '  ')}"
    data = "folder of audio or video files" if name == "audio" else "data set of 'personatalk data prepare'"
    train.add_argument("datasets", nargs="*", metavar="DATASET", help=data)
    train.add_argument("-o", "--output", type=Path, metavar="RUN", help="folder of the run")
    train.add_argument("--config", type=Path, metavar="FILE.yaml", help="fields that differ from the defaults")
    train.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="change a field")
    train.add_argument("--print-config", action="store_true", help="print the configuration as YAML and stop")
    train.add_argument("--morphable", type=Path, metavar="FILE", help="morphable model (default: the package's)")
    train.add_argument("--minutes", type=float, help="stop after so long, with a checkpoint to go on from")
    train.add_argument("--accelerator", default="auto", help="cpu, gpu or auto (default)")
    train.add_argument("--devices", default="1", help="processes on this machine, or auto for all (default: 1)")
    train.add_argument("--nodes", type=int, default=1, help="machines (default: 1)")
    train.set_defaults(run=_train)


def add_ablate(commands: Commands) -> None:
    """Add `personatalk ablate`."""
    ablate = commands.add_parser(
        "ablate",
        help="train with and without each part, and compare",
        description="Train stage 1 without style, stage 2 without Face-Attention, Lip-Attention and frame selection,"
        " beside the full ones, and print how they do on the split 'val' (Table 4 of the paper, at a small scale).",
    )
    ablate.add_argument("dataset", nargs="+", help="data sets with the splits 'train' and 'val'")
    ablate.add_argument("-o", "--output", type=Path, required=True, metavar="RUNS", help="folder of the runs")
    for stage in ("stage1", "stage2"):
        text = f"change a field of all runs of {stage}, such as steps=500"
        ablate.add_argument(f"--{stage}", action="append", default=[], metavar="FIELD=VALUE", help=text)
    ablate.add_argument("--morphable", type=Path, metavar="FILE", help="morphable model (default: the package's)")
    ablate.add_argument("--accelerator", default="auto", help="cpu, gpu or auto (default)")
    ablate.set_defaults(run=_ablate)


def _ablate(given: argparse.Namespace) -> int:
    _need("lightning_fabric", "msgspec", "tensorboard", "transformers", "webdataset", "yaml")
    from ..training.ablation import ablate

    changes = {"stage1": given.stage1, "stage2": given.stage2}
    ablate(given.dataset, given.output, changes, given.morphable, given.accelerator)
    return 0


def _train(given: argparse.Namespace) -> int:
    _need("lightning_fabric", "msgspec", "tensorboard", "transformers", "webdataset", "yaml")
    from ..training.config_files import read_config

    changes = [f"datasets={json.dumps(given.datasets)}"] if given.datasets else []
    config = read_config(CONFIGS[given.network], given.config, [*changes, *given.set])
    if given.print_config:
        print(as_yaml(config))
        return 0
    if given.output is None:
        raise PersonaTalkError("name the folder of the run: -o RUN")
    if not config.datasets:
        raise PersonaTalkError("name a data set to train on; make one with 'personatalk data prepare'")
    from ..training.engine import fit, make_fabric

    fabric = make_fabric(config, given.accelerator, given.devices, given.nodes)
    fabric.launch()
    fit(_task(given.network).from_config(config, given.morphable), config, given.output, fabric, given.minutes)
    return 0


def _task(network: str) -> Any:
    """Return the class of a network's training."""
    from ..training.audio import AudioTask
    from ..training.features import FeatureTask
    from ..training.stage1 import Stage1Task
    from ..training.stage2 import Stage2Task
    from ..training.style import StyleTask

    tasks: dict[str, Any] = {
        "audio": AudioTask,
        "features": FeatureTask,
        "stage1": Stage1Task,
        "stage2": Stage2Task,
        "style": StyleTask,
    }
    return tasks[network]


def _train_morphable(given: argparse.Namespace) -> int:
    from ..training.morphable import learn_from_videos

    learn_from_videos(given.videos, given.output)
    return 0


def _need(*modules: str) -> None:
    """Make sure that what only training needs is installed."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise PersonaTalkError(f"this needs {', '.join(missing)}; install: pip install 'personatalk[train]'")


def _prepare(given: argparse.Namespace) -> int:
    _need("webdataset")
    from ..training.data.prepare import prepare

    found = _find(given.sources, given.layout)
    if given.speakers is not None:
        from ..training.data.layouts import with_speakers

        found = with_speakers(found, given.speakers)
    on_outcome: Callable[[PrepareOutcome], None] = (lambda outcome: None) if given.quiet else _print_outcome
    options = PrepareOptions(**{each.name: getattr(given, each.name) for each in options_of(PrepareOptions)})
    manifest = prepare(found, given.output, options, _executor(given), on_outcome, given.shard_mb << 20)
    print(
        f"{given.output}: {manifest['clips']} clips of {manifest['speakers']} speakers,"
        f" {60 * manifest['hours']:.1f} minutes, from {manifest['videos']} videos"
    )
    for reason, count in sorted(manifest["rejected"].items()):
        print(f"left out: {count} x {reason}")
    return 0 if manifest["clips"] else 1


def _synthesise(given: argparse.Namespace) -> int:
    from ..training.data.synthesis import synthesise

    print(f"{given.output}: {synthesise(given.output, given.minutes, given.seed)} utterances")
    return 0


def _find(roots: list[Path], layout: str) -> list[VideoSource]:
    from ..training.data.layouts import find_videos

    return [source for root in roots for source in find_videos(root, layout)]


def _executor(given: argparse.Namespace) -> Executor:
    from ..training.data.outcomes import crash_outcome
    from ..utils import processes

    if given.workers < 1:
        raise PersonaTalkError(f"--workers {given.workers}: give 1 or more")
    if given.ray is not None:
        return lambda work, sources: processes.on_ray(work, sources, given.ray, crash_outcome)
    return lambda work, sources: processes.local(work, sources, given.workers, crash_outcome)


def _print_outcome(outcome: PrepareOutcome) -> None:
    rejected = ", ".join(f"{count} x {reason}" for reason, count in outcome.rejected.items())
    shift = f", offset {outcome.offset} frames undone" if outcome.offset else ""
    why = f"; left out: {rejected}" if rejected else ""
    note = f" ({outcome.note})" if outcome.note else ""
    print(f"{outcome.key}: {len(outcome.clips)} clips{shift}{why}{note}", flush=True)
