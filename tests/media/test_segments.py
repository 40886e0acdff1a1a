"""Jobs that are cut off and go on: nothing is lost, doubled or changed."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import textwrap
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from helpers.media_clips import Clip, clicks, make, write_wav

from personatalk.errors import MediaError
from personatalk.media.options import EncodeOptions
from personatalk.media.reader import VideoReader
from personatalk.media.segments import JobFolder, folder_of
from personatalk.media.writer import SegmentedVideoWriter, VideoWriter, resumable_writer
from personatalk.utils.files import file_stamp

FAST = EncodeOptions(preset="ultrafast")
UNEVEN = [0, 20, 100, 140, 300, 310, 330, 700, 710, 720, 760, 800]


class Cut(KeyboardInterrupt):
    """The run is cut off."""


def finished(job: JobFolder) -> int:
    """Return the number of finished segments, counted from the first without a gap."""
    return next(number for number in itertools.count() if job.shown(number) is None)


def write(source: Path, output: Path, speech: Path, cut: int | None = None, length: int = 5) -> list[int]:
    """Copy a video in segments, as far as it goes; returns the numbers of the frames taken over."""
    with VideoReader(source) as reader:
        frames = list(reader.frames())
        options = EncodeOptions(preset="medium") if output.suffix == ".mp4" else FAST
        with (
            JobFolder(output, {"source": file_stamp(source)}, length) as job,
            SegmentedVideoWriter(job, output, reader.info, speech, options) as writer,
        ):
            done = writer.resume(frame.duration for frame in frames)
            for frame in frames[len(done) :]:
                if frame.index == cut:
                    raise Cut
                writer.write(frame, frame.index)
    return done


def contents(path: Path) -> tuple[list[tuple[Fraction, Fraction]], list[np.ndarray]]:
    with VideoReader(path) as reader:
        base = reader.info.time_base
        seen = [((f.pts * base, f.duration * base), f.rgb()) for f in reader.frames()]
    return [s[0] for s in seen], [s[1] for s in seen]


def check_same(one: Path, other: Path) -> None:
    times, pictures = contents(one)
    others, other_pictures = contents(other)
    assert times == others
    assert all((a == b).all() for a, b in zip(pictures, other_pictures, strict=True))


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "speech.wav", clicks(0.9, 22050, (0.2, 0.6)), 22050)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".ts", ".avi"])
def test_a_run_that_was_cut_off_gives_the_same_file(tmp_path: Path, speech: Path, suffix: str) -> None:
    source = make(Clip(tmp_path / "a.mp4", count=18, size=(64, 48)))
    whole, broken = tmp_path / f"whole{suffix}", tmp_path / f"broken{suffix}"
    assert write(source, whole, speech) == []
    taken = []
    for cut in (0, 4, 7, 7, 16):
        with pytest.raises(Cut):
            taken.append(len(write(source, broken, speech, cut)))
        assert not broken.exists()
    assert write(source, broken, speech) == list(range(15))
    check_same(whole, broken)
    assert {p.name for p in tmp_path.iterdir()} == {"a.mp4", "speech.wav", whole.name, broken.name}


def test_segments_lose_nothing_against_one_encoder(tmp_path: Path, speech: Path) -> None:
    source = make(Clip(tmp_path / "a.mp4", pts=UNEVEN, count=12, time_base=Fraction(1, 1000), size=(64, 48)))
    write(source, tmp_path / "segments.mp4", speech)
    times, pictures = contents(tmp_path / "segments.mp4")
    assert [start for start, _ in times] == [start for start, _ in contents(source)[0]]
    write(source, tmp_path / "segments.mkv", speech)
    with VideoReader(source) as reader, VideoWriter(tmp_path / "one.mkv", reader.info, speech, FAST) as writer:
        for frame in reader.frames():
            writer.write(frame)
    assert contents(tmp_path / "segments.mkv")[0] == contents(tmp_path / "one.mkv")[0]
    for made, real in zip(pictures, contents(source)[1], strict=True):
        assert np.abs(made.astype(int) - real).mean() < 3


def test_an_uneven_video_goes_on_as_well(tmp_path: Path, speech: Path) -> None:
    source = make(Clip(tmp_path / "a.mp4", pts=UNEVEN, count=12, time_base=Fraction(1, 1000), size=(64, 48)))
    write(source, tmp_path / "whole.mp4", speech)
    with pytest.raises(Cut):
        write(source, tmp_path / "broken.mp4", speech, cut=11)
    assert write(source, tmp_path / "broken.mp4", speech) == list(range(10))
    check_same(tmp_path / "whole.mp4", tmp_path / "broken.mp4")


def test_names_as_long_as_the_disk_takes_have_folders_of_their_own(tmp_path: Path) -> None:
    one, other = (tmp_path / f"{'ä' * 120}{end}.mp4" for end in "ab")
    with JobFolder(one, {}) as job, JobFolder(other, {}) as another:
        assert job.folder.is_dir() and another.folder.is_dir() and job.folder != another.folder


def test_another_job_starts_anew(tmp_path: Path, speech: Path) -> None:
    source = make(Clip(tmp_path / "a.mp4", count=12, size=(64, 48)))
    output = tmp_path / "out.mp4"
    with pytest.raises(Cut):
        write(source, output, speech, cut=11)
    with JobFolder(output, {"source": "another"}, 5) as job:
        assert finished(job) == 0
    assert not folder_of(output).exists()
    with pytest.raises(Cut):
        write(source, output, speech, cut=11)
    assert write(source, output, speech, length=4) == []


def test_an_error_before_anything_is_finished_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(MediaError), JobFolder(tmp_path / "out.mp4", {}) as job:
        job.write("analysis.safetensors", b"1")
        raise MediaError("broken")
    assert list(tmp_path.iterdir()) == []


def test_an_error_after_hours_does_not_cost_the_hours(tmp_path: Path) -> None:
    with pytest.raises(MediaError), JobFolder(tmp_path / "out.mp4", {}) as job:
        (job.folder / "packets").write_bytes(b"")
        job.store(0, [], job.folder / "packets")
        raise MediaError("the disk is full")
    with JobFolder(tmp_path / "out.mp4", {}) as job:
        assert finished(job) == 1


def test_files_of_others_stay_and_links_are_refused(tmp_path: Path) -> None:
    with JobFolder(tmp_path / "out.mp4", {}) as job:
        (job.folder / "mine.txt").write_text("mine")
    assert (folder_of(tmp_path / "out.mp4") / "mine.txt").read_text() == "mine"
    (tmp_path / "elsewhere").mkdir()
    folder_of(tmp_path / "b.mp4").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MediaError, match="is a link"), JobFolder(tmp_path / "b.mp4", {}):
        pass


def test_a_kill_leaves_no_half_output_for_good(tmp_path: Path, speech: Path) -> None:
    source = make(Clip(tmp_path / "a.mp4", count=12, size=(64, 48)))
    folder = folder_of(tmp_path / "out.mp4")
    folder.mkdir()
    (folder / "output.mp4").write_bytes(b"what a killed run had written")
    write(source, tmp_path / "out.mp4", speech)
    assert not folder.exists() and not list(tmp_path.glob(".*"))


def test_two_runs_cannot_write_one_output(tmp_path: Path) -> None:
    with JobFolder(tmp_path / "out.mp4", {}):
        with pytest.raises(MediaError, match="another run is writing it"), JobFolder(tmp_path / "out.mp4", {}):
            pass
        assert folder_of(tmp_path / "out.mp4").is_dir()
    with JobFolder(tmp_path / "out.mp4", {}):
        pass


@pytest.mark.slow
def test_a_killed_process_lets_go_and_half_files_do_not_count(tmp_path: Path) -> None:
    script = f"""
        import os, signal
        from personatalk.media.segments import JobFolder
        with JobFolder({str(tmp_path / "out.mp4")!r}, {{}}) as job:
            job.write("whole", b"1")
            with job.writing("half") as path:
                path.write_bytes(b"1")
                os.kill(os.getpid(), signal.SIGKILL)
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert result.returncode == -9
    with JobFolder(tmp_path / "out.mp4", {}) as job:
        assert job.path("whole") is not None and job.path("half") is None


def test_a_damaged_key_starts_anew(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "out.mp4")
    folder.mkdir()
    for content in (b"", b"[]", b"{}", json.dumps({"key": 3}).encode(), b"\xff"):
        (folder / "job.json").write_bytes(content)
        (folder / "000000.packets").write_bytes(b"junk")
        with JobFolder(tmp_path / "out.mp4", {}) as job:
            assert finished(job) == 0
        folder.mkdir()


def test_a_transparent_webm_is_written_in_one_go_as_segments_would_lose_its_alpha(tmp_path: Path) -> None:
    source = make(Clip(tmp_path / "a.mkv", count=4, codec="ffv1", pix_fmt="yuva420p", size=(64, 48)))
    output, options = tmp_path / "out.webm", EncodeOptions(codec="libvpx-vp9")
    with (
        VideoReader(source) as reader,
        JobFolder(output, {}, 2) as job,
        resumable_writer(job, output, reader.info, None, options) as writer,
    ):
        assert writer.resume([1] * 4) == [] and job.draft.exists()
        for frame in reader.frames():
            writer.write(frame)
        assert finished(job) == 0
    with VideoReader(output) as reader:
        assert reader.info.alpha and len(list(reader.frames())) == 4
    assert {p.name for p in tmp_path.iterdir()} == {"a.mkv", "out.webm"}


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_other_videos_are_written_in_segments(tmp_path: Path, suffix: str) -> None:
    source = make(Clip(tmp_path / "a.mp4", count=5, size=(64, 48)))
    output = tmp_path / f"out{suffix}"
    with VideoReader(source) as reader, JobFolder(output, {}, 2) as job:
        frames = list(reader.frames())
        with resumable_writer(job, output, reader.info, None, FAST) as writer:
            for frame in frames:
                writer.write(frame)
            assert finished(job) == 2
    assert len(contents(output)[0]) == 5


def test_the_lock_lies_beside_the_folder_and_goes_with_it(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    with JobFolder(output, {}) as job:
        assert {p.name for p in tmp_path.iterdir()} == {job.folder.name, f"{job.folder.name}.lock"}
    assert list(tmp_path.iterdir()) == []
    (tmp_path / f"{job.folder.name}.lock").touch()  # of a killed run
    with JobFolder(output, {}):
        pass
    assert list(tmp_path.iterdir()) == []
