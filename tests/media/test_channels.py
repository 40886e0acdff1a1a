"""Channels of a speech: whichever the voice is on, the mouth hears it, and so does who plays the output."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from helpers.audio_clips import heard, lags, voice, write_channels
from helpers.media_clips import Clip, make

from personatalk.media.audio import loses_channels, read_speech, stereo_blocks
from personatalk.media.downmix import downmix
from personatalk.media.options import EncodeOptions
from personatalk.media.probe import probe_speech
from personatalk.media.reader import VideoReader
from personatalk.media.writer import VideoWriter

RATE = 16000
SAID = voice(0.8, 48000)
HEARD = SAID[::3]

LAYOUTS = ["mono", "1 channels", "stereo", "2 channels", "2.1", "3.0", "3 channels", "quad", "4 channels"]
LAYOUTS += ["5.1", "6 channels", "7.1", "8 channels"]


def on(channel: int, channels: int) -> np.ndarray:
    """The voice on one of several channels."""
    samples = np.zeros((len(SAID), channels), np.float32)
    samples[:, channel] = SAID
    return samples


def dubbed(folder: Path, speech: Path, target: str) -> Path:
    source = make(Clip(folder / f"source{target}", codec="mpeg4" if target == ".avi" else "libx264", count=20))
    with (
        VideoReader(source) as reader,
        VideoWriter(folder / f"out{target}", reader.info, speech, EncodeOptions(preset="ultrafast")) as writer,
    ):
        for frame in reader.frames():
            writer.write(frame)
    return folder / f"out{target}"


def played_in_stereo(path: Path) -> np.ndarray:
    """Return the output of two loudspeakers as FFmpeg mixes it: it leaves out the channel of low frequencies."""
    with av.open(str(path)) as file:
        resampler = av.AudioResampler("flt", "stereo", RATE)
        frames = [*file.decode(audio=0), None]
        parts = [part.to_ndarray().reshape(-1, 2) for frame in frames for part in resampler.resample(frame)]
    return np.concatenate(parts).mean(axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("codec", "sample_format", "name"), [("pcm_s16le", "s16", "s.wav"), ("flac", "s16", "s.mkv")])
def test_a_voice_on_any_channel_is_heard(
    tmp_path: Path, layout: str, codec: str, sample_format: str, name: str
) -> None:
    channels = av.AudioLayout(layout).nb_channels
    for channel in range(channels):
        path = write_channels(
            tmp_path / f"{channel}-{name}", codec, on(channel, channels), 48000, layout, sample_format
        )
        read = read_speech(path, RATE)
        assert np.abs(lags(HEARD, channels * read, RATE)).max() < 0.001
        played = played_in_stereo(dubbed(tmp_path, path, ".mp4" if codec == "flac" else ".mkv"))
        assert np.square(played).mean() > 0.005 * np.square(HEARD).mean()
        assert np.abs(lags(HEARD, played, RATE)).max() < 0.02


@pytest.mark.parametrize("target", [".mp4", ".mkv", ".mov", ".avi", ".ts", ".flv"])
def test_planar_audio_of_eight_channels_is_read_and_cut(tmp_path: Path, target: str) -> None:
    samples = np.stack([SAID] * 8, axis=1)
    path = write_channels(tmp_path / "s.mkv", "aac", samples, 48000, "7.1", "fltp")
    np.testing.assert_allclose(lags(HEARD, read_speech(path, RATE), RATE), 0, atol=0.001)
    source = make(Clip(tmp_path / f"source{target}", codec="mpeg4" if target == ".avi" else "libx264", count=10))
    out = tmp_path / f"out{target}"
    with VideoReader(source) as reader, VideoWriter(out, reader.info, path, speech_seconds_limit=0.4) as writer:
        for frame in reader.frames():
            writer.write(frame)
    played = heard(out, RATE)
    assert len(played) / RATE == pytest.approx(0.4, abs=0.08)
    assert np.abs(lags(HEARD[: round(0.4 * RATE)], played, RATE)).max() < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["5.1", "7.1"])
def test_surround_stays_surround(tmp_path: Path, layout: str) -> None:
    channels = av.AudioLayout(layout).nb_channels
    samples = np.stack([np.roll(SAID, 100 * c) for c in range(channels)], axis=1)
    path = write_channels(tmp_path / "s.wav", "pcm_s16le", samples, 48000, layout, "s16")
    assert not loses_channels(path, probe_speech(path))
    assert probe_speech(dubbed(tmp_path, path, ".mp4")).channels == channels


@pytest.mark.parametrize("gain", [-1.0, -0.9, -0.7])
@pytest.mark.parametrize("layout", ["stereo", "quad"])
def test_channels_that_cancel_are_heard(tmp_path: Path, gain: float, layout: str) -> None:
    samples = np.stack([SAID, gain * SAID] * (av.AudioLayout(layout).nb_channels // 2), axis=1)
    path = write_channels(tmp_path / "s.wav", "pcm_s16le", samples, 48000, layout, "s16")
    read = read_speech(path, RATE)
    assert np.square(read).mean() > 0.5 * np.square(HEARD).mean()
    assert np.abs(lags(HEARD, read, RATE)).max() < 0.001
    # A codec that makes the other side a little louder does not turn the voice over.
    again = write_channels(tmp_path / "s.mp4", "aac", samples, 48000, layout, "fltp")
    assert np.abs(lags(read, read_speech(again, RATE), RATE)).max() < 0.02
    mono = np.concatenate([block[:, 0] for block in stereo_blocks(path, RATE)])
    assert np.square(mono).mean() > 0.1 * np.square(HEARD).mean()


def test_a_voice_that_is_inverted_for_a_while_goes_on_without_a_click() -> None:
    tone = np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE).astype(np.float32)
    samples = np.stack([tone, tone], axis=1)
    samples[RATE // 2 :, 1] *= -1
    mono = np.concatenate(list(downmix(np.array_split(samples, 7), RATE)))
    assert len(mono) == len(tone)
    np.testing.assert_allclose(mono[: RATE // 2], tone[: RATE // 2], atol=1e-6)
    np.testing.assert_allclose(np.abs(mono[-RATE // 4 :]), np.abs(tone[-RATE // 4 :]), atol=1e-6)
    assert np.abs(np.diff(mono)).max() < 0.1


def test_the_mean_is_kept_where_nothing_cancels() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(RATE, 6)).astype(np.float32)
    samples[:100] = 0
    mono = np.concatenate(list(downmix(np.array_split(samples, 11), RATE)))
    np.testing.assert_array_equal(mono, samples.mean(axis=1))
