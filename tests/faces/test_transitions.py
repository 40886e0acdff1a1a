"""Gradual transitions between shots, and what is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.sample_clips import decoded, write_video
from helpers.synthetic import smooth_picture
from transition_cases import BASE, BESIDE, EDGE, frames_of
from transitions import KINDS, found_in, joined

from personatalk.faces.shots import find_shots
from personatalk.media.reader import VideoReader
from personatalk.sample import sample_files
from personatalk.utils.arrays import Array, Image

LEAD = 15
# Frames beside a transition that may be taken for a part of it, since people move.
MOST_TOO_MANY = 8


def shot(count: int, seed: int) -> list[Image]:
    """A made-up shot: something in front of a still background moves about, and there is noise."""
    random = np.random.default_rng(seed)
    back, front = smooth_picture(120, 120, 9, seed), smooth_picture(160, 160, 7, seed + 100)
    frames = []
    for number in range(count):
        x, y = (round(15 + 8 * np.sin(number / pace + seed)) for pace in (4, 7))
        frame = back.astype(float)
        frame[40:100, 35:85] = front[y + 30 : y + 90, x + 30 : x + 80]
        frames.append(np.clip(frame + random.normal(0, 3, frame.shape), 0, 255).astype(np.uint8))
    return frames


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [5, 25])
def test_a_transition_is_found_where_it_is(kind: str, count: int) -> None:
    frames = joined(shot(LEAD + count, 1), shot(LEAD + count, 2), kind, count)
    (found,) = found_in(frames)
    missed = max(1, round(0.1 * count))  # some begin and end with faint traces, or a small corner
    assert LEAD - MOST_TOO_MANY <= found.start <= LEAD + missed
    assert LEAD + count - missed <= found.stop <= LEAD + count + MOST_TOO_MANY


def test_the_length_of_a_black_hold_does_not_matter() -> None:
    frames = joined(shot(LEAD + 13, 1), shot(LEAD + 13, 2), "dip to black", 13)
    middle = LEAD + 6
    (found,) = found_in([*frames[:middle], *[np.zeros_like(frames[0])] * 150, *frames[middle:]])
    assert LEAD - 4 <= found.start <= LEAD + 1 and LEAD + 162 <= found.stop <= LEAD + 167


@pytest.mark.parametrize("kind", ["dissolve", "wipe up, soft", "circle"])
def test_shots_of_people_of_one_outline_are_told_apart(kind: str) -> None:
    y, x = np.mgrid[:120, :120]
    shots = [
        [
            np.where(np.hypot(x - left, y - 55)[..., None] < 32, skin, room // 2).astype(np.uint8)
            for room in shot(27, seed)
        ]
        for seed, left, skin in ((1, 45, (240, 170, 150)), (2, 66, (230, 180, 160)))
    ]
    (found,) = found_in(joined(*shots, kind, 12))
    assert abs(found.start - LEAD) <= 2 and abs(found.stop - LEAD - 12) <= 2


@pytest.mark.slow
def test_several_transitions_are_told_apart() -> None:
    frames = joined(shot(35, 1), shot(45, 2), "dissolve", 10)
    frames = joined(frames, shot(35, 3), "wipe left", 10)
    assert [
        (abs(one.start - at) < 4, abs(one.stop - at - 10) < 4)
        for one, at in zip(found_in(frames), (25, 60), strict=True)
    ]


@pytest.mark.parametrize("level", [0, 255])
def test_a_fade_that_comes_back_to_the_same_shot_is_none(level: int) -> None:
    share = np.clip(np.abs(np.arange(60) - 30) / 12, 0, 1)
    frames = [
        np.clip(level + (f - float(level)) * s, 0, 255).astype(np.uint8)
        for f, s in zip(shot(60, 1), share, strict=True)
    ]
    assert found_in(frames) == []


def test_a_change_of_light_is_none() -> None:
    light = np.interp(np.arange(60), [0, 20, 35, 60], [1, 1, 0.3, 0.3])[:, None] * [1, 0.9, 0.7]
    assert found_in([(f * t).astype(np.uint8) for f, t in zip(shot(60, 1), light, strict=True)]) == []


def side_light(share: float) -> Array:
    """A lamp on the left goes off while one on the right goes on."""
    left = np.linspace(1, 0, 120)[:, None] ** 2
    return 0.2 + 0.8 * ((1 - share) * left + share * left[::-1])


def stage_light(share: float) -> Array:
    """Red light that turns blue."""
    return np.array([1, 0.3, 0.25]) * (1 - share) + np.array([0.3, 0.4, 1]) * share


@pytest.mark.slow
@pytest.mark.parametrize("light", [side_light, stage_light])
@pytest.mark.parametrize("count", [4, 15])
def test_light_that_moves_or_changes_its_colour_is_no_transition(light: Callable[[float], Array], count: int) -> None:
    frames = [cv2.resize(frame, (120, 120), interpolation=cv2.INTER_AREA) for frame in decoded(sample_files()[0])[:60]]
    shares = np.clip((np.arange(60) - 20) / count, 0, 1)
    lit = [np.clip(f * light(share), 0, 255).astype(np.uint8) for f, share in zip(frames, shares, strict=True)]
    assert found_in(lit) == []


def test_a_circle_over_faces_alike_that_move_passes_through_from_its_beginning() -> None:
    case = {"kind": "circle", "seconds": 1.462, "rate": 30, "size": [96, 96], "shots": [0.611, 0.587]}
    frames, start, stop = frames_of(BASE | case | {"seeds": [117, 127]})
    (found,) = found_in(frames, 30)
    margin = round(EDGE * (stop - start))
    assert start - BESIDE < found.start <= start + margin and stop - margin <= found.stop < stop + BESIDE


@pytest.mark.parametrize("way", ["pan", "zoom", "cut", "flash", "cuts"])
def test_camera_moves_and_cuts_are_none(way: str) -> None:
    wide = smooth_picture(240, 400, 10)
    share = np.clip((np.arange(50) - 15) / 20, 0, 1)
    frames = shot(50, 1)
    if way == "pan":
        frames = [np.ascontiguousarray(wide[60:180, round(200 * s) : round(200 * s) + 120]) for s in share]
    elif way == "zoom":
        sides = [round(230 / (1 + 2 * s)) for s in share]
        frames = [cv2.resize(wide[5 : 5 + n, 5 : 5 + n], (120, 120), interpolation=cv2.INTER_AREA) for n in sides]
    elif way == "flash":
        frames[20] = np.clip(frames[20] * 1.6 + 60, 0, 255).astype(np.uint8)
    else:
        others = [20] if way == "cut" else [20, 21, 22, 30]
        for seed, at in enumerate(others, 2):
            frames[at:] = shot(50, seed)[at:]
    assert found_in(frames) == []


def test_frames_at_the_ends_of_a_clip_are_no_transition() -> None:
    assert found_in([]) == [] and found_in(shot(1, 1)) == [] and found_in(shot(4, 1)) == []


def test_a_fast_dissolve_is_one_transition_and_not_many_cuts(tmp_path: Path) -> None:
    frames = joined(shot(20, 1), shot(20, 2), "dissolve", 5)
    with VideoReader(write_video(tmp_path / "in.mp4", [*frames, *shot(15, 3)])) as reader:
        shots = find_shots(reader)
    dissolved = np.flatnonzero(shots.in_transition)
    assert dissolved[0] in (13, 14, 15) and dissolved[-1] in (19, 20, 21)
    assert np.flatnonzero(shots.begins).tolist() == [(dissolved[0] + dissolved[-1] + 1) // 2, 35]
    assert shots.shot_of[[0, 34, 35]].tolist() == [0, 1, 2]
