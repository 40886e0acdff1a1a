"""The weak-perspective camera."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from personatalk.geometry.camera import (
    MOST_STEADYING,
    continuous,
    covered_area,
    crop_transform,
    rotations,
    steady,
    warp,
)


def test_rotation_vectors_of_a_head_upside_down_do_not_jump() -> None:
    angles = np.radians(180 + 8 * np.sin(np.arange(20)))
    pose = np.zeros((20, 6), np.float32)
    pose[:, :3] = (Rotation.from_euler("z", angles[:, None]) * Rotation.from_euler("y", 10, degrees=True)).as_rotvec()
    assert np.linalg.norm(np.diff(pose[:, :3], axis=0), axis=1).max() > 5, "none of them jumps: the test is void"
    smooth = continuous(pose)
    assert np.linalg.norm(np.diff(smooth[:, :3], axis=0), axis=1).max() < 0.2
    np.testing.assert_allclose(rotations(smooth), rotations(pose), atol=1e-5)


def test_upright_heads_keep_their_rotation_vectors() -> None:
    pose = np.random.default_rng(0).uniform(-1, 1, (50, 6)).astype(np.float32)
    np.testing.assert_array_equal(continuous(pose), pose)


@pytest.mark.parametrize("rate", [25, 30, 60])
def test_a_nodding_head_keeps_its_motion_and_loses_its_shaking(rate: int) -> None:
    time = np.arange(6 * rate) / rate
    nod = np.stack([0.1 * np.sin(2 * np.pi * 1.5 * time), *np.zeros((2, len(time))), 5 + 0.02 * time], axis=1)
    nod = np.concatenate([nod, np.exp(5) * np.stack([time, 0.2 * np.sin(2 * np.pi * time)], axis=1)], axis=1)
    shaking = np.random.default_rng(0).normal(0, 0.001, nod.shape) * [1, 1, 1, 1, np.exp(5), np.exp(5)]
    found = steady((nod + shaking).astype(np.float32), 1 / rate)
    left, before = (np.abs(np.diff(x, 2, axis=0)).mean(axis=0) for x in (found - nod, shaking))
    assert (left < 0.35 * before).all()
    inner = slice(rate // 2, -rate // 2)
    assert (np.abs(found - nod)[inner].mean(axis=0) < 0.9 * np.abs(shaking)[inner].mean(axis=0)).all()


def test_a_jerking_head_is_followed() -> None:
    pose = np.tile(np.array([0, 0, 0, 5, 300, 200], np.float32), (50, 1))
    pose[25:, 4] += 20
    moved = np.abs(steady(pose, 0.04) - pose)[:, 4] / np.exp(5)
    assert 0.9 * MOST_STEADYING < moved.max() < 1.01 * MOST_STEADYING


@pytest.mark.parametrize("rate", [10, 25, 30, 60])
def test_a_head_that_moves_evenly_is_left_alone(rate: int) -> None:
    pose = (np.arange(40)[:, None] * np.array([0.01, 0, 0.02, 0.005, 8, -3])).astype(np.float32)
    np.testing.assert_allclose(steady(pose, 1 / rate), pose, atol=1e-3)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_moment_of_a_head_keeps_its_poses(count: int) -> None:
    pose = np.random.default_rng(0).normal(size=(count, 6)).astype(np.float32)
    found = steady(pose, 0.04)
    np.testing.assert_allclose(found[[0, -1]], pose[[0, -1]], atol=1e-6)


def test_too_few_frames_a_second_are_left_alone() -> None:
    pose = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    np.testing.assert_array_equal(steady(pose, 0.2), pose)


@pytest.mark.parametrize("scale", [30.0, 60.0, 300.0])
@pytest.mark.parametrize("middle", [(200, 150), (10, 290)], ids=["inside", "over the edge"])
def test_a_crop_needs_no_more_of_the_image_than_it_covers(scale: float, middle: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    transform = crop_transform(np.array([0.1, 0.2, 0.3, np.log(scale), *middle], np.float32), 64)
    left, top, right, bottom = covered_area(transform, 64, 400, 300)
    moved = transform.copy()
    moved[:, 2] += transform[:, :2] @ np.array([left, top], np.float32)
    difference = np.abs(warp(image[top:bottom, left:right], moved, 64).astype(int) - warp(image, transform, 64))
    assert difference.mean() < 0.5
