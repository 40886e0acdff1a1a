"""The geometry of a face, drawn: place codes, masks, and their independence of the resolution."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.synthetic import face_in_crop

from personatalk.geometry.camera import CROP_SPAN
from personatalk.geometry.masks import cells
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.stage2.geometry_map import CELL_SIZE, KIND_DISTANCE, TEETH_BELOW, geometry_map
from personatalk.stage2.place_code import BACKGROUND, CODE_SIZE, FACE, KIND, MOUTH
from personatalk.utils.arrays import Array

SIZE = 128
FULL = 256


def test_the_code_tells_face_mouth_and_background_apart(model: MorphableModel) -> None:
    vertices = face_in_crop(model, FULL, 0.3)
    drawn = geometry_map(model, vertices, FULL)
    grid = FULL // CELL_SIZE
    assert drawn.code.shape == (CODE_SIZE, grid, grid)

    def at(point: Array) -> np.ndarray:
        return drawn.code[:, int(point[1]) // CELL_SIZE, int(point[0]) // CELL_SIZE]

    upper, lower = model.inner_lips[0]
    mouth = at((vertices[upper] + vertices[lower]) / 2)
    cheek, chin = at(vertices[205]), at((vertices[152] + vertices[17]) / 2)
    background = drawn.code[:, -2, 1]
    assert (cheek[KIND], mouth[KIND], background[KIND]) == pytest.approx((KIND_DISTANCE, -KIND_DISTANCE, 0))
    groups = {FACE: slice(FACE, MOUTH), MOUTH: slice(MOUTH, BACKGROUND), BACKGROUND: slice(BACKGROUND, KIND)}
    for code, kind in ((cheek, FACE), (chin, FACE), (mouth, MOUTH), (background, BACKGROUND)):
        used = groups[kind]
        others = np.delete(code[:KIND], range(*used.indices(CODE_SIZE)))
        assert np.abs(others).max() < 1e-5
        assert np.abs(code[used]).max() > 1
    codes = [cheek, mouth, background]
    for i, a in enumerate(codes):
        for b in codes[:i]:
            assert np.linalg.norm(a - b) >= KIND_DISTANCE
    np.testing.assert_allclose(background[BACKGROUND:KIND], [1.5, grid - 1.5])


def test_the_code_of_the_mouth_goes_with_the_teeth(model: MorphableModel) -> None:
    """Above with the skull, however wide the mouth is open; below with the lower lip; in between all is dark alike."""
    codes = []
    for gap in (0.2, 0.3):
        vertices = face_in_crop(model, FULL, gap)
        code = geometry_map(model, vertices, FULL).code
        upper, lower = model.inner_lips[0]
        top, bottom = vertices[upper], vertices[lower]
        column = int(top[0]) // CELL_SIZE
        rows = np.arange(int(top[1]) // CELL_SIZE + 1, int(bottom[1]) // CELL_SIZE)
        middle = (rows + 0.5) * CELL_SIZE - 0.5
        known = TEETH_BELOW * FULL / CROP_SPAN / CELL_SIZE
        above_lip = (bottom[1] - middle) / CELL_SIZE
        np.testing.assert_allclose(code[MOUTH + 2, rows, column], np.clip(above_lip, 0, known), atol=0.5)
        codes.append(code[MOUTH + 1, :, column])
        assert code[MOUTH + 1, rows[-1], column] == pytest.approx(known, abs=0.1)
    both = (codes[0] != 0) & (codes[1] != 0)
    assert both.sum() > 4
    np.testing.assert_allclose(codes[0][both][:-1], codes[1][both][:-1], atol=0.5)


def test_a_closed_mouth_has_no_inside(model: MorphableModel) -> None:
    wide, closed = (
        (geometry_map(model, face_in_crop(model, FULL, gap), FULL).code[KIND] < -KIND_DISTANCE / 2).sum()
        for gap in (0.3, 0.0)
    )
    assert wide > 100
    assert closed < 10


def test_the_map_follows_the_face_not_the_resolution(model: MorphableModel) -> None:
    # The same face at half the size: half the cells, and codes that count in cells.
    large = geometry_map(model, face_in_crop(model, 256, 0.2), 256)
    small = geometry_map(model, face_in_crop(model, 128, 0.2), 128)
    shrunk = cells(large.lips, 32)
    assert np.abs(shrunk - small.lips).mean() < 0.01
    face = small.code[KIND] == KIND_DISTANCE
    halved = np.stack([cells(layer, 32) for layer in large.code]) / 2
    inner = face & (halved[KIND] == KIND_DISTANCE / 2)
    assert inner.sum() > 200
    assert np.abs(halved[FACE:MOUTH] - small.code[FACE:MOUTH])[:, inner].max() < 0.4


def test_others_add_to_the_region_only(model: MorphableModel) -> None:
    closed, wide = (face_in_crop(model, SIZE, gap) for gap in (0.0, 0.3))
    alone, both = geometry_map(model, closed, SIZE), geometry_map(model, closed, SIZE, (wide,))
    assert (both.face >= alone.face).all()
    assert both.face.sum() > alone.face.sum() + 100
    for name in ("image", "code", "lips"):
        np.testing.assert_allclose(getattr(both, name), getattr(alone, name))
