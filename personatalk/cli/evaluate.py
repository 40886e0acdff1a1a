"""The commands of evaluation: `personatalk evaluate`, `style-map` and `study`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..errors import OptionError, PersonaTalkError
from ..pipeline.options import WeightPaths
from ..utils.options import with_options
from .options import Commands, Group, Groups, add_command, add_morphable, add_options

if TYPE_CHECKING:
    from ..evaluation.pair import Comparison, MetricNetworks
    from ..evaluation.run import Rows
    from ..geometry.morphable_model import MorphableModel

Loaded = TypeVar("Loaded")


def add_evaluate(commands: Commands) -> None:
    """Add `personatalk evaluate`."""
    evaluate = add_command(
        commands,
        "evaluate",
        "measure dubbed videos against their references",
        "Compare generated videos with the real ones, or dub a folder with its own audio and measure that. Writes"
        " table.md, clips.csv, report.json and report.html. Columns whose network is not given are left out.",
        [
            "personatalk evaluate --self-dub clips -o report --download",
            "personatalk evaluate --reference real --generated ours theirs -o report",
        ],
    )
    groups = Groups(evaluate, "what is measured", "metric networks", "models", "output")
    _add_sources(groups["what is measured"])
    _add_networks(groups["metric networks"])
    groups["models"].add_argument(
        "--style-encoder", type=Path, metavar="FILE", help="style encoder of StyleSim (default: the package's)"
    )
    add_morphable(groups["models"])
    add_options(groups, WeightPaths, ("stage1", "stage2", "device"))
    groups["output"].add_argument(
        "-o", "--output", type=Path, required=True, metavar="REPORT", help="folder of the report"
    )
    evaluate.set_defaults(run=_evaluate)


def _add_sources(group: Group) -> None:
    """Add the options that name what is measured."""
    source = group.add_mutually_exclusive_group(required=True)
    source.add_argument("--pairs", type=Path, metavar="LIST.csv", help="columns reference, generated[, name, text]")
    source.add_argument("--reference", type=Path, metavar="FOLDER", help="real videos; needs --generated")
    source.add_argument("--self-dub", type=Path, metavar="FOLDER", help="videos to dub with their own audio")
    source.add_argument(
        "--data",
        type=Path,
        nargs="+",
        metavar="DATASET",
        help="prepared data sets: the renderer alone, with true geometry, and whether mouths open as far as asked",
    )
    group.add_argument(
        "--generated", type=Path, nargs="+", default=[], metavar="FOLDER", help="one folder for each system"
    )
    group.add_argument(
        "--ablation", type=Path, metavar="RUNS", help="with --self-dub: what 'personatalk ablate' trained (Table 4)"
    )


def _add_networks(group: Group) -> None:
    """Add the options that name the networks of the metrics."""
    group.add_argument("--arcface", type=Path, metavar="FILE.onnx", help="identity network, for CSIM")
    group.add_argument("--lpips", type=Path, metavar="FILE.onnx", help="LPIPS network")
    group.add_argument("--inception", type=Path, metavar="FILE.pt", help="Inception as TorchScript, for FID")
    group.add_argument("--syncnet", type=Path, metavar="FILE.model", help="syncnet_v2.model, for SyncScore and LSE-D")
    group.add_argument("--i3d", type=Path, metavar="FILE.pt", help="I3D as TorchScript, for FVD")
    group.add_argument(
        "--active-speaker",
        type=Path,
        nargs=2,
        metavar=("VISUAL.onnx", "BACKEND.onnx"),
        help="active-speaker network (LR-ASD), a coarse meter of sync",
    )
    group.add_argument(
        "--download",
        action="store_true",
        help="fetch networks that are not given from their authors into the cache, checked by SHA-256",
    )


def add_style_map(commands: Commands) -> None:
    """Add `personatalk style-map`."""
    style_map = add_command(
        commands,
        "style-map",
        "map the speaking styles of originals and dubs",
        "Draw a t-SNE map of the speaking styles of videos (Figure 5 of the paper), and print how well speakers keep"
        " together.",
        ["personatalk style-map originals --generated dubs -o map.png"],
    )
    style_map.add_argument("original", type=Path, metavar="FOLDER", help="original videos")
    style_map.add_argument("--generated", type=Path, metavar="FOLDER", help="dubs, called after their originals")
    style_map.add_argument("--speakers", type=Path, metavar="TABLE.csv", help="columns 'file' and 'speaker'")
    style_map.add_argument("-o", "--output", type=Path, required=True, metavar="MAP.png", help="image to write")
    groups = Groups(style_map, "models")
    groups["models"].add_argument(
        "--style-encoder", type=Path, metavar="FILE", help="style encoder of StyleSim (default: the package's)"
    )
    add_morphable(groups["models"])
    style_map.set_defaults(run=_style_map)


def add_study(commands: Commands) -> None:
    """Add `personatalk study`."""
    study = add_command(
        commands,
        "study",
        "a blinded rating study, and its mean opinion scores",
        "Make a page on which people rate videos without knowing who made them, and count their answers.",
    )
    steps = study.add_subparsers(title="commands", required=True, metavar="COMMAND")
    make = add_command(
        steps,
        "make",
        "write a rating page",
        "Write a static page that raters open.",
        ["personatalk study make ours=dubs/ours theirs=dubs/theirs --original clips -o study"],
    )
    make.add_argument("systems", nargs="+", metavar="NAME=FOLDER", help="videos of each system, same names")
    make.add_argument("--original", type=Path, metavar="FOLDER", help="original videos, shown beside")
    make.add_argument("-o", "--output", type=Path, required=True, metavar="STUDY", help="a new folder")
    make.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the blind names (default: 0)")
    make.set_defaults(run=_study_make)
    score = add_command(
        steps,
        "score",
        "mean opinion scores from the answers",
        "Print the mean opinion score of each system.",
        ["personatalk study score study answers/*.json"],
    )
    score.add_argument("study", type=Path, metavar="STUDY", help="folder of 'study make'")
    score.add_argument("answers", nargs="+", type=Path, metavar="ANSWERS.json", help="file of a rater")
    score.set_defaults(run=_study_score)


def _style_map(given: argparse.Namespace) -> int:
    from ..evaluation import style_map
    from ..geometry.morphable_model import MorphableModel
    from ..stage1.style_similarity import StyleSimilarityEncoder
    from ..training.data.layouts import speaker_table

    speakers = {} if given.speakers is None else speaker_table(given.speakers)
    encoder, model = StyleSimilarityEncoder.load(given.style_encoder), MorphableModel.load(given.morphable)
    videos = [(*v, False) for v in style_map.videos_of(given.original, speakers)]
    if given.generated is not None:
        # A dub belongs to the speaker of the video that it is called after.
        names = speakers or {
            path.relative_to(given.original).with_suffix("").as_posix(): speaker for path, speaker, _ in videos
        }
        videos += [(*v, True) for v in style_map.videos_of(given.generated, names)]
    points = []
    for path, speaker, generated in videos:
        try:
            points += style_map.points_of(path, speaker, generated, encoder, model)
        except PersonaTalkError as error:
            print(f"left out: {error}", flush=True)
    style_map.draw(points, style_map.place(points), given.output)
    sets = {"originals": [p for p in points if not p.generated], "dubs": [p for p in points if p.generated]}
    for name, chosen in {**sets, "together": points}.items():
        if chosen:
            print(f"{name}: {len(chosen)} stretches, silhouette of the speakers {style_map.silhouette(chosen):.3f}")
    if sets["dubs"]:
        print(f"dubs nearest to their own speaker's originals: {style_map.nearest_original(points):.3f}")
    print(given.output)
    return 0


def _study_make(given: argparse.Namespace) -> int:
    from ..evaluation import study

    systems = {}
    for word in given.systems:
        name, mark, folder = word.partition("=")
        if not mark or not name or name in systems:
            raise OptionError(f"{word}: name every system once, as NAME=FOLDER")
        systems[name] = Path(folder)
    count = study.make(systems, given.original, given.output, given.seed)
    print(
        f"{given.output / study.PAGE / 'index.html'}: {count} videos to rate; give raters the folder {study.PAGE} alone"
    )
    return 0


def _study_score(given: argparse.Namespace) -> int:
    from ..evaluation import study

    print(study.opinion_table(study.score_study(given.study, given.answers)))
    return 0


def _evaluate(given: argparse.Namespace) -> int:
    from ..evaluation import report
    from ..evaluation.run import evaluate_rows
    from ..geometry.morphable_model import MorphableModel

    if given.ablation is not None and given.self_dub is None:
        raise OptionError("--ablation needs --self-dub, the videos to dub")
    if (given.reference is None) != (not given.generated):
        raise OptionError("--reference and --generated belong together")
    model = MorphableModel.load(given.morphable)
    if given.data is not None:
        return _evaluate_renderer(given, model)
    networks = _networks(given, model)
    rows, beside = _jobs(given)

    def tell(job: Comparison, reason: str) -> None:
        print(f"{job.name}: {reason}", flush=True)

    results = evaluate_rows(rows, networks, model, given.output, beside, tell)
    table = report.write_report(given.output, results)
    print(report.markdown(report.format_table(table)))
    print("\n".join([*report.missing(table), *report.left_out(results), str(given.output / "report.html")]))
    return 0


def _evaluate_renderer(given: argparse.Namespace, model: MorphableModel) -> int:
    """Measure the renderer alone on the held-out clips of data sets."""
    from ..evaluation.networks import PerceptualNetwork
    from ..evaluation.renderer_report import write_renderer_report
    from ..stage2.runtime import RendererRuntime
    from ..training.data.shards import read_datasets
    from ..training.renderer_meter import RendererMeter

    lpips = None if given.lpips is None else PerceptualNetwork(given.lpips).distance
    meter = RendererMeter(model, RendererRuntime(given.stage2, given.device), lpips)
    means = write_renderer_report(given.output, meter.measure(read_datasets(given.data, ("val",))))
    print("\n".join(f"{name:24} {value:.4f}" for name, value in means.items()))
    print(given.output / "mouths.png")
    return 0


def _jobs(given: argparse.Namespace) -> tuple[Rows, Rows]:
    """Return the pairs by row of the table, and the other dubs that --self-dub makes of the same clips, by kind."""
    from ..evaluation import jobs
    from ..evaluation.report import GROUND_TRUTH

    if given.pairs is not None:
        return {"generated": jobs.from_list(given.pairs)}, {}
    if given.reference is not None:
        names = [folder.resolve().name for folder in given.generated]
        if len({*names, GROUND_TRUTH}) <= len(names):
            raise OptionError(f"folders called {', '.join(names)}: each system needs a name of its own")
        pairs = (jobs.from_folders(given.reference, folder) for folder in given.generated)
        return dict(zip(names, pairs, strict=True)), {}
    from ..pipeline.weights import Models

    if given.ablation is not None:
        from ..stage1.network import GeometryGenerator
        from ..stage2.renderer import Renderer
        from ..training.ablation import ablation_weights

        sets = {}
        for number, (name, (first, second)) in enumerate(ablation_weights(given.ablation).items()):
            GeometryGenerator.export(first)
            Renderer.export(second)
            models = Models.load(given.morphable, first, second, device=given.device)
            sets[name] = jobs.self_dubs(given.self_dub, given.output / f"dubs{number}", models, ("own",))["own"]
        return sets, {}
    models = with_options(WeightPaths(), vars(given)).load()
    dubs = jobs.self_dubs(given.self_dub, given.output / "dubs", models)
    return {"PersonaTalk": dubs.pop("own")}, {kind: pairs for kind, pairs in dubs.items() if pairs}


def _networks(given: argparse.Namespace, model: MorphableModel) -> MetricNetworks:
    """Load the networks that the user has."""
    from ..evaluation import downloads
    from ..evaluation.active_speaker import ActiveSpeaker
    from ..evaluation.networks import InceptionNetwork, PerceptualNetwork, VideoFeatures
    from ..evaluation.pair import MetricNetworks
    from ..evaluation.syncnet import SyncNet
    from ..faces.recognition import ArcFaceRecogniser
    from ..pipeline.sync import SyncMeter
    from ..stage1.runtime import GeometryRuntime
    from ..stage1.style_similarity import StyleSimilarityEncoder

    def load_if_there(name: str, load: Callable[[Path], Loaded]) -> Loaded | None:
        try:
            path = downloads.locate(name, getattr(given, name), given.download)
        except PersonaTalkError as error:
            # A network that cannot be had costs its columns, not the others.
            print(error, flush=True)
            return None
        return None if path is None else load(path)

    return MetricNetworks(
        load_if_there("arcface", ArcFaceRecogniser),
        load_if_there("lpips", PerceptualNetwork),
        load_if_there("inception", InceptionNetwork),
        load_if_there("i3d", VideoFeatures),
        load_if_there("syncnet", SyncNet.load),
        None if given.active_speaker is None else ActiveSpeaker(*given.active_speaker),
        StyleSimilarityEncoder.load(given.style_encoder),
        SyncMeter(GeometryRuntime(given.stage1, given.device), model),
    )
