"""The commands `personatalk train` and `personatalk ablate`."""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path
from typing import Any

from ..errors import OptionError
from ..training.config import CONFIGS, TrainConfig, as_yaml
from .options import Commands, Group, Groups, add_command, add_morphable, at_least, require

# The networks that `personatalk train` trains on prepared data.
TRAINED = {
    "stage1": "stage 1, the geometry generator",
    "stage2": "stage 2, the renderer",
    "style": "style encoder of StyleSim",
}


def add_train(commands: Commands) -> None:
    """Add `personatalk train`."""
    train = add_command(
        commands,
        "train",
        "train a network",
        "Train a network on prepared data. Run again with the same RUN, it goes on exactly where it was stopped. Under"
        " torchrun, or with --devices, several processes share the batch.",
        [
            "personatalk train stage1 data/train data/val -o runs/stage1",
            "personatalk train stage1 --help",
        ],
    )
    networks = train.add_subparsers(title="networks", required=True, metavar="NETWORK", dest="network")
    for name, config in CONFIGS.items():
        _add_trainer(networks, name, config)
    description = "Learn a morphable model from videos of faces."
    morphable = add_command(networks, "morphable", "morphable model, learned from videos", description)
    morphable.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="video, or folder of videos")
    morphable.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="file to write")
    morphable.set_defaults(run=_train_morphable)


def _add_trainer(networks: Commands, name: str, config: type[TrainConfig]) -> None:
    """Add the command that trains one network; its help lists the fields of its configuration."""
    train = add_command(networks, name, TRAINED[name], f"Train: {TRAINED[name]}.")
    train.epilog = f"fields, with their defaults and meanings:\n\n{textwrap.indent(as_yaml(config()), '  ')}"
    groups = Groups(train, "what is trained", "models", "work", "output")
    trained = groups["what is trained"]
    trained.add_argument("datasets", nargs="*", metavar="DATASET", help="data set of 'personatalk data prepare'")
    trained.add_argument("--config", type=Path, metavar="FILE.yaml", help="fields that differ from the defaults")
    trained.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="change a field")
    add_morphable(groups["models"])
    work = groups["work"]
    work.add_argument(
        "--minutes", type=at_least(0, float), metavar="N", help="stop after so long, with a checkpoint to go on from"
    )
    _add_accelerator(work)
    work.add_argument(
        "--devices", default="1", metavar="N", help="processes on this machine, or auto for all (default: 1)"
    )
    work.add_argument("--nodes", type=at_least(1), default=1, metavar="N", help="machines (default: 1)")
    groups["output"].add_argument("-o", "--output", type=Path, metavar="RUN", help="folder of the run")
    groups["output"].add_argument(
        "--print-config", action="store_true", help="print the configuration as YAML and stop"
    )
    train.set_defaults(run=_train)


def add_ablate(commands: Commands) -> None:
    """Add `personatalk ablate`."""
    ablate = add_command(
        commands,
        "ablate",
        "train with and without each part, and compare",
        "Train stage 1 without style, stage 2 without Face-Attention, Lip-Attention and frame selection, beside the"
        " full ones, and print how they do on the split 'val' (Table 4 of the paper, at a small scale).",
        ["personatalk ablate data/train data/val -o runs/ablation --set-stage1 steps=600"],
    )
    groups = Groups(ablate, "what is trained", "models", "work", "output")
    trained = groups["what is trained"]
    trained.add_argument("datasets", nargs="+", metavar="DATASET", help="data sets with the splits 'train' and 'val'")
    for stage in ("stage1", "stage2"):
        meaning = f"change a field of all runs of {stage}, such as steps=500"
        trained.add_argument(f"--set-{stage}", action="append", default=[], metavar="FIELD=VALUE", help=meaning)
    add_morphable(groups["models"])
    _add_accelerator(groups["work"])
    groups["output"].add_argument("-o", "--output", type=Path, required=True, metavar="RUNS", help="folder of the runs")
    ablate.set_defaults(run=_ablate)


def _add_accelerator(group: Group) -> None:
    group.add_argument("--accelerator", default="auto", metavar="NAME", help="cpu, gpu or auto (default)")


def _ablate(given: argparse.Namespace) -> int:
    require("train", "lightning_fabric", "msgspec", "tensorboard", "webdataset", "yaml")
    from ..training.ablation import ablate

    changes = {"stage1": given.set_stage1, "stage2": given.set_stage2}
    ablate(given.datasets, given.output, changes, given.morphable, given.accelerator)
    return 0


def _train(given: argparse.Namespace) -> int:
    require("train", "lightning_fabric", "msgspec", "tensorboard", "webdataset", "yaml")
    from ..training.config_files import read_config

    changes = [f"datasets={json.dumps(given.datasets)}"] if given.datasets else []
    config = read_config(CONFIGS[given.network], given.config, [*changes, *given.set])
    if given.print_config:
        print(as_yaml(config))
        return 0
    if given.output is None:
        raise OptionError("name the folder of the run: -o RUN")
    if not config.datasets:
        raise OptionError("name a data set to train on; make one with 'personatalk data prepare'")
    from ..training.engine import fit, make_fabric

    fabric = make_fabric(config, given.accelerator, given.devices, given.nodes)
    fabric.launch()
    fit(_task(given.network).from_config(config, given.morphable), config, given.output, fabric, given.minutes)
    return 0


def _task(network: str) -> Any:
    """Return the class of a network's training."""
    from ..training.stage1 import Stage1Task
    from ..training.stage2 import Stage2Task
    from ..training.style import StyleTask

    tasks: dict[str, Any] = {
        "stage1": Stage1Task,
        "stage2": Stage2Task,
        "style": StyleTask,
    }
    return tasks[network]


def _train_morphable(given: argparse.Namespace) -> int:
    from ..training.morphable import learn_from_videos

    learn_from_videos(given.videos, given.output)
    return 0
