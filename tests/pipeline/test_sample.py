"""The embedded sample: there, small, a face that is found and that speaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

import personatalk
from personatalk.faces.landmarks import open_tracker
from personatalk.media import audio, probe
from personatalk.media.reader import VideoReader
from personatalk.utils.arrays import Array

FOLDER = Path(personatalk.__file__).parent / "sample"
FACE, SPEECH = FOLDER / "face.mp4", FOLDER / "speech.flac"
BT709 = 1
STEP = 2


def frames(path: Path) -> Iterator[np.ndarray]:
    with VideoReader(path) as reader:
        for frame in reader.frames():
            yield frame.rgb()


def track(path: Path) -> list[Array | None]:
    """The landmarks in every second frame, None where no face is found."""
    tracker = open_tracker()
    try:
        found = [tracker.detect(rgb) for n, rgb in enumerate(frames(path)) if n % STEP == 0]
    finally:
        tracker.close()
    return [faces[0] if faces else None for faces in found]


def opening(points: Array) -> float:
    """Gap between the inner lips over the distance between the outer eye corners."""
    gap = np.linalg.norm(points[14, :2] - points[13, :2])
    return float(gap / np.linalg.norm(points[263, :2] - points[33, :2]))


def check_found(tracked: list[Array | None]) -> None:
    assert len(tracked) >= 45
    assert sum(points is None for points in tracked) == 0


def check_speaks(openings: np.ndarray) -> None:
    assert openings.std() > 0.035
    assert openings.max() > 0.13
    assert np.sort(openings)[: len(openings) // 8].max() < 0.02


def check_follows(openings: np.ndarray, loudness: np.ndarray) -> None:
    assert np.corrcoef(openings, loudness)[0, 1] > 0.45


def loudness_of(samples: np.ndarray, rate: int, count: int) -> np.ndarray:
    """Loudness of the speech around each of the tracked frames."""
    half = rate // 25
    middles = np.round((np.arange(count) * STEP / 25 + 0.02) * rate).astype(int)
    padded = np.pad(samples, half)
    return np.array([np.sqrt(np.mean(padded[m : m + 2 * half] ** 2)) ** 0.5 for m in middles])


@pytest.fixture(scope="module")
def tracked() -> list[Array | None]:
    return track(FACE)


@pytest.fixture(scope="module")
def openings(tracked: list[Array | None]) -> np.ndarray:
    return np.array([opening(points) for points in tracked if points is not None])


def test_the_files_are_small() -> None:
    assert 20_000 < FACE.stat().st_size < 600_000
    assert 20_000 < SPEECH.stat().st_size < 250_000
    assert (FOLDER / "README.md").is_file()


def test_the_clip_is_what_its_readme_says() -> None:
    info = probe.probe_video(FACE)
    assert (info.width, info.height, info.orientation.rotation) == (512, 512, 0)
    assert (info.codec, info.pix_fmt, info.average_fps) == ("h264", "yuv420p", 25)
    assert (info.colorspace, info.color_primaries, info.color_trc) == (BT709, BT709, BT709)
    assert info.duration is not None
    assert 3.5 < info.duration < 6


def test_the_clip_has_its_own_sound_as_long_as_the_picture() -> None:
    with av.open(str(FACE)) as file:
        assert [stream.type for stream in file.streams] == ["video", "audio"]
    samples = audio.read_speech(FACE)
    duration = probe.probe_video(FACE).duration
    assert duration is not None
    assert abs(len(samples) / 16000 - duration) < 0.2
    assert np.abs(samples).max() > 0.2


def test_the_speech_is_some_seconds_of_another_sentence() -> None:
    samples, own = audio.read_speech(SPEECH), audio.read_speech(FACE)
    assert 2 < len(samples) / 16000 < 6
    assert np.abs(samples).max() > 0.2
    length = min(len(samples), len(own))
    assert abs(np.corrcoef(samples[:length], own[:length])[0, 1]) < 0.3


@pytest.mark.slow
def test_the_face_is_found_in_every_frame(tracked: list[Array | None]) -> None:
    check_found(tracked)


@pytest.mark.slow
def test_the_face_is_found_in_single_frames_too() -> None:
    for rgb in list(frames(FACE))[::12]:
        assert open_tracker().detect(rgb)


@pytest.mark.slow
def test_the_mouth_opens_and_closes(openings: np.ndarray) -> None:
    check_speaks(openings)


@pytest.mark.slow
def test_the_mouth_follows_the_sound(openings: np.ndarray) -> None:
    check_follows(openings, loudness_of(audio.read_speech(FACE), 16000, len(openings)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda openings: np.full_like(openings, openings.mean()), id="still"),
        pytest.param(lambda openings: openings + 0.05, id="never-closed"),
        pytest.param(lambda openings: openings * 0.4, id="mumbling"),
    ],
)
def test_the_check_of_the_mouth_can_fail(openings: np.ndarray, spoil: Callable[[np.ndarray], np.ndarray]) -> None:
    with pytest.raises(AssertionError):
        check_speaks(spoil(openings))


@pytest.mark.slow
def test_the_check_of_the_sound_can_fail(openings: np.ndarray) -> None:
    loudness = loudness_of(audio.read_speech(FACE), 16000, len(openings))
    with pytest.raises(AssertionError):
        check_follows(openings, loudness[::-1])


@pytest.mark.slow
def test_the_check_of_the_face_can_fail(tracked: list[Array | None]) -> None:
    with pytest.raises(AssertionError):
        check_found([*tracked[:-1], None])
