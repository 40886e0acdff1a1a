"""Learning a morphable model."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.synthetic import opened
from scipy.spatial.transform import Rotation

from personatalk.geometry.morphable_model import MorphableModel
from personatalk.training.morphable import align_rigidly, lower_weight, mirror, mirror_index
from personatalk.utils.arrays import Array


def test_the_mirror_swaps_the_sides(model: MorphableModel) -> None:
    index = mirror_index(model.mean)
    np.testing.assert_array_equal(index[index], np.arange(model.num_vertices))
    assert index[33] == 263
    assert index[61] == 291
    assert index[1] == 1
    both = mirror(model.mean[None], index)[0]
    np.testing.assert_allclose(both, model.mean, atol=2e-3)


def test_align_undoes_a_similarity(model: MorphableModel) -> None:
    random = np.random.default_rng(0)
    faces: list[Array] = []
    for _ in range(5):
        turn = Rotation.random(random_state=random).as_matrix()
        faces.append(random.uniform(20, 400) * model.mean @ turn.T + random.uniform(-500, 500, 3))
    np.testing.assert_allclose(
        align_rigidly(np.stack(faces), model.mean), np.repeat(model.mean[None], 5, axis=0), atol=1e-4
    )


def test_align_leaves_the_expression(model: MorphableModel) -> None:
    wide = model.expression_only(opened(model, 0.3))
    moved = align_rigidly(300 * wide[None].astype(np.float64) + 77, model.mean)[0]
    assert float(model.mouth_opening(moved)) == pytest.approx(float(model.mouth_opening(wide)), rel=0.1)


def test_the_models_own_seam_is_the_trainings(model: MorphableModel) -> None:
    np.testing.assert_allclose(lower_weight(model.mean), model.lower, atol=5e-3)  # float16
