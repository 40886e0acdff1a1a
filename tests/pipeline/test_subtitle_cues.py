"""Subtitles with speakers become cues."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.sample_clips import spoken, write_sound
from hypothesis import given
from hypothesis import strategies as st

from personatalk.cli.main import main
from personatalk.errors import CueError, OptionError
from personatalk.media.subtitles import read_subtitles
from personatalk.pipeline.cues import Cue, read_cues, write_cues
from personatalk.pipeline.subtitle_cues import cues_of_subtitles, speech_in_folder, speech_in_list, spoken_lines

FACES = {"Anna": "left", "Ben Stone": "right"}


def srt(path: Path, *texts: str, seconds: float = 0.8) -> Path:
    """Subtitles at 1 s, 2 s, 3 s..."""
    stamp = "00:00:{:06.3f}".format
    blocks = [
        f"{n}\n{stamp(n)} --> {stamp(n + seconds)}\n{text}\n".replace(".", ",", 2) for n, text in enumerate(texts, 1)
    ]
    path.write_text("\n".join(blocks), "utf-8")
    return path


def voices(folder: Path, *names: str, seconds: float = 0.4) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        write_sound(folder / name, spoken(seconds))
    return folder


def named(path: Path, known: dict[str, str] | None = None) -> list[str | None]:
    return [line.speaker for line in spoken_lines(path, known or {})[0]]


@pytest.mark.parametrize(
    "text",
    [
        "[Anna] Hello",
        "[Anna]: Hello",
        "[Anna]\nHello",
        "Anna: Hello",
        "- Anna: Hello",
        "Anna\uff1aHello",
        "<i>Anna: Hello</i>",
        "{\\an8}Anna: Hello",
        "<v Anna>Hello</v>",
        "[laughs] Hello\nAnna: Hello",
        "Anna: Hello\nAnna: again",
    ],
)
def test_a_speaker_is_named_in_many_ways(tmp_path: Path, text: str) -> None:
    assert named(srt(tmp_path / "a.srt", text)) == ["Anna"]


@pytest.mark.parametrize(
    "text", ["It is 12:30 now", "he said: go", "See https://a.b", "[laughs] Hello", "What: ever:", "\u266a la"]
)
def test_other_colons_and_brackets_name_nobody(tmp_path: Path, text: str) -> None:
    assert named(srt(tmp_path / "a.srt", text.replace("What: ever:", "what: ever:"))) == [None]


def test_names_that_the_user_knows_may_be_small_and_others_are_cut_to_three_words(tmp_path: Path) -> None:
    path = srt(tmp_path / "a.srt", "[anna] Hello", "Ben Stone: Hi", "Dr. Anna Maria: Yes", "One Two Three Four: no")
    assert named(path, {"anna": "1"}) == ["anna", "Ben Stone", "Dr. Anna Maria", None]


def test_webvtt_names_speakers_by_its_own_tag_and_has_comments(tmp_path: Path) -> None:
    path = tmp_path / "a.vtt"
    path.write_text(
        "WEBVTT\n\nNOTE Ben: a comment\n\nfirst\n00:01.000 --> 00:01.500 align:start\n<v Anna>Hi</v>\n\n"
        "NOTE\nBen: another\n\n01:00:02.000 --> 01:00:03.000\n<v.loud Ben &amp; Co>Hello <b>you</b>\n"
    )
    lines, silent = spoken_lines(path)
    assert [line.speaker for line in lines] == ["Anna", "Ben & Co"] and silent == 0
    assert [(line.subtitle.start, line.subtitle.end) for line in lines] == [(1.0, 1.5), (3602.0, 3603.0)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_subtitles_of_any_editor_are_read(tmp_path: Path, encoding: str, end: str) -> None:
    path = srt(tmp_path / "a.srt", "[J\u00fcrgen] Ja", "[J\u00fcrgen] Nein")
    path.write_bytes(path.read_text("utf-8").replace("\n", end).encode(encoding))
    assert named(path) == ["J\u00fcrgen"] * 2


def test_each_subtitle_gets_its_own_speech_and_face(tmp_path: Path) -> None:
    path = srt(tmp_path / "a.srt", "[Anna] One", "[music]", "Ben Stone: Two")
    folder = voices(tmp_path / "speech", "0001.wav", "3_ben.wav", "7.wav")
    made = cues_of_subtitles(path, speech_in_folder(folder), FACES)
    assert [(cue.start, cue.end, cue.face, cue.speech.name, cue.offset) for cue in made.cues] == [
        (1.0, 1.8, "left", "0001.wav", 0.0),
        (3.0, 3.8, "right", "3_ben.wav", 0.0),
    ]
    assert made.speakers == ["Anna", "Ben Stone"]
    assert made.notes == ["1 of 3 subtitles have no words and were left out"]


def test_a_track_of_a_speaker_is_taken_at_the_subtitles_time(tmp_path: Path) -> None:
    path = srt(tmp_path / "a.srt", "[Anna] One", "[Ben Stone] Two", "[Anna] Three")
    folder = voices(tmp_path / "speech", "anna.wav", "2.wav", seconds=4.0)
    made = cues_of_subtitles(path, speech_in_folder(folder), FACES)
    assert [(cue.speech.name, cue.offset, cue.end) for cue in made.cues] == [
        ("anna.wav", 1.0, 1.8),
        ("2.wav", 0.0, 6.0),
        ("anna.wav", 3.0, 3.8),
    ]


def test_a_longer_speech_is_heard_until_the_same_person_speaks_again(tmp_path: Path) -> None:
    path = srt(tmp_path / "a.srt", "[Anna] One", "[Ben Stone] Two", "[Anna] Three")
    made = cues_of_subtitles(
        path, speech_in_folder(voices(tmp_path / "s", "1.wav", "2.wav", "3.wav", seconds=2.5)), FACES
    )
    assert [cue.end for cue in made.cues] == [3.0, 4.5, 5.5]
    assert made.notes == [f"{path}: subtitle 1: 1.wav is cut by 0.5 s, where the next words begin"]


def test_one_speaker_needs_no_face(tmp_path: Path) -> None:
    folder = voices(tmp_path / "speech", "1.wav", "2.wav")
    for texts in (("One", "Two"), ("[Anna] One", "[Anna] Two")):
        made = cues_of_subtitles(srt(tmp_path / "a.srt", *texts), speech_in_folder(folder), {})
        assert [cue.face for cue in made.cues] == [None, None]


def test_a_list_names_one_file_for_each_subtitle(tmp_path: Path) -> None:
    voices(tmp_path / "speech", "x.wav", "y.wav")
    (tmp_path / "list.txt").write_text("speech/x.wav\n\nspeech/y.wav\n")
    path = srt(tmp_path / "a.srt", "One", "...", "Two")
    words = ["cues", "from-srt", str(path), "--speech-list", str(tmp_path / "list.txt"), "-o", str(tmp_path / "c.txt")]
    assert main(words) == 0
    assert [(cue.start, cue.speech) for cue in read_cues(tmp_path / "c.txt")] == [
        (1.0, tmp_path / "speech" / "x.wav"),
        (3.0, tmp_path / "speech" / "y.wav"),
    ]
    with pytest.raises(CueError, match=r"list\.txt: names 2 files for 3 subtitles"):
        speech_in_list(tmp_path / "list.txt", [1, 2, 3])


def test_the_command_line_writes_cues_whose_paths_begin_at_their_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = srt(tmp_path / "a.srt", "[Anna] One", "[Ben] Two")
    folder, output = voices(tmp_path / "speech", "1.wav", "2.wav"), tmp_path / "cues.txt"
    (tmp_path / "ben.png").touch()
    words = ["cues", "from-srt", str(path), "--speech-folder", str(folder), "-o", str(output)]
    assert main([*words, "--face", "Anna=left@2", "--face", f"Ben={tmp_path / 'ben.png'}"]) == 0
    assert "2 cues of Anna, Ben" in capsys.readouterr().out
    assert "speech: speech/1.wav" in output.read_text() and "face: ben.png" in output.read_text()
    assert [cue.face for cue in read_cues(output)] == ["left@2", str(tmp_path / "ben.png")]
    before = output.read_text()
    assert main([*words, "--face", "Anna=left"]) == 2, "nobody knows who Ben is"
    assert main([*words[:-1], str(path), "--face", "Anna=left", "--face", "Ben=right"]) == 15
    assert output.read_text() == before


@pytest.mark.parametrize(
    ("texts", "names", "faces", "said"),
    [
        (["- Anna: A\n- Ben Stone: B"], ["1.wav"], FACES, r"subtitle 1: Anna and Ben Stone speak in one subtitle"),
        (["[Anna] A", "B"], ["1.wav", "2.wav"], {"Anna": "left"}, r"subtitle 2 names no speaker, as others do"),
        (["[Anna] A", "[Cy] B"], ["1.wav"], {"Anna": "left"}, r"give --face 'Cy=WHO'; 'personatalk faces VIDEO'"),
        (["[Anna] A"], ["1.wav"], {"Bob": "left"}, r"a\.srt: names no Bob; it names Anna"),
        (["[Anna] A"], ["2.wav"], {}, r"no speech called 1 for subtitle 1, nor a track called 'Anna'"),
        (["A"], ["1.wav", "01.wav"], {}, r"01\.wav and 1\.wav are both the speech of subtitle 1"),
        (["..."], [], {}, r"a\.srt: no subtitle with words"),
        (["A\n00:00:zz --> 00:00:05,000\nB"], ["1.wav"], {}, r"subtitle 1: its times are damaged"),
    ],
)
def test_what_is_not_clear_is_said(
    tmp_path: Path, texts: list[str], names: list[str], faces: dict[str, str], said: str
) -> None:
    folder = voices(tmp_path / "speech", *names)
    with pytest.raises((CueError, OptionError), match=said):
        cues_of_subtitles(srt(tmp_path / "a.srt", *texts), speech_in_folder(folder), faces)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_text("hello"), "is not a media file"),
        (lambda path: write_sound(path.with_suffix(".wav"), spoken(0.2)).rename(path), "no subtitles in SRT or WebVTT"),
        (lambda path: srt(path, "A", seconds=-0.5), "not after its start"),
    ],
)
def test_files_that_are_no_subtitles_are_refused(tmp_path: Path, make: Callable[[Path], object], said: str) -> None:
    make(tmp_path / "a.srt")
    with pytest.raises(CueError, match=rf"a\.srt.*{said}"):
        read_subtitles(tmp_path / "a.srt")


def test_a_name_that_a_cue_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    folder = voices(tmp_path / "speech", "a \n.wav")
    with pytest.raises(CueError):
        write_cues(tmp_path / "cues.txt", [Cue(0, 1, None, folder / "a \n.wav")])
    assert not (tmp_path / "cues.txt").exists()


@given(
    st.lists(st.tuples(st.integers(1, 5_000_000), st.integers(1, 5000), st.integers(0, 10_000)), min_size=1, max_size=8)
)
def test_written_cues_are_read_again(
    tmp_path_factory: pytest.TempPathFactory, times: list[tuple[int, int, int]]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "a b: #.wav").touch()
    start, cues = 0, []
    for gap, length, offset in times:
        start += gap
        cues.append(Cue(start / 1000, (start + length) / 1000, None, folder / "a b: #.wav", offset / 1000))
        start += length
    write_cues(folder / "cues.txt", cues)
    again = read_cues(folder / "cues.txt")
    assert [(cue.face, cue.speech) for cue in again] == [(cue.face, cue.speech) for cue in cues]
    for name in ("start", "end", "offset"):
        assert [getattr(cue, name) for cue in again] == pytest.approx([getattr(cue, name) for cue in cues], abs=1e-6)
