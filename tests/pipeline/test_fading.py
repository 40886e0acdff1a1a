"""Fading: the opacity of the new mouth in each frame."""

from __future__ import annotations

import numpy as np
import pytest

from personatalk.faces.analysis import MAX_YAW, yaw_of
from personatalk.pipeline.fading import FADE_SECONDS, FADING_YAW, LARGEST_FADE_STEP, blend_weight
from personatalk.utils.arrays import Array


def strengths(
    count: int = 40,
    *,
    gone: tuple[int, ...] = (),
    cut: int | None = None,
    yaw: Array | float = 0.0,
    fps: float = 25.0,
) -> Array:
    usable = np.ones(count, bool)
    usable[list(gone)] = False
    shot_of = np.zeros(count, np.int64)
    if cut is not None:
        shot_of[cut:] = 1
    turned = np.broadcast_to(np.asarray(yaw, np.float32), (count,))
    return blend_weight(usable, shot_of, turned, np.arange(count) / fps)


def test_a_face_to_the_front_is_dubbed_wholly() -> None:
    np.testing.assert_array_equal(strengths(), 1)


def test_it_falls_with_the_yaw_and_never_rises() -> None:
    yaw = np.linspace(0, 80, 400, dtype=np.float32)
    values = strengths(400, yaw=yaw)
    assert (np.diff(values) <= 0).all()
    assert (values[yaw < FADING_YAW - 1] == 1).all()
    assert (values[yaw >= MAX_YAW] == 0).all()
    assert values[np.argmin(abs(yaw - (FADING_YAW + MAX_YAW) / 2))] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("fps", [5.0, 25.0, 60.0])
def test_it_never_jumps(fps: float) -> None:
    random = np.random.default_rng(0)
    gone = tuple(np.flatnonzero(random.random(200) < 0.04).tolist())
    yaw = random.choice([0, 70], 200, p=[0.95, 0.05]).astype(np.float32)
    values = strengths(200, gone=gone, yaw=yaw, fps=fps)
    assert np.abs(np.diff(values)).max() <= min(LARGEST_FADE_STEP, 1 / fps / FADE_SECONDS) + 1e-6
    assert (values[list(gone)] == 0).all()
    assert values.max() == 1


def test_a_gap_fades_out_and_in() -> None:
    values = strengths(gone=(20,))
    np.testing.assert_allclose(values[15:26], [1, 0.8, 0.6, 0.4, 0.2, 0, 0.2, 0.4, 0.6, 0.8, 1], atol=1e-6)


def test_it_does_not_fade_across_a_cut() -> None:
    values = strengths(gone=tuple(range(20, 40)), cut=20)
    np.testing.assert_array_equal(values, [1] * 20 + [0] * 20)


def test_yaw_is_told_from_the_pose() -> None:
    pose = np.zeros((5, 6), np.float32)
    pose[:, 1] = np.radians([0, 30, -30, 60, 80])
    pose[1, 0] = 0.2  # a nod is no turn
    np.testing.assert_allclose(yaw_of(pose), [0, 30, 30, 60, 80], atol=1.5)
