"""The commands `personatalk persona make` and `personatalk persona show`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..pipeline.options import DubOptions, WeightPaths
from ..utils.options import with_options
from .options import Commands, Groups, add_command, add_options, add_quiet, at_least
from .progress import add_progress, open_progress


def add_persona(commands: Commands) -> None:
    """Add `personatalk persona`."""
    persona = add_command(
        commands,
        "persona",
        "keep what makes a speaker's mouth that speaker's",
        "A persona holds a speaker's style, face, lip references and the analysis of the videos that it was made from:"
        " dubbing one of those again starts at once.",
    )
    steps = persona.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_make(steps)
    _add_show(steps)


def _add_make(steps: Commands) -> None:
    make = add_command(
        steps,
        "make",
        "make a persona from videos of one speaker",
        "Analyse the VIDEOs of one speaker, and keep what dubbing them needs.",
        [
            "personatalk persona make ann1.mp4 ann2.mp4 -o ann.persona",
            "personatalk dub ann1.mp4 speech.wav -o dubbed.mp4 --persona ann.persona",
        ],
    )
    groups = Groups(make, "what is kept", "whose face", "models")
    kept = groups["what is kept"]
    kept.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="video of the speaker")
    kept.add_argument(
        "--latent-cache",
        type=at_least(0, float),
        default=2.0,
        metavar="GB",
        help="most that the texture latents of a video's frames may take, some 0.9 a minute; 0: none (default: 2)",
    )
    add_options(groups, DubOptions, ("face", "identity"))
    add_options(groups, WeightPaths)
    output = groups["output"]
    output.add_argument("-o", "--output", type=Path, required=True, metavar="NAME.persona", help="persona to write")
    add_quiet(output)
    add_progress(output)
    make.set_defaults(run=run_make)


def _add_show(steps: Commands) -> None:
    show = add_command(
        steps,
        "show",
        "print what a persona holds",
        "Print what a persona holds.",
        ["personatalk persona show ann.persona --plot mouths.png"],
    )
    show.add_argument("persona", type=Path, metavar="NAME.persona", help="persona to read")
    show.add_argument("--plot", type=Path, metavar="OUT.png", help="draw its mouths, and how far it opens how often")
    add_options(Groups(show), WeightPaths)
    show.set_defaults(run=run_show)


def run_make(given: argparse.Namespace) -> int:
    """Run `personatalk persona make`."""
    from ..pipeline.persona import check_persona_path
    from ..pipeline.persona_making import make_persona
    from ..pipeline.persona_sheet import describe_persona

    check_persona_path(given.output, given.videos)
    search = with_options(DubOptions(), vars(given)).search()
    models = with_options(WeightPaths(), vars(given)).load()
    with open_progress(given) as progress:
        made = make_persona(
            given.videos, models, search, progress, 1e9 * given.latent_cache, given.output.absolute().parent
        )
    made.save(given.output)
    print("\n".join([str(given.output), *describe_persona(made, models)]))
    return 0


def run_show(given: argparse.Namespace) -> int:
    """Run `personatalk persona show`."""
    from ..pipeline.persona import Persona
    from ..pipeline.persona_sheet import describe_persona, draw_persona
    from ..utils.drawing import write_picture

    models = with_options(WeightPaths(), vars(given)).load()
    kept = Persona.load(given.persona, models.morphable)
    print("\n".join(describe_persona(kept, models)))
    if given.plot is not None:
        write_picture(given.plot, draw_persona(kept, models.morphable))
    return 0
