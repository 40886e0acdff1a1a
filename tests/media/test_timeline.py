"""Length policies, and frames in any order from real files."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from helpers.media_clips import Clip, make
from hypothesis import assume, given
from hypothesis import strategies as st

from personatalk.errors import MediaError
from personatalk.media.options import AS_LONG_AS_SPEECH, LengthPolicy
from personatalk.media.reader import Frame, VideoReader
from personatalk.media.timeline import (
    FADE_SECONDS,
    LEAST_STRETCH,
    MOST_STRETCH,
    chunk_frames,
    frame_runs,
    frames_in_order,
    plan,
    retimed,
    shown_frames,
    stretched,
)
from personatalk.utils.arrays import runs

TIMES = np.arange(10) / 25
DURATIONS = np.full(10, 1 / 25)


@pytest.mark.parametrize("speech, limit", [(0.1, 0.4), (0.4, 0.4), (9.0, 0.4)])
def test_video_keeps_all_frames(speech: float, limit: float) -> None:
    result = plan(TIMES, DURATIONS, speech, "video")
    assert result.source_index.tolist() == list(range(10))
    np.testing.assert_array_equal(result.time, TIMES)
    assert result.dubbed.all()
    assert result.speech_limit == pytest.approx(limit)


def test_video_original_passes_the_rest_through() -> None:
    result = plan(TIMES, DURATIONS, 0.2, "video-original")
    assert len(result) == 10
    assert result.dubbed.tolist() == [True] * 5 + [False] * 5
    assert plan(TIMES, DURATIONS, 5.0, "video-original").dubbed.all()
    assert not plan(TIMES + 1, DURATIONS, 0.5, "video-original").dubbed.any()


@pytest.mark.parametrize("policy", ["shortest", "pingpong", "loop"])
def test_short_speech_cuts_the_video(policy: LengthPolicy) -> None:
    result = plan(TIMES, DURATIONS, 0.21, policy)
    assert result.source_index.tolist() == [0, 1, 2, 3, 4, 5]  # the frame that the speech ends in is whole
    assert result.speech_limit == pytest.approx(0.24)
    assert plan(TIMES, DURATIONS, 0.0, policy).source_index.tolist() == [0]
    assert len(plan(TIMES, DURATIONS, 5 / 25, policy)) == 5


def test_shortest_with_long_speech_is_the_video() -> None:
    result = plan(TIMES, DURATIONS, 3.0, "shortest")
    assert len(result) == 10 and result.speech_limit == pytest.approx(0.4)


def test_pingpong_has_no_double_turning_frames_and_lasts_as_long_as_the_speech() -> None:
    result = plan(TIMES[:4], DURATIONS[:4], 0.5, "pingpong")
    assert result.source_index.tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0]
    np.testing.assert_allclose(result.time, np.arange(13) / 25)
    assert 0.5 <= result.speech_limit < 0.5 + 1 / 25 + 1e-9
    assert result.dubbed.all()


def test_pingpong_mirrors_uneven_durations() -> None:
    times = np.array([0.0, 0.1, 0.4])
    result = plan(times, [9, 9, 0.2], 1.5, "pingpong")
    assert result.source_index.tolist() == [0, 1, 2, 1, 0, 1, 2]
    np.testing.assert_allclose(result.time, [0.0, 0.1, 0.4, 0.7, 0.8, 0.9, 1.2])
    np.testing.assert_allclose(result.time[1:], result.time[:-1] + result.duration[:-1])
    assert result.speech_limit >= 1.5 - 0.1


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("speech", [0.05, 1.0, 7.77])
def test_pingpong_covers_the_speech(count: int, speech: float) -> None:
    rng = np.random.default_rng(count)
    spans = rng.uniform(0.02, 0.2, count)
    times = 0.03 + np.cumsum(np.append(0.0, spans[:-1]))
    result = plan(times, spans, speech, "pingpong")
    steps = np.abs(np.diff(result.source_index))
    assert (steps == (0 if count == 1 else 1)).all()
    assert (np.diff(result.time) > 0).all()
    assert result.time[-1] < speech <= result.speech_limit + spans.max()


def test_a_loop_begins_again_under_a_short_cross_fade() -> None:
    result = plan(np.arange(20) / 25, [1 / 25] * 20, 1.5, "loop")
    # Five frames, 0.2 s, are two rounds at once: 15 to 19 of the one, 0 to 4 of the other.
    assert result.source_index.tolist() == [*range(17), *range(2, 17), *range(2, 8)]
    np.testing.assert_allclose(result.time, np.arange(38) / 25)
    faded = result.partner >= 0
    assert np.flatnonzero(faded).tolist() == [15, 16, 17, 18, 19, 30, 31, 32, 33, 34]
    assert result.partner[faded].tolist() == [0, 1, 17, 18, 19] * 2
    shares = [1 / 6, 2 / 6, 3 / 6, 2 / 6, 1 / 6]
    np.testing.assert_allclose(result.partner_share[faded], shares * 2)
    assert (result.partner_share <= 0.5).all(), "the frame that is dubbed is the one that is seen more"


def test_nothing_fades_where_no_round_follows() -> None:
    for seconds in (0.8, 0.79, 0.3):
        assert (plan(np.arange(20) / 25, [1 / 25] * 20, seconds, "loop").partner < 0).all()
    still = plan([0.0], [0.04], 1.0, "loop")
    assert still.source_index.tolist() == [0] * 25 and (still.partner < 0).all()


def test_remap_shows_every_frame_longer_or_shorter_until_the_speech_ends() -> None:
    for seconds in (0.32, 0.4, 0.47):
        result = plan(TIMES, DURATIONS, seconds, "remap")
        assert result.source_index.tolist() == list(range(10))
        np.testing.assert_allclose(result.duration, seconds / 10, rtol=1e-4)
        assert result.speech_limit == pytest.approx(seconds, rel=1e-4)


@pytest.mark.parametrize("seconds", [0.0, 0.4 * LEAST_STRETCH - 1e-3, 0.4 * MOST_STRETCH + 1e-3])
def test_remap_refuses_lengths_that_are_too_far_apart(seconds: float) -> None:
    with pytest.raises(MediaError, match=r"--length remap takes 0\.8 to 1\.25"):
        plan(TIMES, DURATIONS, seconds, "remap")


def test_ticks_return_the_sources_own() -> None:
    time_base, start = Fraction(1, 90000), 1.4
    pts = np.cumsum(np.random.default_rng(0).integers(1, 9000, 5000)) + 126000
    times = pts * float(time_base) - start
    result = plan(times, np.full(5000, 0.04), 0.0, "video")
    ticks, durations = result.ticks(time_base, start)
    np.testing.assert_array_equal(ticks, pts)
    np.testing.assert_array_equal(durations[:-1], np.diff(pts))


def test_pingpong_ticks_increase_by_the_mirrored_durations() -> None:
    pts = np.array([0, 1001, 2002, 3004])
    result = plan(pts / 30000, np.full(4, 1001 / 30000), 0.3, "pingpong")
    ticks, durations = result.ticks(Fraction(1, 30000), 0.0)
    assert np.diff(ticks)[:7].tolist() == [1001, 1001, 1002, 1002, 1001, 1001, 1001]
    np.testing.assert_array_equal(durations[:-1], np.diff(ticks))


def test_bad_plans_are_refused() -> None:
    for times, durations in [([], []), ([0.0, 0.0], [1, 1]), ([0.0], [0.0]), ([0.0, 1.0], [1.0])]:
        with pytest.raises(ValueError):
            plan(times, durations, 1.0, "video")
    with pytest.raises(ValueError, match="policy"):
        plan(TIMES, DURATIONS, 1.0, "backward")  # type: ignore[arg-type]


def test_runs() -> None:
    assert frame_runs([0, 1, 2, 3, 2, 1, 0, 1, 2]) == [(0, 4, 1), (2, 3, -1), (1, 2, 1)]
    assert frame_runs([5]) == [(5, 1, 1)] and frame_runs([]) == []
    assert frame_runs([0, 0, 0]) == [(0, 3, 0)]
    for numbers in ([4, 9, 1], [3, 3, 4, 5, 5, 2], [7, 6, 6, 6, 7, 9, 8]):
        assert [first + k * step for first, count, step in frame_runs(numbers) for k in range(count)] == numbers


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"g": "12", "bf": "2", "preset": "fast"}
    return make(Clip(tmp_path_factory.mktemp("clips") / "a.mp4", count=50, options=options))


def test_any_order_gives_the_right_pictures(clip: Path) -> None:
    with VideoReader(clip) as reader:
        whole = [frame.rgb() for frame in reader.frames()]
        order = [*range(50), *range(48, -1, -1), *range(1, 20), 3, 3, 3, 40]
        got = [(frame.index, frame.rgb()) for frame in frames_in_order(reader, order, byte_budget=1)]
    assert [index for index, _ in got] == order
    with VideoReader(clip) as reader:
        again = [frame.image for frame in frames_in_order(reader, [7, 7, 7])]
    assert len(set(map(id, again))) == 3, "threads may not convert one image at once"
    assert all(np.array_equal(rgb, whole[index]) for index, rgb in got)


def test_forward_order_is_one_pass_and_backward_holds_one_chunk(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[tuple[int, int | None]] = []
    real = VideoReader.frames

    def counted(self: VideoReader, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        passes.append((start, stop))
        return real(self, start, stop)

    monkeypatch.setattr(VideoReader, "frames", counted)
    assert len(list(frames_in_order(clip, range(50)))) == 50
    assert passes == [(0, 50)]
    passes.clear()
    assert [f.index for f in frames_in_order(clip, range(49, -1, -1), byte_budget=1)] == list(range(49, -1, -1))
    assert all(stop - start <= 8 for start, stop in passes) and len(passes) == 7


def test_chunk_size(clip: Path) -> None:
    with VideoReader(clip) as reader:
        assert chunk_frames(reader.info, 1) == 8
        assert chunk_frames(reader.info, 128 * 96 * 3 // 2 * 20) == 20


def test_asking_for_frames_that_are_not_there(clip: Path) -> None:
    with pytest.raises(MediaError, match="no frame 50"):
        list(frames_in_order(clip, range(60)))


def test_retimed_frames_continue_past_the_video(clip: Path) -> None:
    with VideoReader(clip) as reader:
        source = [(frame.time, frame.pts, frame.duration) for frame in reader.frames()]
        made = plan([s[0] for s in source], [0.04] * 50, 3.0, "pingpong")
        frames = list(retimed(frames_in_order(reader, made.source_index), made, reader.info))
    assert [frame.pts for frame in frames[:50]] == [s[1] for s in source]
    assert len(frames) == 75
    assert frames[-1].time == pytest.approx(74 / 25)
    assert {frame.duration for frame in frames} == {source[0][2]}


def test_the_end_of_a_loop_is_seen_through_its_start(clip: Path) -> None:
    with VideoReader(clip) as reader:
        whole = [(frame.image.to_ndarray().astype(float), frame.pts) for frame in reader.frames()]
        made = plan(np.arange(50) / 25, [0.04] * 50, 2.2, "loop")
        frames = list(shown_frames(reader, made))
        rest = list(shown_frames(reader, made.since(46)))
    for number, frame in enumerate(frames):
        own, through = whole[made.source_index[number]][0], made.partner[number]
        np.testing.assert_array_equal(frame.alone().image.to_ndarray(), own)
        if through < 0:
            assert frame.unfaded is None
        else:
            share = made.partner_share[number]
            mixed = (1 - share) * own + share * whole[through][0]
            np.testing.assert_allclose(frame.image.to_ndarray(), mixed, atol=0.51)
    assert [frame.pts for frame in frames] == [whole[0][1] + 512 * number for number in range(55)]
    for frame, again in zip(frames[46:], rest, strict=True):
        np.testing.assert_array_equal(frame.rgb(), again.rgb())


def test_a_stretched_video_has_a_clock_that_holds_its_times(clip: Path) -> None:
    with VideoReader(clip) as reader:
        made = plan(np.arange(50) / 25, [0.04] * 50, 2.3, "remap")
        info = made.output(reader.info)
        frames = list(shown_frames(reader, made))
    assert info.average_fps == pytest.approx(25 / 1.15)
    times = [float(frame.pts * info.time_base) - info.start_seconds for frame in frames]
    np.testing.assert_allclose(times, np.arange(50) * 0.046, atol=1e-5)
    assert stretched(reader.info, Fraction(1)) is reader.info


def test_the_rest_of_a_plan_is_its_end() -> None:
    made = plan(np.arange(10) / 25, [0.04] * 10, 1.0, "loop")
    rest = made.since(7)
    assert len(rest) == len(made) - 7 and rest.speech_limit == made.speech_limit
    for name in ("source_index", "time", "duration", "dubbed", "partner", "partner_share"):
        np.testing.assert_array_equal(getattr(rest, name), getattr(made, name)[7:])


@st.composite
def timelines(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Times and durations of the frames of a video, in seconds."""
    spans = draw(st.lists(st.floats(1e-3, 2.0), min_size=1, max_size=25))
    times = draw(st.floats(-1.0, 3.0)) + np.cumsum([0.0, *spans[:-1]])
    return times, np.array(spans)


@given(timelines(), st.floats(0.0, 20.0), st.sampled_from(get_args(LengthPolicy)))
def test_a_plan_shows_source_frames_without_gaps_as_long_as_its_policy_says(
    video: tuple[np.ndarray, np.ndarray], speech: float, policy: LengthPolicy
) -> None:
    times, spans = video
    end = float(times[-1] + spans[-1])
    if policy == "remap":
        assume(end > 0)
        speech = end * (LEAST_STRETCH + (MOST_STRETCH - LEAST_STRETCH) * speech / 20)
    made = plan(times, spans, speech, policy)
    assert len(made) == len(made.time) == len(made.duration) == len(made.dubbed) >= 1
    assert made.source_index.min() >= 0 and made.source_index.max() < len(times)
    assert (made.duration > 0).all() and (np.diff(made.time) > 0).all()
    np.testing.assert_allclose(made.time[1:], (made.time + made.duration)[:-1], atol=1e-9)
    assert made.time[0] == pytest.approx(times[0] * float(made.stretch))
    assert made.stretch == 1 or policy == "remap"
    assert made.speech_limit == pytest.approx(made.time[-1] + made.duration[-1])
    if policy in ("video", "video-original", "remap"):
        assert made.source_index.tolist() == list(range(len(times)))
    if policy == "shortest":
        assert made.speech_limit <= end + 1e-9
    if policy in ("shortest", "pingpong", "loop"):
        assert len(made) == 1 or made.time[-1] < speech  # no frame starts after the speech
    if policy in AS_LONG_AS_SPEECH:
        assert made.speech_limit >= speech - 1e-3
    if policy == "remap":
        assert made.speech_limit == pytest.approx(speech, abs=1e-3)
    faded = made.partner >= 0
    assert policy == "loop" or not faded.any()
    assert (made.partner < len(times)).all() and ((made.partner_share > 0) == faded).all()
    assert (made.partner_share <= 0.5).all()
    for first, stop in runs(faded):
        assert made.duration[first:stop].sum() <= FADE_SECONDS + 1e-6
    if policy == "video-original":
        assert (made.dubbed == (made.time < speech)).all()
    else:
        assert made.dubbed.all()


@given(timelines(), st.floats(0.0, 20.0), st.sampled_from(get_args(LengthPolicy)))
def test_ticks_of_a_plan_last_and_do_not_go_back(
    video: tuple[np.ndarray, np.ndarray], speech: float, policy: LengthPolicy
) -> None:
    end = float(video[0][-1] + video[1][-1])
    assume(policy != "remap" or end > 0)
    speech = end if policy == "remap" else speech
    pts, duration = plan(*video, speech, policy).ticks(Fraction(1, 90_000), 1.4)
    assert (duration >= 1).all() and (np.diff(pts) > 0).all()


@given(st.lists(st.integers(0, 6), max_size=30))
def test_runs_put_together_are_the_numbers(numbers: list[int]) -> None:
    assert [first + k * step for first, count, step in frame_runs(numbers) for k in range(count)] == numbers
