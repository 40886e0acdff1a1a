"""The audio of a video whose cues have new speech."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from helpers import tiny
from helpers.media_clips import clicks, write_wav
from helpers.sample_clips import write_sound

from personatalk.media.audio import read_speech
from personatalk.pipeline.audio_mix import mix_cues
from personatalk.pipeline.cues import Cue


def test_the_audio_is_the_sources_but_in_the_cues(tmp_path: Path) -> None:
    rate = 16000
    tone = (0.5 * np.sin(2 * np.pi * 300 * np.arange(2 * rate) / rate)).astype(np.float32)
    source = write_sound(tmp_path / "source.wav", tone)
    said = write_wav(tmp_path / "said.wav", clicks(1.0, 22050, (0.3,)), 22050)
    cue = Cue(0.5, 1.0, None, said, offset=0.2)
    mix_cues(source, [cue], 2.5, tmp_path / "mixed.wav")
    heard = read_speech(tmp_path / "mixed.wav")
    assert len(heard) == 2.5 * rate
    np.testing.assert_allclose(heard[: int(0.48 * rate)], tone[: int(0.48 * rate)], atol=1e-3)
    np.testing.assert_allclose(heard[int(1.02 * rate) : 2 * rate], tone[int(1.02 * rate) :], atol=1e-3)
    assert np.abs(heard[2 * rate :]).max() == 0
    inside = np.abs(heard[int(0.5 * rate) : rate])
    # The click at 0.3 s of the speech, from 0.2 s on: 0.1 s after the cue's start.
    assert abs(int(inside.argmax()) / rate - 0.1) < 0.02
    quiet = np.r_[inside[: int(0.08 * rate)], inside[int(0.2 * rate) :]]
    assert quiet.max() < 0.05


def test_cues_without_audio_in_the_source_and_over_each_other(tmp_path: Path) -> None:
    loud = write_sound(tmp_path / "loud.wav", 0.6 * np.ones(16000, np.float32))
    clip = tiny.clip_of(tmp_path / "clip.mp4", [tiny.nobody()] * 3)
    cues = [Cue(0.0, 0.5, "left", loud), Cue(0.25, 0.75, "right", loud)]
    mix_cues(clip, cues, 1.0, tmp_path / "mixed.wav")
    heard = read_speech(tmp_path / "mixed.wav", 48000)
    levels = [heard[int(t * 48000)] for t in (0.1, 0.4, 0.6, 0.9)]
    np.testing.assert_allclose(levels, [0.6, 1.0, 0.6, 0.0], atol=0.02)


def test_a_hole_in_the_sources_time_stamps_stays_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "hole.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("pcm_s16le", 16000, layout="mono")
        for place in (*range(0, 8000, 1000), *range(24000, 32000, 1000)):
            block = av.AudioFrame.from_ndarray(np.full((1, 1000), 9000, np.int16), "s16", "mono")
            block.sample_rate, block.time_base = 16000, Fraction(1, 16000)
            block.pts = place + 900 * (place == 3000)  # a little late, which moves nothing
            file.mux(stream.encode(block))
        file.mux(stream.encode())
    said = write_sound(tmp_path / "said.wav", np.zeros(1600, np.float32))
    mix_cues(path, [Cue(0.9, 1.0, None, said)], 2.0, tmp_path / "mixed.wav")
    heard = read_speech(tmp_path / "mixed.wav") > 0.1
    assert heard[:7900].all() and not heard[8100:23900].any()
    assert heard[24100:].all(), "the last samples are as loud as the others: nothing was cut there"
    silent = write_sound(tmp_path / "silent.wav", np.zeros(32000, np.float32))
    mix_cues(silent, [Cue(0.0, 2.0, None, path)], 2.0, tmp_path / "spoken.wav")
    heard = read_speech(tmp_path / "spoken.wav") > 0.1
    assert heard[:7900].all() and not heard[8100:23900].any() and heard[24100:].all(), "a speech keeps its holes too"


def test_short_blocks_fade_too(tmp_path: Path) -> None:
    # Audio that is cut fades out over blocks that are shorter than the fade.
    path = tmp_path / "short.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("pcm_s16le", 16000, layout="mono")
        for place in range(0, 16000, 50):
            block = av.AudioFrame.from_ndarray(np.full((1, 50), 9000, np.int16), "s16", "mono")
            block.sample_rate, block.time_base = 16000, Fraction(1, 16000)
            block.pts = place
            file.mux(stream.encode(block))
        file.mux(stream.encode())
    mix_cues(path, [Cue(0.9, 1.0, None, path)], 1.0, tmp_path / "mixed.wav")
    heard = read_speech(tmp_path / "mixed.wav")
    assert (heard[:14000] > 0.25).all()
    silent = write_sound(tmp_path / "none.wav", np.zeros(16000, np.float32))
    mix_cues(silent, [Cue(0.0, 0.5011, None, path)], 1.0, tmp_path / "cut.wav")
    heard = read_speech(tmp_path / "cut.wav")
    assert heard[7000] > 0.25 and np.abs(np.diff(heard)).max() < 0.01
