"""The command line: `personatalk dub`, `inspect`, `faces`, `evaluate`, `style-map`, `study`, `data`, `train`, ..."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import get_args

from tqdm import tqdm

from . import __version__
from .errors import PersonaTalkError
from .evaluation.commands import add_evaluate, add_study, add_style_map
from .training.commands import add_ablate, add_data, add_train

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class Interrupt:
    """Handler of the signals that ask the program to end.

    It raises at once, as Python does. Where the exception gets lost, because compiled code that had called back into
    Python ignores it, `check` raises it again.
    """

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Take a signal."""
        self.asked = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal came."""
        if self.asked:
            raise KeyboardInterrupt


class Bars:
    """One progress bar per stage, on the terminal's error stream.

    Args:
        interrupt: Checked at every step.
        hidden: Show nothing.
    """

    def __init__(self, interrupt: Interrupt, hidden: bool = False) -> None:
        self.interrupt, self.hidden = interrupt, hidden
        self._stage = ""
        self._bar: tqdm[None] | None = None

    def __call__(self, stage: str, steps: int, total: int) -> None:
        """Move the bar of a stage on; a new stage closes the last one's."""
        self.interrupt.check()
        if stage != self._stage or self._bar is None:
            self.close()
            self._stage = stage
            self._bar = tqdm(total=total or None, desc=f"{stage:9s}", unit="frame", disable=self.hidden or None)
        self._bar.update(steps)

    def close(self) -> None:
        """End the last bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


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
        print("personatalk: interrupted; nothing half-written is left", file=sys.stderr)
        return INTERRUPTED
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code


def _positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{word} is not 1 or more")
    return number


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(prog="personatalk", description="Visual dubbing that keeps the speaker's persona.")
    top.add_argument("--version", action="version", version=f"personatalk {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_dub(commands)
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
    from .timeline import LengthPolicy

    dub = commands.add_parser(
        "dub",
        help="dub a video with a speech",
        description="Write VIDEO with its mouth saying SPEECH. Picture outside the face, size, frame rate, timestamps"
        " and other tracks stay. Every output is tagged as generated.",
    )
    dub.add_argument("video", nargs="?", type=Path, metavar="VIDEO", help="a video of a person speaking")
    dub.add_argument("speech", nargs="?", type=Path, metavar="SPEECH", help="audio file, or a video with sound")
    dub.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="video to write")
    dub.add_argument("--sample", action="store_true", help="dub the sample clip of the package")
    dub.add_argument(
        "--length",
        choices=get_args(LengthPolicy),
        default="video",
        help="where speech and video differ in length: 'video' (default) keeps all frames and closes the mouth after"
        " the speech; 'video-original' keeps all frames and the original mouth after it; 'shortest' ends with the"
        " shorter; 'pingpong' lasts as long as the speech, playing the video forward and backward",
    )
    _add_choice(dub)
    dub.add_argument("--codec", default="libx264", help="video encoder (default: libx264)")
    dub.add_argument("--crf", type=float, default=14, help="quality, lower is better (default: 14, near-transparent)")
    dub.add_argument("--preset", default="medium", help="speed preset of the encoder (default: medium)")
    dub.add_argument("--report", type=Path, metavar="FILE.json", help="write what was done, as JSON")
    dub.add_argument("--quiet", action="store_true", help="no progress bars, no summary")
    _add_models(dub)
    dub.set_defaults(run=_dub)


def _add_inspect(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    inspect = commands.add_parser(
        "inspect",
        help="draw what PersonaTalk sees in a video",
        description="Draw a contact sheet of VIDEO: landmarks, PNCC, generated region, and the lip references.",
    )
    inspect.add_argument("video", type=Path, metavar="VIDEO")
    inspect.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.png", help="picture to write")
    inspect.add_argument("--frames", type=_positive, default=6, help="frames on the sheet (default: 6)")
    _add_choice(inspect)
    inspect.add_argument("--quiet", action="store_true", help="no progress bars")
    _add_models(inspect)
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
    _add_identity(faces)
    faces.set_defaults(run=_faces)


def _add_choice(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--face",
        metavar="WHO",
        help="whose face, where the video shows several people: a number from 'personatalk faces'; left, right, centre"
        " or largest; a place x,y as shares of the picture or in pixels (0.3,0.5 or 0.3,0.5@12.5 with a time in"
        " seconds); or a picture of the person. Without it the largest face is followed",
    )
    _add_identity(command)


def _add_identity(command: argparse.ArgumentParser) -> None:
    command.add_argument("--identity", type=Path, metavar="FILE.onnx", help="ArcFace network that tells people apart")


def _add_models(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("models", "weights of the package where not given")
    group.add_argument("--face-model", type=Path, metavar="FILE.task", help="MediaPipe Tasks face landmarker")
    group.add_argument("--morphable", type=Path, metavar="FILE", help="morphable model, or BFM_model_front.mat")
    group.add_argument("--deep3d", type=Path, metavar="FILE.pth", help="Deep3DFaceRecon's checkpoint, for a .mat")
    if command.prog.endswith("dub"):
        group.add_argument("--stage1", type=Path, metavar="FILE", help="geometry generator")
        group.add_argument("--stage2", type=Path, metavar="FILE", help="renderer")


def _dub(options: argparse.Namespace) -> int:
    from .mux import EncodeOptions
    from .pipeline import DubOptions, Models, dub
    from .sample import sample_files

    if options.sample and options.video is not None:
        print("personatalk dub: --sample takes the place of VIDEO and SPEECH; give one or the other", file=sys.stderr)
        return 2
    if options.sample:
        options.video, options.speech = sample_files()
    if options.video is None or options.speech is None:
        print("personatalk dub: give VIDEO and SPEECH, or --sample", file=sys.stderr)
        return 2
    _check_report(options.report, [options.video, options.speech, options.output])
    encode = EncodeOptions(codec=options.codec, crf=options.crf, preset=options.preset)
    choices = DubOptions(
        length=options.length,
        encode=encode,
        face_model=options.face_model,
        face=options.face,
        identity=options.identity,
    )
    models = Models.load(options.morphable, options.stage1, options.stage2, options.deep3d)
    with closing(Bars(options.interrupt, options.quiet)) as bars:
        report = dub(options.video, options.speech, options.output, options=choices, models=models, progress=bars)
    if options.report is not None:
        report.write(options.report)
    if not options.quiet:
        print("\n".join(report.summary()))
    return 0


def _check_report(path: Path | None, others: list[Path]) -> None:
    """Find out before the work, not after it, that the report cannot be written or would destroy another file."""
    from .errors import MediaError
    from .mux import same_file

    if path is None:
        return
    if not path.absolute().parent.is_dir():
        raise MediaError(f"{path}: the folder of the report does not exist; make it or choose another")
    if path.is_dir() or (path.exists() and not os.access(path, os.W_OK)):
        raise MediaError(f"{path}: the report cannot be written under this name; choose another")
    for other in others:
        if same_file(path, other):
            raise MediaError(f"the report {path} is the file {other}; name another report")


def _inspect(options: argparse.Namespace) -> int:
    from .inspection import inspect
    from .people import FaceSearch
    from .pipeline import load_face_model

    with closing(Bars(options.interrupt, options.quiet)) as bars:
        model, initialise = load_face_model(options.morphable, options.deep3d)
        search = FaceSearch(options.face, options.face_model, options.identity)
        inspect(options.video, options.output, model, search, options.frames, bars, initialise)
    return 0


def _faces(options: argparse.Namespace) -> int:
    from .people import FaceSearch
    from .roster import check_roster, listing, write_json, write_sheet

    check_roster(options.video, options.output, options.json)
    with closing(Bars(options.interrupt, options.quiet)) as bars:
        people = FaceSearch(None, options.face_model, options.identity).find(options.video, bars)
    if options.output is not None:
        write_sheet(people, options.output)
    if options.json is not None:
        write_json(people, options.json)
    if not options.quiet:
        print("\n".join(listing(people)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
