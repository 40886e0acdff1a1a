"""Hard frames of real footage through the whole job: `docs/footage.md` names these tests."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.media_clips import Clip, make
from helpers.sample_clips import decoded, frame_times, sample_frames, sample_speech, write_video
from helpers.synthetic import smooth_picture
from transitions import joined

import personatalk
from personatalk import DubOptions, Models, Report
from personatalk.errors import MediaError
from personatalk.faces.analysis import SkipReason
from personatalk.media.options import EncodeOptions
from personatalk.media.probe import probe_video
from personatalk.pipeline.fading import FADE_SECONDS
from personatalk.utils.arrays import Image

pytestmark = pytest.mark.slow

FRAMES = 10
# Grey levels by which a new mouth differs at least, and a second encoding at most; see `changes`.
VISIBLE, NOISE = 3.5, 2.0
FAST = DubOptions(encode=EncodeOptions(crf=6, preset="ultrafast"))


@pytest.fixture(scope="module")
def frames() -> list[Image]:
    return [cv2.resize(f, (256, 256), interpolation=cv2.INTER_AREA) for f in sample_frames(FRAMES)]


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample_speech(tmp_path_factory.mktemp("speech"), FRAMES)


def dubbed(source: Path, speech: Path, models: Models) -> tuple[Report, Path]:
    output = source.with_name("out.mp4")
    return personatalk.dub(source, speech, output, models=models, options=FAST), output


def changes(source: Path, output: Path) -> list[float]:
    """Largest change of each frame, in grey levels, over blocks that are wider than the encoder's noise."""
    pairs = zip(decoded(source), decoded(output), strict=True)
    return [float(np.abs(cv2.blur(a.astype(np.float32) - b, (5, 5))).max()) for a, b in pairs]


def test_sixty_frames_a_second(tmp_path: Path, models: Models, frames: list[Image], speech: Path) -> None:
    source = write_video(tmp_path / "in.mp4", [f for f in frames for _ in range(2)], fps=60)
    report, output = dubbed(source, speech, models)
    assert report.dubbed == report.frames == 2 * FRAMES
    assert frame_times(output) == pytest.approx([i / 60 for i in range(2 * FRAMES)], abs=1e-4)
    assert min(changes(source, output)) > VISIBLE


def test_four_thousand_pixels(tmp_path: Path, models: Models, speech: Path) -> None:
    wide = [
        cv2.resize(cv2.copyMakeBorder(f, 0, 0, 199, 199, cv2.BORDER_REPLICATE), (3840, 2160)) for f in sample_frames(4)
    ]
    source = write_video(tmp_path / "in.mp4", wide)
    report, output = dubbed(source, speech, models)
    assert report.dubbed == report.frames == 4
    assert probe_video(output).upright_size == (3840, 2160)
    assert min(changes(source, output)) > VISIBLE


def test_a_head_that_turns_to_the_profile(tmp_path: Path, models: Models, speech: Path) -> None:
    """The new mouth fades between 50 and 65 degrees, and is gone before the frames that pass through."""
    source = Path(shutil.copy(Path(__file__).parents[1] / "data" / "turning.mp4", tmp_path / "in.mp4"))
    report, output = dubbed(source, speech, models)
    # A half hidden mouth may count as covered where the head has nearly turned away.
    spans = report.passed_through
    assert {span.reason for span in spans} <= {"mouth covered", "face turned away too far"}
    assert spans[-1].reason == "face turned away too far" and spans[-1].last == report.frames - 1
    assert all(after.first == before.last + 1 for before, after in itertools.pairwise(spans))
    first = spans[0].first
    assert first > 15
    changed = changes(source, output)
    assert min(changed[: first - 6]) > 3 * VISIBLE
    fading = changed[first - 4 : first]
    assert fading[-1] < fading[0] / 3
    # What is left is the encoder's noise, which is the same in all frames that pass through.
    assert max(changed[first:]) < 1.2 * changed[-1] < 1.2 * NOISE


def test_ten_bits(tmp_path: Path, models: Models, frames: list[Image], speech: Path) -> None:
    source = write_video(tmp_path / "in.mp4", frames, pix_fmt="yuv420p10le")
    report, output = dubbed(source, speech, models)
    assert report.dubbed == FRAMES and report.warnings == []
    assert probe_video(output).pix_fmt == "yuv420p10le"
    assert min(changes(source, output)) > VISIBLE


def test_portrait_of_odd_size(tmp_path: Path, models: Models, frames: list[Image], speech: Path) -> None:
    source = write_video(tmp_path / "in.mp4", [f[:255, 40:215] for f in frames], pix_fmt="yuv444p")
    report, output = dubbed(source, speech, models)
    assert report.dubbed == FRAMES and report.warnings == []
    assert probe_video(output).upright_size == (175, 255)
    assert min(changes(source, output)) > VISIBLE


def test_motion_blur(tmp_path: Path, models: Models, frames: list[Image], speech: Path) -> None:
    source = write_video(tmp_path / "in.mp4", [cv2.blur(f, (1 + 2 * (i % 5), 3)) for i, f in enumerate(frames)])
    report, output = dubbed(source, speech, models)
    assert report.dubbed == FRAMES
    assert min(changes(source, output)) > VISIBLE


def test_a_face_at_the_edge(tmp_path: Path, models: Models, frames: list[Image], speech: Path) -> None:
    source = write_video(tmp_path / "in.mp4", [np.ascontiguousarray(f[:, 100:]) for f in frames])
    report, output = dubbed(source, speech, models)
    assert report.dubbed == FRAMES
    assert min(changes(source, output)) > VISIBLE


def test_a_face_that_leaves_the_picture(tmp_path: Path, models: Models, frames: list[Image], speech: Path) -> None:
    steps = [np.array([[1, 0, 0], [0, 1, 6 * i]], np.float32) for i in range(26)]
    moved = [cv2.warpAffine(frames[0], step, (256, 256), borderMode=cv2.BORDER_REPLICATE) for step in steps]
    source = write_video(tmp_path / "in.mp4", moved)
    report, output = dubbed(source, speech, models)
    assert report.frames == 26 and report.dubbed >= 10
    assert report.passed_through[0].first >= 10 and report.passed_through[-1].last == 25
    change = changes(source, output)
    assert min(change[:8]) > VISIBLE
    same = [i for span in report.passed_through for i in range(span.first, span.last + 1)]
    assert max(change[i] for i in same) < NOISE


def test_a_camera_flash_does_not_cut_the_shot(
    tmp_path: Path, models: Models, frames: list[Image], speech: Path
) -> None:
    lit = list(frames)
    lit[5] = np.clip(lit[5] * 1.6 + 70.0, 0, 255).astype(np.uint8)
    report, _ = dubbed(write_video(tmp_path / "in.mp4", lit), speech, models)
    assert len(report.shots) == 1
    assert report.dubbed >= FRAMES - 1


def test_nothing_pops_where_frames_begin_to_pass_through(
    tmp_path: Path, models: Models, frames: list[Image], speech: Path
) -> None:
    # Still pictures of one frame: what changes from frame to frame is the dub's alone.
    source = write_video(tmp_path / "in.mp4", [frames[0]] * 16)
    options = DubOptions("video-original", FAST.encode)
    report = personatalk.dub(source, speech, tmp_path / "out.mp4", models=models, options=options)
    (span,) = report.passed_through
    assert (span.first, span.reason) == (FRAMES, "original mouth asked for")
    change = changes(source, tmp_path / "out.mp4")
    ramp = round(25 * FADE_SECONDS)
    whole, fading = change[: FRAMES - ramp + 1], change[FRAMES - ramp + 1 : FRAMES]
    assert min(whole) > VISIBLE
    # Four fifths of the change, three, two, and one, but for what the mouth does meanwhile.
    assert fading[-1] < 0.5 * max(whole) and fading[-1] < fading[0]
    assert max(change[FRAMES:]) < NOISE


def test_interlaced_video_is_refused_before_any_work(tmp_path: Path, models: Models, speech: Path) -> None:
    source = make(Clip(tmp_path / "in.mp4", count=3, options={"x264-params": "tff=1"}))
    with pytest.raises(MediaError, match="is interlaced"):
        dubbed(source, speech, models)
    assert [name.name for name in tmp_path.iterdir()] == ["in.mp4"]


def test_a_transition_passes_through_and_nothing_crosses_it(
    tmp_path: Path, models: Models, frames: list[Image], speech: Path
) -> None:
    # The second shot shows the character in another room and in other colours: textures from across would show.
    other = [smooth_picture(256, 256, 25, seed=3) for _ in frames]
    for room, frame in zip(other, frames, strict=True):
        room[76:, 76:] = cv2.resize(frame, (180, 180), interpolation=cv2.INTER_AREA)[..., ::-1]
    source = write_video(tmp_path / "in.mp4", joined([*frames, *frames[::-1]], [*other, *other[::-1]], "dissolve", 8))
    report, output = dubbed(source, speech, models)
    (skipped,) = report.passed_through
    assert skipped.reason == SkipReason.TRANSITION.value
    assert 9 <= skipped.first <= 12 and 19 <= skipped.last <= 22
    assert len(report.shots) == 2 and all(shot["usable"] >= 9 for shot in report.shots)
    changed = changes(source, output)
    assert max(changed[12:20]) < VISIBLE < min(changed[4], changed[-5])
    shift = [
        b.astype(float).mean(axis=(0, 1)) - a.mean(axis=(0, 1))
        for a, b in zip(decoded(source), decoded(output), strict=True)
    ]
    assert np.abs(shift).max() < 3
