"""Exit codes by cause, and the progress for programs."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import TextIO

import pytest
from helpers import tiny

from personatalk import errors
from personatalk.cli.exit_codes import EXIT_CODES, INTERRUPTED, NOTHING_FOUND, exit_code
from personatalk.cli.main import main
from personatalk.cli.progress import ProgressLines
from personatalk.utils.interrupt import Interrupt
from personatalk.utils.progress import ProgressClock

PAGE = (Path(__file__).parents[2] / "docs" / "exit-codes.md").read_text("utf-8")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "bad.txt").write_text("nonsense\n")
    (tmp_path / "in").mkdir()
    return {
        "CLIP": tiny.clip_of(tmp_path / "in" / "clip.mp4"),
        "EMPTY": tiny.clip_of(tmp_path / "in" / "empty.mp4", [tiny.nobody()] * 3),
        "SPEECH": tiny.speech_of(tmp_path / "in" / "speech.wav"),
        "BAD": tmp_path / "bad.txt",
        "OUT": tmp_path / "out.mp4",
        "NOWHERE": tmp_path / "no" / "out.mp4",
    }


@pytest.mark.usefixtures("drawn_faces")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("CLIP SPEECH -o OUT --style-strength 9", 2),
        ("CLIP SPEECH -o OUT --start 2 --end 1", 2),
        ("CLIP -o OUT", 2),
        ("CLIP BAD -o OUT", 10),
        ("EMPTY SPEECH -o OUT", 11),
        ("CLIP SPEECH -o OUT --persona BAD", 12),
        ("CLIP --cue BAD -o OUT", 13),
        ("CLIP SPEECH -o OUT --certificate BAD --private-key BAD", 14),
        ("CLIP SPEECH -o NOWHERE", 15),
    ],
)
def test_each_cause_has_its_exit_code(files: dict[str, Path], words: str, code: int) -> None:
    assert main(["dub", *(str(files.get(word, word)) for word in words.split()), "--quiet"]) == code
    assert not files["OUT"].exists()


def test_the_page_lists_every_exit_code() -> None:
    listed = {int(number) for number in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert listed == {0, NOTHING_FOUND, INTERRUPTED, *EXIT_CODES.values()}


def test_every_error_has_the_exit_code_of_its_class() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert {kind: exit_code(kind("")) for kind in kinds} == EXIT_CODES
    assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)
    assert exit_code(type("New", (errors.FaceError,), {})("")) == EXIT_CODES[errors.FaceError]


def test_the_clock_tells_the_time_left_of_the_running_stage() -> None:
    now = iter([0.0, 1.0, 3.0, 4.0, 5.0, 9.0])
    clock = ProgressClock(lambda: next(now))
    first = clock.step("faces", 1, 10)
    assert (first.done, first.total, first.elapsed, first.time_left) == (1, 10, 1.0, None)
    assert clock.step("faces", 4, 10).time_left == pytest.approx(5 * 2 / 4)
    assert clock.step("odd", 1, 0).total is None
    # What a run before this one has finished says nothing about the pace of this one.
    assert clock.step("dubbing", 60, 100).time_left is None
    assert clock.step("dubbing", 10, 100).time_left == pytest.approx(30 * 4 / 10)


def test_lines_tell_the_first_and_the_last_state_of_each_stage(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ProgressLines(Interrupt())
    for _ in range(50):
        lines("faces", 1, 50)
    lines("dubbing", 1, 2)
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["stage"], line["done"]) for line in told] == [("faces", 1), ("faces", 50), ("dubbing", 1)]
    assert set(told[0]) == {"stage", "done", "total", "elapsed", "time_left"}
    assert set(re.findall(r'"(\w+)"', PAGE)) >= set(told[0]) | {"error", "exit_code"}


@pytest.mark.usefixtures("drawn_faces")
def test_a_run_tells_its_progress_as_json(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["dub", str(files["CLIP"]), str(files["SPEECH"]), "-o", str(files["OUT"]), "--progress", "json"]
    assert main(words) == 0
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["elapsed"] for line in told] == sorted(line["elapsed"] for line in told)
    assert (told[-1]["stage"], told[-1]["done"], told[-1]["total"], told[-1]["time_left"]) == ("dubbing", 10, 10, 0)


def test_an_error_is_the_last_line_of_the_progress(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["dub", str(files["CLIP"]), str(files["BAD"]), "-o", str(files["OUT"]), "--progress", "json"]
    assert main(words) == 10
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert told["exit_code"] == 10 and "bad.txt" in told["error"]


@pytest.mark.slow
@pytest.mark.usefixtures("drawn_faces")
def test_a_speech_comes_from_the_standard_input(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["dub", str(files["CLIP"]), "-", "-o", str(files["OUT"])]
    with piped(files["SPEECH"].read_bytes()) as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        assert main(words) == 0
    assert files["OUT"].exists() and "10 dubbed" in capsys.readouterr().out
    with piped(b"") as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        assert main(words) == 10
    assert "nothing came" in capsys.readouterr().err


def piped(content: bytes) -> TextIO:
    """The end of a pipe out of which some bytes come, no more than fit into it."""
    end, start = os.pipe()
    os.write(start, content)
    os.close(start)
    return os.fdopen(end)
