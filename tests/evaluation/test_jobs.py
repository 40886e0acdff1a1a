"""Lists of pairs: from files and folders, and made by dubbing."""

from __future__ import annotations

import wave
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from personatalk.errors import PersonaTalkError
from personatalk.evaluation import jobs
from personatalk.sample import sample_files


def test_words_are_without_punctuation() -> None:
    assert jobs.spoken("Hello, there! Don't -- 3 o\u2019clock?") == "hello there don't 3 o'clock"


def test_lists_and_folders_name_pairs(tmp_path: Path) -> None:
    for folder in ("real", "made"):
        (tmp_path / folder).mkdir()
        for name in ("a.mp4", "b.mp4"):
            (tmp_path / folder / name).write_bytes(b"")
    (tmp_path / "made" / "b.mp4").rename(tmp_path / "made" / "b.mkv")
    pairs = jobs.from_folders(tmp_path / "real", tmp_path / "made")
    assert [(p.name, p.generated.name) for p in pairs] == [("a", "a.mp4"), ("b", "b.mkv")]
    (tmp_path / "made" / "b.mkv").unlink()
    assert not jobs.from_folders(tmp_path / "real", tmp_path / "made")[1].generated.exists()
    (tmp_path / "real" / "a.mkv").write_bytes(b"")
    with pytest.raises(PersonaTalkError, match=r"a\.mkv and a\.mp4 have one name"):
        jobs.from_folders(tmp_path / "real", tmp_path / "made")
    listing = tmp_path / "pairs.csv"
    listing.write_text("reference,generated,text,mismatched\nreal/a.mp4,made/a.mp4,Hello,yes\n")
    (job,) = jobs.from_list(listing)
    assert job.reference == tmp_path / "real" / "a.mp4" and job.text == "hello" and job.mismatched


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no pair"),
        ("video,other\na,b\n", "line 2: needs the columns"),
        ("reference,generated\nnone.mp4,b.mp4\n", "line 2: .*none.mp4 is not there"),
    ],
)
def test_a_damaged_list_is_explained(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(PersonaTalkError, match=message):
        jobs.from_list(tmp_path / "pairs.csv")
    with pytest.raises(PersonaTalkError, match="not a readable list"):
        jobs.from_list(tmp_path / "nowhere.csv")
    with pytest.raises(PersonaTalkError, match="no folder with videos"):
        jobs.from_folders(tmp_path, tmp_path / "nowhere")


def test_a_folder_is_dubbed_with_its_own_audio_silence_and_the_next_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips, done = tmp_path / "clips", []
    clips.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (clips / name).write_bytes(sample_files()[0].read_bytes())

    def fake(video: Path, speech: Path, output: Path, **options: object) -> None:
        done.append((video.name, speech.name, output.name))
        output.write_bytes(b"dub")

    monkeypatch.setattr(jobs, "dub", fake)
    models: Any = SimpleNamespace(fingerprint=lambda: "ours")
    found = jobs.self_dubs(clips, tmp_path / "out", models)
    assert [j.mismatched for kind in found.values() for j in kind] == [False, False, True, True, True, True]
    assert ("a.mp4", "b.mp4", "a.mismatched.mp4") in done and ("b.mp4", "b.silence.wav", "b.silent.mp4") in done
    with wave.open(str(tmp_path / "out" / "a.silence.wav")) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(119 / 25, abs=0.05)
        assert not any(file.readframes(file.getnframes()))
    # What is there is kept, unless other networks made it.
    jobs.self_dubs(clips, tmp_path / "out", models, ("own",))
    assert len(done) == 6
    models.fingerprint = lambda: "others"
    jobs.self_dubs(clips, tmp_path / "out", models, ("own",))
    assert len(done) == 8

    def failing(*arguments: object, **options: object) -> None:
        raise PersonaTalkError("no face")

    monkeypatch.setattr(jobs, "dub", failing)
    assert jobs.self_dubs(clips, tmp_path / "none", models, ("own",)) == {"own": []}
    with pytest.raises(PersonaTalkError, match="no folder with videos"):
        jobs.self_dubs(tmp_path / "nowhere", tmp_path / "out", models)
