"""The commands that show what is seen in a video: `personatalk inspect` and `personatalk faces`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..pipeline.options import DubOptions, WeightPaths
from ..utils.options import with_options
from .options import Commands, Groups, add_command, add_options, add_quiet, at_least
from .progress import add_progress, open_progress


def add_inspect(commands: Commands) -> None:
    """Add `personatalk inspect`."""
    inspect = add_command(
        commands,
        "inspect",
        "draw what PersonaTalk sees in a video",
        "Draw a contact sheet of VIDEO: landmarks, PNCC, generated region, and the lip references.",
        ["personatalk inspect video.mp4 -o sheet.png --frames 12"],
    )
    groups = Groups(inspect, "what is drawn", "whose face", "models")
    drawn = groups["what is drawn"]
    drawn.add_argument("video", type=Path, metavar="VIDEO", help="video of a person speaking")
    drawn.add_argument("--frames", type=at_least(1), default=6, metavar="N", help="frames on the sheet (default: 6)")
    add_options(groups, DubOptions, ("face", "identity"))
    add_options(groups, WeightPaths, ("morphable", "deep3d"))
    output = groups["output"]
    output.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.png", help="image to write")
    add_quiet(output)
    add_progress(output)
    inspect.set_defaults(run=run_inspect)


def add_faces(commands: Commands) -> None:
    """Add `personatalk faces`."""
    faces = add_command(
        commands,
        "faces",
        "list the people of a video",
        "Find everybody who is seen in VIDEO, number them for --face, and draw a sheet of their faces.",
        ["personatalk faces video.mp4 -o people.png", "personatalk dub video.mp4 speech.wav -o dubbed.mp4 --face 2"],
    )
    groups = Groups(faces, "what is searched")
    groups["what is searched"].add_argument("video", type=Path, metavar="VIDEO", help="video of people")
    add_options(groups, DubOptions, ("identity",))
    add_options(groups, WeightPaths, ("morphable", "deep3d"))
    output = groups["output"]
    output.add_argument("-o", "--output", type=Path, metavar="SHEET.png", help="image to write")
    output.add_argument("--json", type=Path, metavar="FILE.json", help="write the same as JSON")
    add_quiet(output, "no progress bars, no list")
    add_progress(output)
    faces.set_defaults(run=run_faces)


def run_inspect(given: argparse.Namespace) -> int:
    """Run `personatalk inspect`."""
    from ..pipeline.contact_sheet import draw_contact_sheet
    from ..pipeline.weights import load_face_model

    with open_progress(given) as progress:
        model, initialise = load_face_model(given.morphable, given.deep3d)
        search = with_options(DubOptions(), vars(given)).search()
        draw_contact_sheet(given.video, given.output, model, search, given.frames, progress, initialise)
    return 0


def run_faces(given: argparse.Namespace) -> int:
    """Run `personatalk faces`."""
    from ..media.reader import VideoReader
    from ..pipeline.people_sheet import check_people_sheet, describe_people, write_people_json, write_sheet
    from ..pipeline.weights import load_face_model

    check_people_sheet(given.video, given.output, given.json)
    with open_progress(given) as progress:
        model, _ = load_face_model(given.morphable, given.deep3d)
        search = with_options(DubOptions(), vars(given)).search()
        with VideoReader(given.video) as reader:
            people = search.people(reader, model, progress)
    if given.output is not None:
        write_sheet(people, given.output)
    if given.json is not None:
        write_people_json(people, given.json)
    if not given.quiet:
        print("\n".join(describe_people(people)))
    return 0
