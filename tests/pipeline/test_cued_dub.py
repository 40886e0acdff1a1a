"""Several speakers, each with words and times of their own, end to end."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.media_clips import clicks, write_wav
from helpers.sample_clips import decoded, sample_frames, sample_speech, write_sound, write_video

import personatalk
from personatalk import DubOptions, Models
from personatalk.cli import main
from personatalk.errors import PersonaTalkError
from personatalk.media import segments
from personatalk.media.audio import read_speech
from personatalk.pipeline.audio_mix import mix_cues
from personatalk.pipeline.cues import Cue

COUNT = 36


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", sample_frames(COUNT))


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample_speech(tmp_path_factory.mktemp("speech"), COUNT)


def test_only_the_cues_change(tmp_path: Path, clip: Path, speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cue = tmp_path / "cues.txt"
    cue.write_text(
        f"1\n00:00:00,200 --> 00:00:00,600\nspeech: {speech}\n\n"
        f"2\n00:00:00,880 --> 00:00:01,200\nspeech: {speech}\nfrom: 00:00:00,400\n"
    )
    output = tmp_path / "out.mp4"
    assert main.main(["dub", str(clip), "--cue", str(cue), "-o", str(output), "--quiet"]) == 0
    report = personatalk.dub_cues(clip, cue, tmp_path / "again.mp4")
    assert report.dubbed == 10 + 8 and report.frames == COUNT
    assert [(s.first, s.last, s.reason) for s in report.passed_through] == [
        (0, 4, "original mouth asked for"),
        (15, 21, "original mouth asked for"),
        (30, 35, "original mouth asked for"),
    ]
    assert report.generated == pytest.approx(np.array([[0.2, 0.6], [0.88, 1.2]]))
    old, new = decoded(clip), decoded(output)
    for number in (*range(5), *range(15, 22), *range(30, 36)):
        assert np.mean((old[number].astype(float) - new[number]) ** 2) < 4
    assert max(np.abs(old[i].astype(float) - new[i]).max() for i in range(7, 13)) > 40
    assert main.main(["dub", str(clip), str(speech), "--cue", str(cue), "-o", str(output)]) == 2


def test_a_run_that_goes_on_looks_for_nobody_again(
    tmp_path: Path, clip: Path, speech: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "LENGTH", 8)
    cues = [Cue(0.0, 0.4, "largest", speech), Cue(0.48, 0.8, None, speech, offset=0.2)]
    told: list[str] = []

    def progress(stage: str, steps: int, total: int) -> None:
        told.extend([stage] * steps)
        if told.count("dubbing") == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        personatalk.dub_cues(clip, cues, tmp_path / "out.mp4", models=models, progress=progress)
    before = set(told)
    told.clear()
    report = personatalk.dub_cues(
        clip, cues, tmp_path / "out.mp4", models=models, progress=lambda stage, steps, total: told.append(stage)
    )
    assert report.resumed == 8 and report.dubbed == 10 + 8
    assert set(told) == {"dubbing"} and {"people", "faces"} <= before


def test_the_sound_is_the_sources_but_in_the_cues(tmp_path: Path) -> None:
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


def test_cues_without_sound_in_the_source_and_over_each_other(tmp_path: Path, clip: Path) -> None:
    loud = write_sound(tmp_path / "loud.wav", 0.6 * np.ones(16000, np.float32))
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
    assert heard[:15900].all() and not heard[16100:].any(), "a speech is heard as stage 1 reads it, without holes"


def test_short_blocks_fade_too(tmp_path: Path) -> None:
    """A sound that is cut fades out over blocks that are shorter than the fade."""
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


def test_choices_that_the_cues_make_are_refused(tmp_path: Path, clip: Path, speech: Path, models: Models) -> None:
    cues = [Cue(0.0, 0.5, None, speech)]
    with pytest.raises(PersonaTalkError, match="cues say who speaks"):
        personatalk.dub_cues(clip, cues, tmp_path / "out.mp4", models=models, options=DubOptions(face="left"))
    late = [Cue(0.0, 0.5, None, speech, offset=900.0, where="cues.txt:3")]
    with pytest.raises(PersonaTalkError, match=r"cues\.txt:3.*no audio from 900 s on"):
        personatalk.dub_cues(clip, late, tmp_path / "out.mp4", models=models)
    assert not (tmp_path / "out.mp4").exists()
