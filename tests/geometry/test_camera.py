"""The weak-perspective camera."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from personatalk.geometry.camera import continuous, rotations


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
