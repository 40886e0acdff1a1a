"""Audio lies where the time stamps of its file put it: what the mouth is made from, and what the output plays."""

from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from helpers.audio_clips import Move, heard, lags, voice, write_stamped
from helpers.media_clips import Clip, make

from personatalk.media.audio import is_continuous, read_speech
from personatalk.media.options import EncodeOptions
from personatalk.media.reader import VideoReader
from personatalk.media.writer import VideoWriter

RATE = 16000
SAID = voice(2.0, RATE)


def hole(time: float) -> float | None:
    return None if 0.6 <= time < 1.24 else time


def many_holes(time: float) -> float | None:
    return None if 0.5 <= time % 0.75 < 0.6 else time


def later(time: float) -> float:
    return time if time < 0.8 else time + 0.5


def slow_clock(time: float) -> float:
    return time * 1.02


def late_start(time: float) -> float:
    return time + 0.6


def overlap(time: float) -> float:
    return time if time < 0.8 else time - 0.012


def straight(time: float) -> float:
    return time


def dubbed(folder: Path, speech: Path, target: str, **choices: object) -> Path:
    """The output of a video of two seconds with the speech."""
    codec = {".avi": "mpeg4", ".webm": "libvpx"}.get(target, "libx264")
    source = make(Clip(folder / f"source{target}", codec=codec, count=50))
    out = folder / f"out{target}"
    options = EncodeOptions(preset="ultrafast", **choices)  # type: ignore[arg-type]
    with VideoReader(source) as reader, VideoWriter(out, reader.info, speech, options) as writer:
        for frame in reader.frames():
            writer.write(frame)
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "codec"),
    [("s.mkv", "pcm_s16le"), ("s.mkv", "flac"), ("s.mp4", "aac"), ("s.webm", "libopus"), ("s.ts", "mp2")],
)
@pytest.mark.parametrize("move", [straight, hole, many_holes, later, slow_clock, late_start])
def test_samples_lie_at_their_time_stamps(tmp_path: Path, name: str, codec: str, move: Move) -> None:
    path = write_stamped(tmp_path / name, codec, voice(2.0, 48000), 48000, move)
    played = heard(path, RATE)
    read = read_speech(path, RATE)
    assert len(read) == pytest.approx(len(played), abs=0.05 * RATE)
    found = lags(played, read, RATE)
    assert len(found) > 4 and np.abs(found).max() < 0.015


@pytest.mark.slow
@pytest.mark.parametrize("target", [".mp4", ".mkv", ".mov", ".webm", ".avi", ".ts", ".flv"])
@pytest.mark.parametrize(
    ("name", "codec"), [("s.mkv", "flac"), ("s.mp4", "aac"), ("s.webm", "libopus"), ("s.mp3", "libmp3lame")]
)
@pytest.mark.parametrize("move", [straight, hole, later, late_start, overlap])
def test_the_output_plays_what_the_mouth_was_made_from(
    tmp_path: Path, target: str, name: str, codec: str, move: Move
) -> None:
    path = write_stamped(tmp_path / name, codec, voice(2.0, 48000), 48000, move)
    out = dubbed(tmp_path, path, target)
    found = lags(read_speech(path, RATE), heard(out, RATE), RATE)
    assert len(found) > 4 and np.abs(found).max() < 0.02


def test_what_overlaps_is_heard_once(tmp_path: Path) -> None:
    path = write_stamped(tmp_path / "s.mkv", "pcm_s16le", SAID, RATE, overlap)
    cut = np.delete(SAID, slice(round(0.8 * RATE), round(0.812 * RATE)))
    np.testing.assert_allclose(read_speech(path, RATE), cut, atol=1e-3)


def test_stamps_that_are_coarse_or_off_once_change_no_sample(tmp_path: Path) -> None:
    def coarse(time: float) -> float:
        return round(time, 2) + 0.015 * (round(time, 3) == 0.8)

    path = write_stamped(tmp_path / "s.mkv", "pcm_s16le", SAID, RATE, coarse)
    np.testing.assert_allclose(read_speech(path, RATE), SAID, atol=1e-3)


def test_only_a_track_without_holes_is_copied(tmp_path: Path) -> None:
    whole = write_stamped(tmp_path / "whole.mp4", "aac", SAID, RATE, straight)
    broken = write_stamped(tmp_path / "broken.mp4", "aac", SAID, RATE, hole)
    assert is_continuous(whole, RATE) and not is_continuous(broken, RATE)


def test_only_what_is_needed_is_read(tmp_path: Path) -> None:
    from personatalk.media.audio import store_speech

    path = write_stamped(tmp_path / "s.mkv", "pcm_s16le", SAID, RATE, straight)
    kept = store_speech(path, tmp_path / "samples", RATE, until=0.7)
    assert len(kept) == round(0.7 * RATE) and (tmp_path / "samples").stat().st_size == 4 * len(kept)
    np.testing.assert_allclose(kept[:], SAID[: len(kept)], atol=1e-3)


def joined(folder: Path, kinds: list[tuple[int, str]]) -> tuple[Path, np.ndarray]:
    """MP3s of several rates and channels one after the other, as speech synthesis makes them; and what they say."""
    import av

    parts, said = b"", []
    for number, (rate, layout) in enumerate(kinds):
        path = folder / f"part{number}.mp3"
        samples = voice(0.8, rate, seed=number)
        with av.open(str(path), "w", container_options={"write_xing": "0", "id3v2_version": "0"}) as out:
            track = out.add_stream("libmp3lame", rate=rate, layout=layout)
            track.codec_context.open()
            frame = av.AudioFrame.from_ndarray(samples[None], "fltp", "mono")
            frame.sample_rate, clock = rate, 0
            resampler = av.AudioResampler("fltp", layout, rate, track.codec_context.frame_size)
            for piece in [*resampler.resample(frame), *resampler.resample(None)]:
                piece.pts, piece.time_base = clock, Fraction(1, rate)
                clock += piece.samples
                out.mux(track.encode(piece))
            out.mux(track.encode(None))
        parts += path.read_bytes()
        said.append(read_speech(path, RATE))
    (folder / "joined.mp3").write_bytes(parts)
    return folder / "joined.mp3", np.concatenate(said)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kinds",
    [[(22050, "mono"), (44100, "stereo"), (16000, "mono")], [(48000, "stereo"), (24000, "mono")]],
    ids=["three", "two"],
)
def test_joined_files_of_several_formats_are_read_to_the_end(tmp_path: Path, kinds: list[tuple[int, str]]) -> None:
    path, said = joined(tmp_path, kinds)
    read = read_speech(path, RATE)
    assert len(read) == pytest.approx(len(said), abs=0.06 * RATE)
    # The decoder carries the end of one part into the next one, where the parts' own silences lie.
    assert np.abs(lags(said, read, RATE)).max() < 0.06
    out = dubbed(tmp_path, path, ".mp4")
    assert np.abs(lags(read, heard(out, RATE), RATE)).max() < 0.02


def test_samples_that_are_no_numbers_are_silent(tmp_path: Path) -> None:
    values = SAID.copy()
    values[8000:8100], values[9000], values[9001] = np.nan, np.inf, -1e30
    path = tmp_path / "s.wav"
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 4, RATE, 0, "NONE", "not compressed"))
        out.writeframes(values.astype("<f4").tobytes())
    data = bytearray(path.read_bytes())
    data[20:22] = b"\x03\x00"  # float
    path.write_bytes(data)
    read = read_speech(path, RATE)
    clean = np.where(np.isfinite(values) & (np.abs(values) < 2), values, 0)
    np.testing.assert_array_equal(read, clean)
    for target in (".mp4", ".mkv"):
        assert np.abs(lags(read, heard(dubbed(tmp_path, path, target), RATE), RATE)).max() < 0.02


@pytest.mark.slow
@pytest.mark.parametrize(("name", "codec"), [("s.ts", "mp2"), ("s.ogg", "flac"), ("s.ogg", "libopus")])
def test_a_clock_that_starts_anew_goes_on(tmp_path: Path, name: str, codec: str) -> None:
    # Shorter than what is trimmed anywhere else, and longer.
    for seconds in (0.4, 1.0):
        parts = [
            write_stamped(tmp_path / f"{number}-{name}", codec, voice(seconds, 48000, seed=number), 48000, straight)
            for number in range(3)
        ]
        path = tmp_path / f"joined-{name}"
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
        said = np.concatenate([voice(seconds, 48000, seed=number)[::3] for number in range(3)])
        read = read_speech(path, RATE)
        assert len(read) == pytest.approx(len(said), abs=0.12 * RATE)
        found = lags(said, read, RATE)
        # Each part's encoder adds its own run-in and padding.
        assert len(found) > 4 and np.abs(found).max() < 0.12
        out = dubbed(tmp_path, path, ".mp4")
        assert np.abs(lags(read, heard(out, RATE), RATE)).max() < 0.02
