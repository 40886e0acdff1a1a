"""The weak-perspective camera."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from personatalk.geometry.camera import continuous, covered_area, crop_transform, rotations, warp


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
