"""The command line of data preparation and training: `personatalk data ...`, `personatalk train ...`."""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import PersonaTalkError

if TYPE_CHECKING:
    from ..training.data.layouts import VideoSource
    from ..training.data.prepare import Engine, PrepareOptions, PrepareOutcome

Commands = Any
"""What `add_subparsers` returns."""


def add_data(commands: Commands) -> None:
    """Add `personatalk data`."""
    data = commands.add_parser("data", help="prepare data for training")
    steps = data.add_subparsers(title="commands", required=True, metavar="COMMAND")
    prepare = steps.add_parser(
        "prepare",
        help="turn raw videos into a data set",
        description="Cut the SOURCEs into clips of one face with geometry, crops and sound, and write them as"
        " WebDataset shards with a manifest. Run again, it goes on where it was stopped.",
    )
    prepare.add_argument("sources", nargs="+", type=Path, metavar="SOURCE", help="video, or folder of videos")
    prepare.add_argument("-o", "--output", type=Path, required=True, metavar="DATASET", help="folder of the data set")
    prepare.add_argument("--layout", default="auto", help="auto, folder, voxceleb2, celebvhq, vfhq or hdtf")
    prepare.add_argument("--speakers", type=Path, metavar="TABLE.csv", help="columns 'file' and 'speaker': who is seen")
    prepare.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    prepare.add_argument("--ray", metavar="ADDRESS", help="run on this Ray cluster instead; 'local' for a new one here")
    prepare.add_argument("--shard-mb", type=int, default=256, help="size of a shard (default: 256)")
    prepare.add_argument("--quiet", action="store_true", help="only the summary")
    _add_options(prepare)
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
    train.add_argument("network", choices=["morphable", "audio", "features", "stage1", "stage2", "style"])
    train.add_argument("dataset", nargs="*", help="data sets (audio: folders of sound; morphable: videos)")
    train.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="folder of the run")
    train.add_argument("--config", type=Path, metavar="FILE.yaml", help="fields that differ from the default")
    train.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="change a field")
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
    _need("lightning_fabric", "tensorboard", "transformers", "webdataset", "yaml")
    from ..training.ablation import ablate

    changes = {"stage1": given.stage1, "stage2": given.stage2}
    ablate(given.dataset, given.output, changes, given.morphable, given.accelerator)
    return 0


def _train(given: argparse.Namespace) -> int:
    _need("lightning_fabric", "tensorboard", "transformers", "webdataset", "yaml")
    if given.network == "morphable":
        from ..training.morphable import learn

        learn([Path(p) for p in given.dataset], given.output)
        return 0
    from ..training.engine import fabric, fit

    kind, task = _trainers()[given.network]
    changes = list(given.set)
    if given.dataset:
        changes.insert(0, f"dataset={given.dataset}")
    from ..training.config import read

    config = read(kind, given.network, given.config, changes)
    if not config.dataset:
        raise PersonaTalkError("name a data set to train on; make one with 'personatalk data prepare'")
    engine = fabric(config, given.accelerator, given.devices, given.nodes)
    engine.launch()
    fit(task(config, given.morphable), config, given.output, engine, given.minutes)
    return 0


def _trainers() -> dict[str, tuple[Any, Any]]:
    """Configuration and task of every trainer."""
    from ..training.audio import AudioConfig, AudioTask
    from ..training.features import FeatureConfig, FeatureTask
    from ..training.stage1 import Stage1Config, Stage1Task
    from ..training.stage2 import Stage2Config, Stage2Task
    from ..training.style import StyleConfig, StyleTask

    return {
        "audio": (AudioConfig, AudioTask.from_config),
        "features": (FeatureConfig, FeatureTask.from_config),
        "stage1": (Stage1Config, Stage1Task.from_config),
        "stage2": (Stage2Config, Stage2Task.from_config),
        "style": (StyleConfig, StyleTask.from_config),
    }


_OPTIONS: dict[str, tuple[Callable[[str], Any], str]] = {
    "split": (str, "split that these sources belong to (default: train)"),
    "shortest": (float, "seconds of the shortest clip (default: 1)"),
    "longest": (float, "seconds of the longest clip (default: 10)"),
    "eyes": (float, "least pixels between the outer corners of the eyes (default: 32)"),
    "speech": (float, "least share of speech in a clip with sound (default: 0.3)"),
    "agreement": (float, "least correlation of mouth and sound at the best offset (default: 0.15; 0 keeps all)"),
    "niqe": (float, "largest NIQE (default: 0, which keeps all)"),
    "quality_model": (Path, "NIQE's model of good pictures (default: the package's)"),
    "hyperiqa": (Path, "weights of HyperIQA, to be used instead of NIQE"),
    "hyperiqa_score": (float, "least score of HyperIQA (default: 40)"),
    "morphable": (Path, "morphable model (default: the package's)"),
    "stage1": (Path, "stage 1 weights that judge the offset (default: the package's)"),
    "face_model": (Path, "MediaPipe Tasks face landmarker (default: MediaPipe's face mesh)"),
}


def _add_options(prepare: argparse.ArgumentParser) -> None:
    for name, (kind, text) in _OPTIONS.items():
        prepare.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text)


def _options(given: argparse.Namespace) -> PrepareOptions:
    from ..training.data.prepare import PrepareOptions

    chosen = {f.name: getattr(given, f.name) for f in fields(PrepareOptions)}
    return PrepareOptions(**{name: value for name, value in chosen.items() if value is not None})


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
    tell: Callable[[PrepareOutcome], None] = (lambda outcome: None) if given.quiet else _tell
    manifest = prepare(found, given.output, _options(given), _engine(given), tell, given.shard_mb << 20)
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


def _engine(given: argparse.Namespace) -> Engine:
    from ..training.data.prepare import crashed
    from ..utils import processes

    if given.workers < 1:
        raise PersonaTalkError(f"--workers {given.workers}: give 1 or more")
    if given.ray is not None:
        return lambda work, sources: processes.on_ray(work, sources, given.ray, crashed)
    return lambda work, sources: processes.local(work, sources, given.workers, crashed)


def _tell(outcome: PrepareOutcome) -> None:
    rejected = ", ".join(f"{count} x {reason}" for reason, count in outcome.rejected.items())
    shift = f", offset {outcome.offset} frames undone" if outcome.offset else ""
    why = f"; left out: {rejected}" if rejected else ""
    note = f" ({outcome.note})" if outcome.note else ""
    print(f"{outcome.key}: {len(outcome.clips)} clips{shift}{why}{note}", flush=True)
