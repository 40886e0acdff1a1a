"""The command line: `personatalk dub`, `verify`, `inspect`, and the commands of evaluation and training."""

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
NOTHING_FOUND = 3
"""Exit code of `verify` where nothing says that the video was generated."""


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
    _add_verify(commands)
    _add_inspect(commands)
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
        " and other tracks stay. Every output says that it was generated: in its tags, in a signed C2PA manifest and"
        " in an invisible mark.",
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
    dub.add_argument("--codec", default="libx264", help="video encoder (default: libx264)")
    dub.add_argument("--crf", type=float, default=14, help="quality, lower is better (default: 14, near-transparent)")
    dub.add_argument("--preset", default="medium", help="speed preset of the encoder (default: medium)")
    dub.add_argument("--report", type=Path, metavar="FILE.json", help="write what was done, as JSON")
    dub.add_argument("--quiet", action="store_true", help="no progress bars, no summary")
    _add_provenance(dub)
    _add_models(dub)
    dub.set_defaults(run=_dub)


def _add_provenance(dub: argparse.ArgumentParser) -> None:
    group = dub.add_argument_group("provenance", "without a certificate one is made for this machine; nobody trusts it")
    group.add_argument(
        "--certificate",
        type=Path,
        metavar="FILE.pem",
        help="your certificate chain, which signs the manifest (or PERSONATALK_CERTIFICATE)",
    )
    group.add_argument(
        "--private-key", type=Path, metavar="FILE.pem", help="its private key (or PERSONATALK_PRIVATE_KEY)"
    )
    group.add_argument(
        "--no-provenance", action="store_true", help="no tags, no manifest and no mark; the report says so"
    )


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
    inspect.add_argument("--frames", type=_positive, default=6, help="frames on the sheet (default: 6)")
    inspect.add_argument("--quiet", action="store_true", help="no progress bars")
    _add_models(inspect)
    inspect.set_defaults(run=_inspect)


def _add_models(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("models", "weights of the package where not given")
    group.add_argument("--face-model", type=Path, metavar="FILE.task", help="MediaPipe Tasks face landmarker")
    group.add_argument("--morphable", type=Path, metavar="FILE", help="morphable model, or BFM_model_front.mat")
    group.add_argument("--deep3d", type=Path, metavar="FILE.pth", help="Deep3DFaceRecon's checkpoint, for a .mat")
    if command.prog.endswith("dub"):
        group.add_argument("--stage1", type=Path, metavar="FILE", help="geometry generator")
        group.add_argument("--stage2", type=Path, metavar="FILE", help="renderer")


def _dub(options: argparse.Namespace) -> int:
    from .credentials import Provenance
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
    provenance = Provenance(not options.no_provenance, options.certificate, options.private_key)
    choices = DubOptions(length=options.length, encode=encode, face_model=options.face_model, provenance=provenance)
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


def _verify(options: argparse.Namespace) -> int:
    from .verification import verify

    with closing(Bars(options.interrupt, options.quiet)) as bars:
        found = verify(options.video, anchors=options.trust, face_model=options.face_model, progress=bars)
    print(found.json() if options.json else "\n".join(found.summary()))
    return 0 if found.anything else NOTHING_FOUND


def _inspect(options: argparse.Namespace) -> int:
    from .inspection import inspect
    from .pipeline import load_face_model

    with closing(Bars(options.interrupt, options.quiet)) as bars:
        model, initialise = load_face_model(options.morphable, options.deep3d)
        inspect(options.video, options.output, model, options.face_model, options.frames, bars, initialise)
    return 0


if __name__ == "__main__":
    sys.exit(main())
