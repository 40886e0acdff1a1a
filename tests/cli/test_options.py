"""One option, one definition: the command line, the batch list and the documentation agree on the options of a dub."""

from __future__ import annotations

import argparse
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import pytest

from personatalk.cli.main import main, parser
from personatalk.errors import PersonaTalkError
from personatalk.pipeline import batch_list
from personatalk.pipeline.batch_list import read_jobs
from personatalk.pipeline.options import DubOptions, WeightPaths
from personatalk.utils.options import option_values, options_of

ROOT = Path(__file__).resolve().parents[2]

# Options of `dub` that say what is dubbed and what is told of it, not how.
OF_THE_COMMAND = {"help", "video", "speech", "cue", "sample", "output", "report", "quiet", "progress"}

# Modules that take long to load.
HEAVY = {"av", "c2pa", "cv2", "onnxruntime", "numba", "numpy", "scipy", "torch", "transformers"}


def commands(top: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield every command with its full name."""
    choices = [a.choices for a in top._actions if isinstance(a, argparse._SubParsersAction)]
    for word, command in (pair for choice in choices for pair in choice.items()):
        yield f"{name} {word}".strip(), command
        yield from commands(command, f"{name} {word}".strip())


COMMANDS = dict(commands(parser()))


def destinations(command: str) -> set[str]:
    return {action.dest for action in COMMANDS[command]._actions}


def test_options_of_dub_are_fields_of_its_options() -> None:
    declared = {option.name for kind in (DubOptions, WeightPaths) for option in options_of(kind)}
    assert destinations("dub") - OF_THE_COMMAND == declared
    assert declared <= destinations("batch")


def test_options_of_dub_are_columns_of_a_batch_list() -> None:
    declared = {option.name for option in options_of(DubOptions)}
    assert set(batch_list.OPTIONS) == declared
    assert set(batch_list.FILES) == {"video", "speech", "output", "report"}


def test_options_that_are_not_given_have_the_defaults_of_python() -> None:
    given = vars(parser().parse_args(["dub", "v", "s", "-o", "o"]))
    for settings in (DubOptions(), WeightPaths()):
        values = option_values(settings)
        assert {name: given[name] for name in values} == values


def test_the_documents_table_is_the_one_that_the_declarations_make() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "make_options_table.py"))["page"]()
    assert (ROOT / "docs" / "options.md").read_text() == made, "run python scripts/make_options_table.py"


@pytest.mark.parametrize(
    ("name", "word", "said"),
    [
        ("crf", "99", "crf 99: give one from 0 to 63"),
        ("style_strength", "2", "style strength 2: give one from 0 to 1.5"),
        ("face", "somebody", "'somebody' names no face"),
    ],
)
def test_a_wrong_value_is_refused_in_the_same_words_everywhere(
    name: str, word: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["dub", "v.mp4", "s.wav", "-o", str(tmp_path / "o.mp4"), f"--{name.replace('_', '-')}", word]
    assert main(words) == (11 if name == "face" else 2)
    assert said in capsys.readouterr().err
    (tmp_path / "jobs.csv").write_text(f"video,speech,output,{name}\nv,s,o,{word}\n")
    with pytest.raises(PersonaTalkError, match=said):
        read_jobs(tmp_path / "jobs.csv")


@pytest.mark.parametrize(("name", "word"), [("length", "forever"), ("silence", "loud"), ("crf", "nan")])
def test_a_word_of_another_type_is_wrong_usage(name: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["dub", "v.mp4", "s.wav", "-o", "o.mp4", f"--{name}", word])
    assert stopped.value.code == 2
    assert f"argument --{name}: '{word}' is " in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_has_a_meaning_and_every_value_a_placeholder(command: str) -> None:
    for action in COMMANDS[command]._actions:
        if action.help == argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction):
            continue
        assert action.help, f"{command} {action.dest} says nothing"
        takes_value = action.option_strings and action.nargs != 0
        assert not takes_value or action.metavar or action.choices, f"{command} {action.dest} has no placeholder"
    assert COMMANDS[command].format_help()


def test_options_are_shared_by_the_commands_that_look_for_faces() -> None:
    for command in ("persona make", "inspect"):
        assert {"face", "identity"} <= destinations(command)
    assert {"identity"} <= destinations("faces")


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; from personatalk.cli.main import parser; parser().format_help(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert HEAVY & set(loaded) == set()


@pytest.mark.slow
def test_help_comes_within_a_few_starts_of_python() -> None:
    def seconds(*words: str) -> float:
        # Of the processor: what else the machine does does not count.
        before = getrusage(RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], capture_output=True, check=True)
        after = getrusage(RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    bare = min(seconds("-c", "pass") for _ in range(3))
    shown = min(seconds("-m", "personatalk", "dub", "--help") for _ in range(3))
    assert shown < 12 * bare + 0.1
