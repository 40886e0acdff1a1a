"""The cue file."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personatalk.errors import CueError
from personatalk.pipeline.cues import Cue, read_cues, refuse_overlaps

GOOD = """# who says what
1
00:00:01,000 --> 00:00:04,500
face: 2
speech: anna.wav
from: 00:00:03

# Ben answers
2
00:01:02.25 --> 01:00:00
Speech : sounds/ben: take 2.flac
# in his own time
face: ben.png
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sounds").mkdir()
    for name in ("anna.wav", "sounds/ben: take 2.flac"):
        (tmp_path / name).write_bytes(b"sound")
    return tmp_path


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "scene.cue"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def block(start: str, end: str, *lines: str) -> str:
    return "\n".join([f"{start} --> {end}", "speech: anna.wav", *lines]) + "\n\n"


def test_cues_are_read(folder: Path) -> None:
    assert read_cues(written(folder, GOOD)) == [
        Cue(1.0, 4.5, "2", folder / "anna.wav", 3.0),
        Cue(62.25, 3600.0, str(folder / "ben.png"), folder / "sounds/ben: take 2.flac"),
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: ("\n\n" + text.rstrip("\n")).encode(),
        lambda text: text.replace("\n\n", "\n  \t\n\n\n").encode(),
        lambda text: text.replace("1\n00:", "00:").encode(),
    ],
)
def test_line_ends_marks_and_gaps_do_not_matter(folder: Path, change: Callable[[str], bytes]) -> None:
    assert read_cues(written(folder, change(GOOD))) == read_cues(written(folder, GOOD))


def test_cues_come_in_order_of_time(folder: Path) -> None:
    text = block("00:00:05", "00:00:06", "face: 1") + block("00:00:01", "00:00:02") + block("00:00:00", "00:00:01")
    assert [cue.start for cue in read_cues(written(folder, text))] == [0, 1, 5]


def test_paths_begin_at_the_cue_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(folder, GOOD)
    monkeypatch.chdir(folder / "sounds")
    assert [cue.speech.is_file() for cue in read_cues("../scene.cue")] == [True, True]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("00:00:01 -> 00:00:02\nspeech: anna.wav", 1, "00:00:01,000 --> 00:00:04,500"),
        ("1\n00:00:01 --> 00:00:61\nspeech: anna.wav", 2, "not a cue's times"),
        ("1\nface: 2\nspeech: anna.wav", 2, "not a cue's times"),
        ("\n7\n\n00:00:01 --> 00:00:02\nspeech: anna.wav", 2, "a number without a cue"),
        (block("00:00:02", "00:00:02"), 1, "not after its start"),
        (block("00:00:03", "00:00:02"), 1, "not after its start"),
        ("00:00:01 --> 00:00:02\nface: 1", 1, "speech: FILE"),
        (block("00:00:01", "00:00:02", "volume: 3"), 3, "'face:', 'speech:' and 'from:'"),
        (block("00:00:01", "00:00:02", "Hello there"), 3, "not understood"),
        (block("00:00:01", "00:00:02", "face:"), 3, "says nothing"),
        (block("00:00:01", "00:00:02", "face: middle"), 3, "names no face"),
        (block("00:00:01", "00:00:02", "from: 3"), 3, "not a time"),
        (block("00:00:01", "00:00:02", "speech: anna.wav"), 3, "a second 'speech:'"),
        ("# first\n00:00:01 --> 00:00:02\nspeech: carl.wav", 3, "carl.wav does not exist"),
        (block("00:00:01", "00:00:03") + block("00:00:02", "00:00:04"), 4, "no face is named"),
        (block("00:00:01", "00:00:03", "face: 2") + block("00:00:00", "00:00:02", "face: 2"), 1, "face 2"),
        ("1\n00:00:01 --> 00:00:02\nspeech: \xe4.wav".encode("latin-1"), 3, "UTF-8"),
    ],
)
def test_errors_name_file_and_line(folder: Path, text: str | bytes, line: int, words: str) -> None:
    path = written(folder, text)
    with pytest.raises(CueError) as caught:
        read_cues(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_touching_cues_and_those_of_two_faces_are_fine(folder: Path) -> None:
    text = block("00:00:01", "00:00:02", "face: 1") + block("00:00:02", "00:00:03", "face: 1")
    assert len(read_cues(written(folder, text + block("00:00:01", "00:00:03", "face: 2")))) == 3


def test_overlaps_are_refused_by_person_too(folder: Path) -> None:
    text = block("00:00:01", "00:00:03", "face: 2") + block("00:00:02", "00:00:04", "face: left")
    cues = read_cues(written(folder, text))
    refuse_overlaps(cues, [2, 1])
    with pytest.raises(CueError, match=r"scene\.cue:5: begins at 2 s, before the cue of .*scene\.cue:1"):
        refuse_overlaps(cues, [2, 2])


@pytest.mark.parametrize("text", ["", "\n\n# nothing\n"])
def test_a_file_without_cues(folder: Path, text: str) -> None:
    with pytest.raises(CueError, match="no cue"):
        read_cues(written(folder, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.cue", tmp_path):
        with pytest.raises(CueError, match="cannot be read"):
            read_cues(path)


def test_the_example_of_the_documentation_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "cues.md").read_text(encoding="utf-8")
    example = page.split("```")[1].partition("\n")[2]
    for name in ("anna.wav", "ben.flac"):
        (tmp_path / name).write_bytes(b"sound")
    cues = read_cues(written(tmp_path, example))
    assert [(cue.start, cue.end, cue.face, cue.offset) for cue in cues] == [
        (1.0, 4.5, "2", 0.0),
        (5.0, 9.25, str(tmp_path / "ben.png"), 0.0),
        (10.0, 12.0, "2", 3.5),
    ]


def clock(milliseconds: int) -> str:
    seconds, decimals = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d},{decimals:03d}"


SPANS = st.tuples(st.integers(0, 7_200_000), st.integers(1, 60_000), st.sampled_from([None, "1", "2+3", "left"]))


@given(st.lists(SPANS, min_size=1, max_size=6), st.integers(0, 3_600_000))
def test_what_is_written_as_a_cue_file_is_read(spans: list[tuple[int, int, str | None]], offset: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        speech = Path(name) / "anna.wav"
        speech.write_bytes(b"sound")
        lines = [
            f"{clock(start)} --> {clock(start + length)}\nspeech: anna.wav\nfrom: {clock(offset)}\n"
            + (f"face: {face}\n" if face else "")
            for start, length, face in spans
        ]
        path = written(Path(name), "\n".join(lines))
        wanted = sorted(((start, start + length, face) for start, length, face in spans), key=lambda cue: cue[0])
        overlap = any(a[2] == b[2] and b[0] < a[1] for a, b in itertools.combinations(wanted, 2))
        if overlap:
            with pytest.raises(CueError, match="before the cue of"):
                read_cues(path)
            return
        found = read_cues(path)
    assert [(round(1000 * cue.start), round(1000 * cue.end), cue.face) for cue in found] == wanted
    assert all(cue.speech == speech and round(1000 * cue.offset) == offset for cue in found)
