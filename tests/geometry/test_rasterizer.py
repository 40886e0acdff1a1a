"""The fast rasteriser against its plain definition, and both against triangles worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from helpers.rasterizer import render_reference
from helpers.synthetic import face_in_crop

from personatalk.geometry.morphable_model import MorphableModel
from personatalk.geometry.rasterizer import render

Render = Callable[..., np.ndarray]
BOTH = pytest.mark.parametrize("draw", [render, render_reference])


@pytest.mark.slow
@pytest.mark.parametrize("turn", [(0, 0, 0), (0.3, -0.6, 0), (-0.4, 0.2, 0.5), (0.1, 1.3, 0)])
def test_the_fast_one_equals_the_plain_one_on_a_face(model: MorphableModel, turn: tuple[float, float, float]) -> None:
    vertices = face_in_crop(model, 96, 0.2, turn)
    fast = render(vertices, model.triangles, model.colours(), 96)
    plain = render_reference(vertices, model.triangles, model.colours(), 96)
    assert fast.dtype == plain.dtype == np.float32
    assert (plain.any(axis=-1)).mean() > 0.15
    assert np.abs(fast - plain).max() < 1e-5


@pytest.mark.parametrize("seed", range(6))
def test_the_fast_one_equals_the_plain_one_on_a_soup(seed: int) -> None:
    random = np.random.default_rng(seed)
    size, count = 40, 60
    # Reaches far beyond the picture; every other soup lies on whole pixels, where edges meet pixel centres.
    vertices = random.uniform(-25, size + 25, (count, 3)).astype(np.float32)
    if seed % 2:
        vertices = vertices.round()
    vertices[0] = vertices[1]
    vertices[4] = (vertices[2] + vertices[3]) / 2
    triangles = random.integers(0, count, (90, 3))
    triangles[:4] = [[5, 5, 6], [7, 7, 7], [0, 1, 8], [2, 3, 4]]  # points and lines
    colours = random.uniform(-1, 1, (count, 5)).astype(np.float32)
    fast, plain = (draw(vertices, triangles, colours, size) for draw in (render, render_reference))
    assert fast.shape == plain.shape == (size, size, 5)
    assert (plain.any(axis=-1)).mean() > 0.3
    assert np.abs(fast - plain).max() < 1e-5


@BOTH
def test_a_small_triangle_by_hand(draw: Render) -> None:
    vertices = np.array([[0, 0, 1], [4, 0, 1], [0, 4, 1]], np.float32)
    got = draw(vertices, np.array([[0, 1, 2]]), np.eye(3, dtype=np.float32), 6)
    y, x = np.mgrid[:6, :6]
    inside = x + y <= 4
    np.testing.assert_array_equal(got.any(axis=-1), inside)
    weights = np.stack([1 - (x + y) / 4, x / 4, y / 4], axis=-1)
    np.testing.assert_allclose(got, weights * inside[..., None], atol=1e-7)
    turned = draw(vertices, np.array([[0, 2, 1]]), np.eye(3, dtype=np.float32), 6)
    np.testing.assert_allclose(turned, got, atol=1e-7)


@BOTH
def test_a_triangle_between_the_pixels_draws_nothing(draw: Render) -> None:
    vertices = np.array([[1.2, 1.2, 0], [1.8, 1.2, 0], [1.2, 1.8, 0]], np.float32)
    assert not draw(vertices, np.array([[0, 1, 2]]), np.ones((3, 1), np.float32), 4).any()


@BOTH
@pytest.mark.parametrize("shift", [(-100, 0), (100, 0), (0, -100), (0, 100)])
def test_off_screen_draws_nothing(draw: Render, shift: tuple[int, int]) -> None:
    vertices = np.array([[0, 0, 0], [9, 0, 0], [0, 9, 0]], np.float32) + np.array([*shift, 0], np.float32)
    assert not draw(vertices, np.array([[0, 1, 2]]), np.ones((3, 1), np.float32), 10).any()


@BOTH
def test_the_nearer_wins_in_either_order(draw: Render) -> None:
    corners = [[-5, -5], [30, -5], [-5, 30]]
    vertices = np.array([[*c, 2.0] for c in corners] + [[*c, 1.0] for c in corners], np.float32)
    colours = np.repeat(np.array([[0.25], [0.75]], np.float32), 3, axis=0)
    for triangles in ([[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [0, 1, 2]]):
        np.testing.assert_allclose(draw(vertices, np.array(triangles), colours, 8), 0.75, atol=1e-6)


@BOTH
def test_two_sheets_that_cross_share_the_picture(draw: Render) -> None:
    corners = [[0, -20], [0, 40], [40, 10]]
    flat = [[*c, 10.0] for c in corners]
    slanted = [[x, y, float(x)] for x, y in corners]  # nearer than the flat one where x < 10
    colours = np.repeat(np.array([[0.2], [0.9]], np.float32), 3, axis=0)
    got = draw(np.array(flat + slanted, np.float32), np.array([[0, 1, 2], [3, 4, 5]]), colours, 20)[10, :, 0]
    np.testing.assert_allclose(got[:10], 0.9, atol=1e-6)
    np.testing.assert_allclose(got[11:], 0.2, atol=1e-6)


@BOTH
def test_the_first_of_equally_near_ones_wins(draw: Render) -> None:
    corners = [[0, 0, 1.0], [8, 0, 1.0], [0, 8, 1.0]]
    colours = np.repeat(np.array([[0.25], [0.75]], np.float32), 3, axis=0)
    got = draw(np.array(corners * 2, np.float32), np.array([[3, 4, 5], [0, 1, 2]]), colours, 8)
    assert set(np.unique(got.round(5))) == {0, np.float32(0.75)}
