"""Plots for the training's log."""

from __future__ import annotations

import numpy as np

from personatalk.training.plots import draw_curves, draw_grid


def test_curves_are_drawn_in_their_colours() -> None:
    ramp = np.linspace(0, 1, 20, dtype=np.float32)
    image = draw_curves({"real": ramp, "generated": 1 - ramp}, width=200, height=100)
    assert image.shape == (100, 200, 3)
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 4


def test_images_stand_side_by_side() -> None:
    images = [[np.full((2, 3, 3), 10 * row + column, np.uint8) for column in range(2)] for row in range(3)]
    grid = draw_grid(images)
    assert grid.shape == (6, 6, 3)
    assert grid[4, 4, 0] == 21
