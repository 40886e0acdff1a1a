"""Names that FFmpeg could take for something else, names that are no text, and links."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.media_clips import Clip, clicks, make, onsets, write_wav

from personatalk.media.audio import read_speech
from personatalk.media.options import EncodeOptions
from personatalk.media.preflight import check_output, check_source
from personatalk.media.probe import probe_speech
from personatalk.media.reader import VideoReader
from personatalk.media.segments import JobFolder, folder_of
from personatalk.media.writer import resumable_writer

FAST = EncodeOptions(preset="ultrafast")


def dub(source: Path, speech: Path, output: Path) -> None:
    """Write all frames of a video as they are, in a job's folder."""
    check_output(output, [source, speech])
    with VideoReader(source) as reader, JobFolder(output, {}) as job:
        check_source(reader.info, output, FAST.codec)
        with resumable_writer(job, output, reader.info, speech, FAST) as writer:
            for frame in reader.frames():
                writer.write(frame)


@pytest.mark.parametrize(
    "name", ["take:1", "http:x", "pipe:", "concat:a|b", "file:a", "-", "%03d", os.fsdecode(b"caf\xe9"), "\u00e9" * 100]
)
def test_any_name_is_read_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    made = make(Clip(tmp_path / "plain.mp4", count=3, size=(64, 48)))
    sound = write_wav(tmp_path / "plain.wav", clicks(0.5, 16000, (0.2,)), 16000)
    monkeypatch.chdir(tmp_path)
    video, speech, output = Path(f"{name}.mp4"), Path(f"{name}.wav"), Path(f"{name}.o.mkv")
    made.rename(video)
    sound.rename(speech)
    assert probe_speech(speech).seconds == pytest.approx(0.5)
    dub(video, speech, output)
    assert onsets(read_speech(output), 16000) == pytest.approx([0.2], abs=0.01)
    with VideoReader(output) as reader:
        assert len(list(reader.frames())) == 3
    assert sorted(tmp_path.iterdir()) == sorted(tmp_path / file for file in (video, speech, output))


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed_and_its_target_replaced_at_once(tmp_path: Path, there: bool) -> None:
    for folder in ("work", "disk"):
        (tmp_path / folder).mkdir()
    video = make(Clip(tmp_path / "a.mp4", count=3, size=(64, 48)))
    speech = write_wav(tmp_path / "a.wav", clicks(0.5, 16000, (0.2,)), 16000)
    link, target = tmp_path / "work" / "out.mp4", tmp_path / "disk" / "real"
    if there:
        target.write_text("old")
    link.symlink_to(Path("..", "disk", "real"))
    assert folder_of(link) == folder_of(target)  # on the target's disk, where renaming works
    dub(video, speech, link)
    assert link.is_symlink() and not target.is_symlink()
    with VideoReader(target) as reader:
        assert reader.info.container.startswith("mov") and len(list(reader.frames())) == 3
    assert [path.name for path in tmp_path.rglob("*") if path.name.startswith(".")] == []


def test_a_link_keeps_its_old_target_when_the_work_fails(tmp_path: Path) -> None:
    video = make(Clip(tmp_path / "a.mp4", count=3, size=(64, 48)))
    target, link = tmp_path / "real.mp4", tmp_path / "out.mp4"
    target.write_text("old")
    link.symlink_to(target)
    with (
        VideoReader(video) as reader,
        pytest.raises(KeyError),
        JobFolder(link, {}) as job,
        resumable_writer(job, link, reader.info, None, FAST) as writer,
    ):
        writer.write(next(reader.frames()))
        raise KeyError
    assert link.is_symlink() and target.read_text() == "old"
