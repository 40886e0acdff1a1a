"""The command line: `personatalk dub`, `batch`, `serve`, `cues`, `verify`, `persona`, `faces`, `evaluate`, ..."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from ..errors import PersonaTalkError
from ..utils.interrupt import Interrupt
from ..version import __version__
from .batch import add_batch
from .cues import add_cues
from .data import add_data
from .dub import add_dub
from .evaluate import add_evaluate, add_study, add_style_map
from .exit_codes import INTERRUPTED, exit_code
from .faces import add_faces, add_inspect
from .networks import add_devices, add_export
from .persona import add_persona
from .progress import write_line
from .serve import add_serve
from .streams import robust_streams
from .sync import add_sync
from .train import add_ablate, add_train
from .verify import add_verify


def run_process() -> int:
    """Run the command line as a process of its own, whose standard streams may be closed at any time."""
    with robust_streams():
        return main()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after the program's name; those of the process where None.

    Returns:
        Exit code: 0 done, or why not; see `exit_codes`.
    """
    given = parser().parse_args(arguments)
    given.interrupt = Interrupt()
    # A polite kill cleans up like Ctrl-C does.
    before = {number: signal.signal(number, given.interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = _run(given)
    except PersonaTalkError as error:
        return _stopped(given, str(error), exit_code(error))
    except KeyboardInterrupt:
        return _stopped(given, "interrupted; the same command goes on from what is finished", INTERRUPTED)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code


def _stopped(given: argparse.Namespace, message: str, code: int) -> int:
    """Tell why a command stopped, in the form in which it tells its progress; return its exit code."""
    if getattr(given, "progress", "bars") == "json":
        write_line({"error": message, "exit_code": code})
    else:
        print(f"personatalk: {message}", file=sys.stderr)
    return code


def _run(given: argparse.Namespace) -> int:
    """Run the chosen command; whatever an interrupt became on its way is an interrupt again."""
    try:
        code: int = given.run(given)
    except Exception:
        # Compiled modules that are being imported make an ImportError of it.
        given.interrupt.check()
        raise
    return code


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(prog="personatalk", description="Visual dubbing that keeps the speaker's persona.")
    top.add_argument("--version", action="version", version=f"personatalk {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_dub(commands)
    add_batch(commands)
    add_cues(commands)
    add_persona(commands)
    add_serve(commands)
    add_verify(commands)
    add_sync(commands)
    add_inspect(commands)
    add_faces(commands)
    add_data(commands)
    add_train(commands)
    add_ablate(commands)
    add_export(commands)
    add_devices(commands)
    add_evaluate(commands)
    add_style_map(commands)
    add_study(commands)
    return top


if __name__ == "__main__":
    sys.exit(run_process())
