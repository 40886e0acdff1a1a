"""Files whose time stamps jump, repeat or stand still: picture and sound stay together, and last what players show."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.event_clips import LENGTH, flash_and_click
from helpers.media_clips import Clip, clicks, make, onsets, write_wav

from personatalk.media.audio import read_speech
from personatalk.media.options import EncodeOptions
from personatalk.media.reader import FrameTimes, VideoReader
from personatalk.media.writer import VideoWriter

# Ticks after which the clock of a transport stream runs over.
LAP = 1 << 33


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def flashes(path: Path) -> tuple[list[float], list[float]]:
    """Times of white frames, and of all frames, in seconds from the file's start."""
    with VideoReader(path) as reader:
        shown = [(frame.time, frame.rgb().mean() > 128) for frame in reader.frames()]
    return [time for time, white in shown if white], [time for time, _ in shown]


def clicks_heard(path: Path) -> list[float]:
    """Onsets in the sound, in seconds from the file's start."""
    return onsets(read_speech(path, 16000), 16000)


def dubbed(source: Path, speech: Path | None, output: Path) -> Path:
    with (
        VideoReader(source) as reader,
        VideoWriter(output, reader.info, speech, EncodeOptions(preset="ultrafast")) as writer,
    ):
        for frame in reader.frames():
            writer.write(frame)
    return output


# Times at which the parts of a joined transport stream start on its clock.
JOINS = {
    "twice the same": (10.0, 10.0),
    "three times": (10.0, 10.0, 10.0),
    "back": (100.0, 10.0),
    "forward by hours": (10.0, 3.5 * 3600),
    "forward and back": (10.0, 7200.0, 20.0),
}


@pytest.mark.parametrize("kind", JOINS)
def test_a_file_whose_clock_jumps_lasts_what_players_show(tmp_path: Path, kind: str) -> None:
    parts = [flash_and_click(tmp_path / f"{number}.ts", start) for number, start in enumerate(JOINS[kind])]
    path = joined(tmp_path / "a.ts", *parts)
    seen, times = flashes(path)
    assert len(times) == 25 * len(parts) and times[-1] == pytest.approx(len(parts) * LENGTH, abs=0.2)
    assert all(0.01 < later - earlier < 0.2 for earlier, later in pairwise(times))
    assert len(seen) == len(parts)
    np.testing.assert_allclose(clicks_heard(path), seen, atol=0.02)


@pytest.mark.parametrize("kind", JOINS)
def test_sound_that_outlasts_its_picture_is_heard_before_the_next_part(tmp_path: Path, kind: str) -> None:
    starts = enumerate(JOINS[kind])
    parts = [flash_and_click(tmp_path / f"{number}.ts", start, tail=1.5) for number, start in starts]
    path = joined(tmp_path / "a.ts", *parts)
    seen, times = flashes(path)
    assert len(seen) == len(parts) and len(times) == 25 * len(parts)
    np.testing.assert_allclose(clicks_heard(path), seen, atol=0.02)
    np.testing.assert_allclose(np.diff(seen), LENGTH + 1.5, atol=0.1)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_copied_sound_moves_with_the_picture(tmp_path: Path, suffix: str) -> None:
    parts = [flash_and_click(tmp_path / f"{number}.ts", start) for number, start in enumerate((10.0, 7200.0, 20.0))]
    made = dubbed(joined(tmp_path / "a.ts", *parts), None, tmp_path / f"o{suffix}")
    seen, times = flashes(made)
    assert len(seen) == 3 and len(times) == 75
    np.testing.assert_allclose(clicks_heard(made), seen, atol=0.02)


def test_new_speech_begins_with_the_file(tmp_path: Path) -> None:
    part = flash_and_click(tmp_path / "t.ts", 10.0)
    speech = write_wav(tmp_path / "s.wav", clicks(2.0, 16000, (0.3, 1.5)), 16000)
    made = dubbed(joined(tmp_path / "a.ts", part, part), speech, tmp_path / "o.mp4")
    np.testing.assert_allclose(clicks_heard(made), [0.3, 1.5], atol=0.02)
    with av.open(str(made)) as container:
        assert container.duration == pytest.approx(2.05e6, abs=0.1e6)


@pytest.mark.parametrize("before", [0.5, 90.0])
def test_a_clock_that_runs_over_goes_on(tmp_path: Path, before: float) -> None:
    path = flash_and_click(tmp_path / "a.ts", LAP / 90000 - before - 1.4)
    seen, times = flashes(path)
    assert len(times) == 25 and len(seen) == 1
    np.testing.assert_allclose(np.diff(times), 0.04, atol=1e-3)
    np.testing.assert_allclose(clicks_heard(path), seen, atol=0.02)
    made = dubbed(path, None, tmp_path / "o.mp4")
    np.testing.assert_allclose(clicks_heard(made), flashes(made)[0], atol=0.02)


def test_negative_stamps_begin_at_the_start(tmp_path: Path) -> None:
    path = flash_and_click(tmp_path / "a.ts", -0.5)
    seen, times = flashes(path)
    assert min(times) >= -1e-6
    np.testing.assert_allclose(clicks_heard(path), seen, atol=0.02)


def test_a_stream_that_starts_hours_after_zero_starts_at_zero(tmp_path: Path) -> None:
    source = flash_and_click(tmp_path / "a.ts", 36000.0)
    with VideoReader(source) as reader:
        whole = [frame.rgb() for frame in reader.frames()]
        times = [frame.time for frame in reader.frames()]
        part = [(frame.time, frame.rgb()) for frame in reader.frames(20, 25)]  # which seeks
    assert [time for time, _ in part] == times[20:]
    assert all(np.array_equal(rgb, known) for (_, rgb), known in zip(part, whole[20:], strict=True))
    for suffix in (".mp4", ".avi"):
        made = dubbed(source, None, tmp_path / f"o{suffix}")
        with av.open(str(made)) as container:
            assert abs(container.start_time) < 0.1e6 and container.duration < 1.2e6


def test_holes_that_are_no_jumps_stay(tmp_path: Path) -> None:
    places = [0, 1, 2, 40, 41, 400]  # 14 s without a frame
    with VideoReader(make(Clip(tmp_path / "a.mp4", count=6, pts=places, time_base=Fraction(1, 25)))) as reader:
        times = [frame.time for frame in reader.frames()]
    np.testing.assert_allclose(times, np.array(places) / 25, atol=1e-3)


@pytest.mark.parametrize(
    ("stamps", "wanted"),
    [
        ([0, 40, 80, 120], [0, 40, 80, 120]),
        ([0, 40, 40, 120], [0, 40, 60, 120]),
        ([0, 40, 40, 40, 80, 120, 160, 200, 240], [0, 40, 60, 100, 120, 140, 160, 200, 240]),
        ([0, 0, 0, 0, 0], [0, 20, 60, 100, 140]),
        ([0, 40, 30, 120], [0, 40, 60, 120]),
        ([None, None, 80, None], [0, 40, 80, 120]),
        ([-40, -40, 40], [-40, -20, 40]),
    ],
)
def test_repeated_stamps_do_not_hide_frames(stamps: list[int | None], wanted: list[int]) -> None:
    times = FrameTimes()
    assert [times.next(stamp, 40) for stamp in stamps] == wanted


def test_frames_of_avi_are_shown_one_by_one(tmp_path: Path) -> None:
    path = make(Clip(tmp_path / "a.avi", count=25, options={"preset": "medium", "bf": "3"}))
    with VideoReader(path) as reader:
        frames = list(reader.frames())
        part = list(reader.frames(10, 20))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(25) / 25, atol=1e-6)
    assert [frame.time for frame in part] == [frame.time for frame in frames[10:20]]
    assert all(np.array_equal(one.rgb(), other.rgb()) for one, other in zip(part, frames[10:20], strict=True))
