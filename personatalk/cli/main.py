"""The command line: `personatalk dub`, `batch`, `verify`, `persona`, `inspect`, `faces`, `evaluate`, `train`, ..."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import PersonaTalkError
from ..utils.interrupt import Interrupt
from ..version import __version__
from .evaluate import add_evaluate, add_study, add_style_map
from .options import (
    add_dub_options,
    add_face_options,
    add_identity,
    add_models,
    count,
    dub_options,
    gigabytes,
    positive,
)
from .progress import Bars
from .train import add_ablate, add_data, add_train

if TYPE_CHECKING:
    from ..pipeline.batch import BatchJob, Engine, JobOutcome, JobStatus, WeightPaths

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
NOTHING_FOUND = 3
"""Exit code of `verify` where nothing says that the video was generated."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after the program's name; those of the process where None.

    Returns:
        Exit code: 0 done, 1 an error that was explained in one line, 2 wrong usage, 130 interrupted.
    """
    options = parser().parse_args(arguments)
    options.interrupt = Interrupt()
    # A polite kill cleans up like Ctrl-C does.
    before = {number: signal.signal(number, options.interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code: int = options.run(options)
    except PersonaTalkError as error:
        print(f"personatalk: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("personatalk: interrupted; the same command goes on from what is finished", file=sys.stderr)
        return INTERRUPTED
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(prog="personatalk", description="Visual dubbing that keeps the speaker's persona.")
    top.add_argument("--version", action="version", version=f"personatalk {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_dub(commands)
    _add_batch(commands)
    _add_persona(commands)
    _add_verify(commands)
    _add_inspect(commands)
    _add_faces(commands)
    add_data(commands)
    add_train(commands)
    add_ablate(commands)
    add_evaluate(commands)
    add_style_map(commands)
    add_study(commands)
    return top


def _add_dub(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    dub = commands.add_parser(
        "dub",
        help="dub a video with a speech",
        description="Write VIDEO with its mouth saying SPEECH. Picture outside the face, size, frame rate, timestamps"
        " and other tracks stay. Every output says that it was generated: in its tags, in a signed C2PA manifest and"
        " in an invisible mark.",
    )
    dub.add_argument("video", nargs="?", type=Path, metavar="VIDEO", help="a video of a person speaking")
    dub.add_argument("speech", nargs="?", type=Path, metavar="SPEECH", help="audio file, or a video with sound")
    dub.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="video to write")
    dub.add_argument(
        "--cue", type=Path, metavar="FILE", help="who says what when, instead of SPEECH; docs/cues.md has the format"
    )
    dub.add_argument("--sample", action="store_true", help="dub the sample clip of the package")
    dub.add_argument("--report", type=Path, metavar="FILE.json", help="write what was done, as JSON")
    dub.add_argument("--quiet", action="store_true", help="no progress bars, no summary")
    add_dub_options(dub)
    add_models(dub)
    dub.set_defaults(run=_dub)


def _add_persona(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    persona = commands.add_parser(
        "persona",
        help="keep what makes a speaker's mouth that speaker's",
        description="A persona holds a speaker's style, face, lip references and the analysis of the videos that it was"
        " made from: dubbing one of those again starts at once.",
    )
    steps = persona.add_subparsers(title="commands", required=True, metavar="COMMAND")
    make = steps.add_parser("make", help="make a persona from videos of one speaker")
    make.add_argument("videos", nargs="+", type=Path, metavar="VIDEO")
    make.add_argument("-o", "--output", type=Path, required=True, metavar="NAME.persona")
    make.add_argument("--quiet", action="store_true", help="no progress bars")
    add_face_options(make)
    add_models(make)
    make.add_argument(
        "--textures",
        type=gigabytes,
        default=2.0,
        metavar="GB",
        help="most that the texture latents of a video's frames may take, some 0.9 a minute; 0: none (default: 2)",
    )
    make.set_defaults(run=_persona_make)
    show = steps.add_parser("show", help="print what a persona holds")
    show.add_argument("persona", type=Path, metavar="NAME.persona")
    show.add_argument("--plot", type=Path, metavar="OUT.png", help="draw its mouths, and how far it opens how often")
    add_models(show)
    show.set_defaults(run=_persona_show)


def _add_batch(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    batch = commands.add_parser(
        "batch",
        help="dub a list of videos",
        description="Dub what the lines of JOBS name, and write what became of each. One that fails does not stop the"
        " others. Run again, it does what is not done yet. Exit code 1 if any failed.",
    )
    batch.add_argument("jobs", type=Path, metavar="JOBS.csv", help="columns video, speech, output; see docs/batch.md")
    batch.add_argument("-o", "--output", type=Path, metavar="STATUS.csv", help="default: JOBS.status.csv beside JOBS")
    batch.add_argument("--retries", type=count, default=1, help="more attempts after a crash or a bug (default: 1)")
    batch.add_argument("--workers", type=positive, help="processes (default: 1; --ray local: all cores)")
    batch.add_argument("--ray", metavar="ADDRESS", help="run on this Ray cluster instead; 'local' for a new one here")
    batch.add_argument("--quiet", action="store_true", help="only the summary")
    add_dub_options(batch)
    add_models(batch)
    batch.set_defaults(run=_batch)


def _add_verify(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verify = commands.add_parser(
        "verify",
        help="tell whether a video was dubbed by PersonaTalk",
        description="Report what FILE says about itself: its tags, its C2PA manifest and the invisible mark in its"
        f" faces. Exit code 0: something was found; {NOTHING_FOUND}: nothing; 1: the file cannot be read.",
    )
    verify.add_argument("video", type=Path, metavar="FILE")
    verify.add_argument("--json", action="store_true", help="print the findings as JSON")
    verify.add_argument("--trust", type=Path, metavar="FILE.pem", help="certificates whose signatures are trusted")
    verify.add_argument("--face-model", type=Path, metavar="FILE.task", help="MediaPipe Tasks face landmarker")
    verify.add_argument("--quiet", action="store_true", help="no progress bars")
    verify.set_defaults(run=_verify)


def _add_inspect(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    inspect = commands.add_parser(
        "inspect",
        help="draw what PersonaTalk sees in a video",
        description="Draw a contact sheet of VIDEO: landmarks, PNCC, generated region, and the lip references.",
    )
    inspect.add_argument("video", type=Path, metavar="VIDEO")
    inspect.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.png", help="picture to write")
    inspect.add_argument("--frames", type=positive, default=6, help="frames on the sheet (default: 6)")
    add_face_options(inspect)
    inspect.add_argument("--quiet", action="store_true", help="no progress bars")
    add_models(inspect, networks=False)
    inspect.set_defaults(run=_inspect)


def _add_faces(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    faces = commands.add_parser(
        "faces",
        help="list the people of a video",
        description="Find everybody who is seen in VIDEO, number them for --face, and draw a sheet of their pictures.",
    )
    faces.add_argument("video", type=Path, metavar="VIDEO")
    faces.add_argument("-o", "--output", type=Path, metavar="SHEET.png", help="picture to write")
    faces.add_argument("--json", type=Path, metavar="FILE.json", help="write the same as JSON")
    faces.add_argument("--quiet", action="store_true", help="no progress bars, no list")
    faces.add_argument("--face-model", type=Path, metavar="FILE.task", help="MediaPipe Tasks face landmarker")
    add_identity(faces)
    faces.set_defaults(run=_faces)


def _dub(options: argparse.Namespace) -> int:
    from ..pipeline.dub import dub, dub_cues
    from ..pipeline.report import check_report
    from ..pipeline.weights import Models
    from ..sample import sample_files

    if options.sample and (options.video is not None or options.cue is not None):
        print("personatalk dub: --sample takes the place of VIDEO and SPEECH; give one or the other", file=sys.stderr)
        return 2
    if options.sample:
        options.video, options.speech = sample_files()
    if options.video is None or (options.speech is None) == (options.cue is None):
        print("personatalk dub: give VIDEO and SPEECH, VIDEO and --cue, or --sample", file=sys.stderr)
        return 2
    said = options.speech if options.cue is None else options.cue
    check_report(options.report, [options.video, said, options.output])
    choices = dub_options(options)
    models = Models.load(options.morphable, options.stage1, options.stage2, options.deep3d)
    work = dub if options.cue is None else dub_cues
    with closing(Bars(options.interrupt, options.quiet)) as bars:
        report = work(options.video, said, options.output, options=choices, models=models, progress=bars)
    if options.report is not None:
        report.write(options.report)
    if not options.quiet:
        print("\n".join(report.summary()))
    return 0


def _persona_make(options: argparse.Namespace) -> int:
    from ..faces.selection import FaceSearch
    from ..pipeline import persona, persona_sheet
    from ..pipeline.weights import Models

    persona.check_name(options.output, options.videos)
    search = FaceSearch(options.face, options.face_model, options.identity)
    models = Models.load(options.morphable, options.stage1, options.stage2, options.deep3d)
    with closing(Bars(options.interrupt, options.quiet)) as bars:
        made = persona.make_persona(
            options.videos, models, search, bars, 1e9 * options.textures, options.output.absolute().parent
        )
    made.save(options.output)
    print("\n".join([str(options.output), *persona_sheet.describe(made, models)]))
    return 0


def _persona_show(options: argparse.Namespace) -> int:
    from ..pipeline import persona, persona_sheet
    from ..pipeline.weights import Models
    from ..utils.drawing import write_picture

    models = Models.load(options.morphable, options.stage1, options.stage2, options.deep3d)
    kept = persona.Persona.load(options.persona, models.morphable)
    print("\n".join(persona_sheet.describe(kept, models)))
    if options.plot is not None:
        write_picture(options.plot, persona_sheet.draw(kept, models.morphable))
    return 0


def _batch(options: argparse.Namespace) -> int:
    import functools

    from ..pipeline.batch import FAILED, check_jobs, read_jobs, run_batch, run_dub
    from ..pipeline.weights import Models

    status = options.output or options.jobs.with_suffix(".status.csv")
    jobs = read_jobs(options.jobs, dub_options(options))
    check_jobs(options.jobs, jobs, status)
    weights: WeightPaths = (options.morphable, options.stage1, options.stage2, options.deep3d)
    if any(weights):
        Models.load(*weights)  # bad weights are told once, not by every job
    table = run_batch(
        jobs,
        status,
        functools.partial(run_dub, weights),
        _engine(options),
        retries=options.retries,
        weights=weights,
        tell=(lambda job, status, outcome: None) if options.quiet else _tell,
    )
    counts = {name: sum(row.status == name for row in table) for name in ("done", "skipped", "failed")}
    print(f"{status}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    return 1 if counts[FAILED] else 0


def _engine(options: argparse.Namespace) -> Engine:
    import os

    from ..pipeline.batch import crashed
    from ..utils import processes

    count = options.workers or 1
    if options.ray is not None:
        return lambda work, jobs: processes.on_ray(
            work, jobs, options.ray, crashed, ordered=False, restarts=0, workers=options.workers
        )
    threads = max(1, (os.cpu_count() or 1) // count)
    return lambda work, jobs: processes.local(work, jobs, count, crashed, ordered=False, threads=threads)


def _tell(job: BatchJob, status: JobStatus, outcome: JobOutcome) -> None:
    if outcome.trace:
        print(outcome.trace, file=sys.stderr)
    word = f"{status.status}, tried again later" if status.status == "waiting" else status.status
    print(f"{job.output}: {word} ({outcome.seconds:.1f} s) {status.error}".rstrip(), flush=True)


def _verify(options: argparse.Namespace) -> int:
    from ..provenance.verify import verify

    with closing(Bars(options.interrupt, options.quiet)) as bars:
        found = verify(options.video, anchors=options.trust, face_model=options.face_model, progress=bars)
    print(found.json() if options.json else "\n".join(found.summary()))
    return 0 if found.anything else NOTHING_FOUND


def _inspect(options: argparse.Namespace) -> int:
    from ..faces.selection import FaceSearch
    from ..pipeline.contact_sheet import draw_contact_sheet
    from ..pipeline.weights import load_face_model

    with closing(Bars(options.interrupt, options.quiet)) as bars:
        model, initialise = load_face_model(options.morphable, options.deep3d)
        search = FaceSearch(options.face, options.face_model, options.identity)
        draw_contact_sheet(options.video, options.output, model, search, options.frames, bars, initialise)
    return 0


def _faces(options: argparse.Namespace) -> int:
    from ..faces.selection import FaceSearch
    from ..pipeline.people_sheet import check_people_sheet, describe_people, write_json, write_sheet

    check_people_sheet(options.video, options.output, options.json)
    with closing(Bars(options.interrupt, options.quiet)) as bars:
        people = FaceSearch(None, options.face_model, options.identity).find(options.video, bars)
    if options.output is not None:
        write_sheet(people, options.output)
    if options.json is not None:
        write_json(people, options.json)
    if not options.quiet:
        print("\n".join(describe_people(people)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
