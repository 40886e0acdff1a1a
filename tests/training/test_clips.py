"""Cutting videos into clips."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.datasets import made_up, prepared
from helpers.sample_clips import sample_frames, spoken

from personatalk.audio.rates import SAMPLE_RATE
from personatalk.errors import MediaError
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.stage1 import agreement
from personatalk.stage1.network import GeometryGenerator
from personatalk.training.data.clips import ClipDraft, assemble_video, clip_sync, cut_audio, synchronise
from personatalk.training.data.layouts import find_videos
from personatalk.training.data.options import PrepareOptions
from personatalk.training.data.outcomes import PrepareOutcome, RejectReason
from personatalk.training.data.shards import Clip, read_dataset


@pytest.mark.slow
def test_pictures_become_a_video_without_loss(tmp_path: Path) -> None:
    frames = sample_frames(30)
    folder = tmp_path / "Clip+_0tf2n3rlJU+P0+C1+F0-29"
    folder.mkdir()
    for number, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{number:08d}.png"), frame[..., ::-1])
    from personatalk.media.reader import VideoReader

    with VideoReader(assemble_video(folder, tmp_path)) as reader:
        read = list(reader.frames())
    assert [round(f.time * 25) for f in read] == list(range(30))
    np.testing.assert_array_equal(read[7].rgb(), frames[7])
    (row,) = read_dataset(prepared(tmp_path / "data", find_videos(folder.parent, "vfhq")))
    assert row.frames == 30 and not row.has_audio and row.speaker == "_0tf2n3rlJU+P0"


def test_pictures_of_different_sizes_are_refused(tmp_path: Path) -> None:
    for name, side in (("a", 32), ("b", 48)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((side, side, 3), np.uint8))
    with pytest.raises(MediaError, match="another size"):
        assemble_video(tmp_path, tmp_path)
    with pytest.raises(MediaError, match="no images"):
        (tmp_path / "empty").mkdir()
        assemble_video(tmp_path / "empty", tmp_path)


def draft(clip: Clip, begin: float) -> ClipDraft:
    return ClipDraft(clip, np.arange(len(clip.time)), begin, begin + len(clip.time) / 25)


def noise(seconds: float, level: float = 0.1) -> np.ndarray:
    return (32767 * level * np.random.default_rng(5).standard_normal(round(16000 * seconds))).astype(np.int16)


@pytest.mark.parametrize("lag", [-4, 0, 3])
def test_an_offset_is_found_over_all_stretches_and_undone(model: MorphableModel, lag: int) -> None:
    random = np.random.default_rng(1)
    real = random.random(200).astype(np.float32)

    def measure(clip: Clip) -> agreement.Agreement:
        got = np.roll(real, -lag) + 0.3 * random.standard_normal(200).astype(np.float32)
        return replace(agreement.compare_openings(got, real), frames=len(clip.beta_at_clock()[1]))

    sound = noise(10)
    drafts = []
    for begin in (0.0, 2.0, 8.0):
        clip = made_up(model, frames=50)
        clip = Clip(**{**clip.__dict__, "audio": cut_audio(sound, begin, begin + 2)})
        drafts.append(draft(clip, begin))
    outcome = PrepareOutcome("x")
    kept = synchronise(drafts, sound, measure, PrepareOptions(min_speech=0), outcome)
    assert outcome.offset == lag and len(kept) == 3
    step = lag * SAMPLE_RATE // 25
    padded = np.pad(sound, 16000)
    for kept_draft, begin in zip(kept, (0, 2, 8), strict=True):
        # What is seen `lag` frames late was said so much earlier; the recording goes on beyond the clip's edges.
        first = 16000 + begin * SAMPLE_RATE - step
        np.testing.assert_array_equal(kept_draft.clip.audio, padded[first : first + 2 * SAMPLE_RATE])
        assert kept_draft.clip.about["offset_frames"] == lag


@pytest.mark.slow
@pytest.mark.parametrize("frames", [75, 300])
def test_sound_that_does_not_fit_the_mouth_is_left_out(model: MorphableModel, frames: int) -> None:
    random, left_out, moved = np.random.default_rng(2), 0, 0

    def smooth() -> np.ndarray:
        return np.convolve(random.standard_normal(frames + 3), np.ones(4) / 4, mode="valid")

    def measure(clip: Clip) -> agreement.Agreement:
        return agreement.Agreement(agreement.correlations(smooth(), smooth()), 1.0, frames)

    for _ in range(40):
        outcome = PrepareOutcome("x")
        drafts = [draft(made_up(model, frames=20, crops=1), 0.0)]
        kept = synchronise(drafts, noise(1), measure, PrepareOptions(min_speech=0), outcome)
        left_out += not kept
        assert (outcome.rejected == {RejectReason.OUT_OF_SYNC.value: 1}) == (not kept)
        moved += outcome.offset not in (None, 0)
    assert left_out > 25
    assert moved < 4


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.0001, 0.1], ids=["faint", "loud"])
def test_a_clip_without_speech_is_left_out(model: MorphableModel, level: float) -> None:
    # Faint room noise 60 dB under the speech before it: normalised by itself it would be as loud as speech.
    sound = np.concatenate([(32767 * spoken(2)).astype(np.int16), noise(2, level)])
    outcome = PrepareOutcome("x")
    drafts = []
    for begin in (0.0, 2.0):
        clip = made_up(model, frames=50, crops=1)
        drafts.append(draft(Clip(**{**clip.__dict__, "audio": cut_audio(sound, begin, begin + 2)}), begin))
    measure = functools.partial(clip_sync, GeometryGenerator.load(), model)
    kept = synchronise(drafts, sound, measure, PrepareOptions(min_sync=0), outcome)
    assert kept == drafts[:1]
    assert outcome.rejected == {RejectReason.QUIET.value: 1}


def test_beyond_a_recording_there_is_silence() -> None:
    sound = np.arange(1, 32001, dtype=np.int16)
    np.testing.assert_array_equal(cut_audio(sound, 0.5, 1.5), sound[8000:24000])
    early = cut_audio(sound, -0.25, 0.75)
    assert len(early) == 16000 and (early[:4000] == 0).all()
    np.testing.assert_array_equal(early[4000:], sound[:12000])
    late = cut_audio(sound, 1.75, 2.75)
    np.testing.assert_array_equal(late[:4000], sound[28000:])
    assert len(late) == 16000 and (late[4000:] == 0).all()
    assert (cut_audio(sound, 5, 6) == 0).all() and len(cut_audio(sound, -3, -2)) == 16000
