"""Regions of the crop: what is generated, and what belongs to the lips."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from helpers.synthetic import face_in_crop

from personatalk.geometry.camera import CROP_SPAN
from personatalk.geometry.masks import CHIN_MARGIN, LIP_MARGIN, cells, face_region, grow, lip_region
from personatalk.geometry.morphable_model import MorphableModel

SIZES = pytest.mark.parametrize("size", [128, 256])


def covered(mask: np.ndarray, points: np.ndarray) -> np.ndarray:
    place = points[:, :2].round().astype(int)
    return mask[place[:, 1], place[:, 0]]


@SIZES
@pytest.mark.parametrize("turn", [(0, 0, 0), (0.3, 0.5, 0), (-0.2, -0.8, 0.4)])
def test_masks_are_opacities(model: MorphableModel, size: int, turn: tuple[float, float, float]) -> None:
    vertices = face_in_crop(model, size, 0.15, turn)
    for mask in (lip_region(model, vertices, size), face_region(model, [vertices], size)):
        assert mask.shape == (size, size)
        assert mask.dtype == np.float32
        assert mask.min() == 0
        assert mask.max() == pytest.approx(1, abs=1e-6)


@SIZES
@pytest.mark.parametrize("gap", [0.0, 0.1, 0.3])
def test_the_lips_are_inside(model: MorphableModel, size: int, gap: float) -> None:
    vertices = face_in_crop(model, size, gap)
    lips, face = lip_region(model, vertices, size), face_region(model, [vertices], size)
    assert covered(lips, vertices[model.lips]).min() == 1
    assert covered(face, vertices[model.lips]).min() == 1
    assert (face[lips > 0] > 0.5).all()


def test_the_lip_region_reaches_its_margin_beyond_the_lips(model: MorphableModel) -> None:
    size = 256
    vertices = face_in_crop(model, size, 0.1)
    mask, lips = lip_region(model, vertices, size), vertices[model.lips]
    unit = size / CROP_SPAN
    corner = lips[lips[:, 0].argmin()]
    row = mask[round(float(corner[1]))]
    reach = corner[0] - np.flatnonzero(row > 0.5)[0]
    assert reach == pytest.approx(LIP_MARGIN * unit, abs=2.5)
    bottom = lips[lips[:, 1].argmax()]
    column = mask[:, round(float(bottom[0]))]
    assert np.flatnonzero(column > 0.5)[-1] - bottom[1] == pytest.approx(LIP_MARGIN * unit, abs=2.5)


def test_the_regions_grow_with_the_jaw(model: MorphableModel) -> None:
    faces = [face_in_crop(model, 256, gap) for gap in (0.0, 0.1, 0.2, 0.3)]
    lip_areas = [lip_region(model, v, 256).sum() for v in faces]
    regions = [face_region(model, [v], 256) for v in faces]
    assert (np.diff(lip_areas) > 100).all()
    assert (np.diff([r.sum() for r in regions]) > 100).all()
    bottoms = [np.flatnonzero((r > 0.5).any(axis=1))[-1] for r in regions]
    drop = faces[3][152, 1] - faces[0][152, 1]
    assert bottoms[3] - bottoms[0] == pytest.approx(drop, abs=3)


def test_the_face_region_covers_all_shapes(model: MorphableModel) -> None:
    closed, wide = (face_in_crop(model, 256, gap) for gap in (0.0, 0.3))
    both = face_region(model, [closed, wide], 256)
    for vertices in (closed, wide):
        assert (both >= face_region(model, [vertices], 256) - 1e-6).all()
    np.testing.assert_array_equal(both, face_region(model, [wide, closed], 256))


def test_the_face_region_leaves_the_eyes_alone(model: MorphableModel) -> None:
    vertices = face_in_crop(model, 256, 0.2)
    mask = face_region(model, [vertices], 256)
    inside = vertices[(vertices[:, :2] > 0).all(axis=1) & (model.mean[:, 1] < 0.05)]
    assert len(inside) > 20
    assert covered(mask, inside).max() == 0


def test_the_face_region_has_a_soft_edge(model: MorphableModel) -> None:
    vertices = face_in_crop(model, 256)
    mask = face_region(model, [vertices], 256)
    assert np.abs(np.diff(mask, axis=0)).max() < 0.2
    assert np.abs(np.diff(mask, axis=1)).max() < 0.2
    chin = vertices[152]
    column = mask[:, round(float(chin[0]))]
    half = np.flatnonzero(column > 0.5)[-1] - chin[1]
    assert half == pytest.approx(CHIN_MARGIN * 256 / CROP_SPAN, abs=4)


@pytest.mark.parametrize("turn", [-0.6, -0.4, 0.4, 0.6])
def test_the_face_region_of_a_turned_head_ends_on_its_far_cheek(model: MorphableModel, turn: float) -> None:
    vertices = face_in_crop(model, 256, 0.1, (0, turn, 0))
    head = cv2.fillConvexPoly(np.zeros((256, 256)), cv2.convexHull(vertices[:, :2].round().astype(np.int32)), 1)
    upper_lip = round(float(vertices[model.inner_lips[0, 0], 1]))
    assert face_region(model, [vertices], 256)[:upper_lip][head[:upper_lip] == 0].max() < 0.5


@pytest.mark.parametrize("shift", [(90, 0), (0, 80), (-90, 40)])
def test_the_crops_own_edge_stays_clear(model: MorphableModel, shift: tuple[int, int]) -> None:
    vertices = face_in_crop(model, 256, 0.2) + np.array([*shift, 0], np.float32)
    mask = face_region(model, [vertices], 256)
    assert mask.max() > 0.9
    assert not mask[[0, -1]].any()
    assert not mask[:, [0, -1]].any()
    assert np.abs(np.diff(mask, axis=0)).max() < 0.25
    assert np.abs(np.diff(mask, axis=1)).max() < 0.25


def test_masks_move_smoothly(model: MorphableModel) -> None:
    vertices = face_in_crop(model, 256, 0.1)
    areas = []
    for step in range(5):
        areas.append(lip_region(model, vertices * (1 + 0.0005 * step), 256).sum())
    assert (np.diff(areas) != 0).all(), "a quarter of a pixel must show"
    assert np.abs(np.diff(areas)).max() < 60


def test_cells_are_shares() -> None:
    mask = np.zeros((8, 8), np.float32)
    mask[:4, :4] = 1
    mask[4, 4] = 0.5
    got = cells(mask, 2)
    np.testing.assert_allclose(got, [[1, 0], [0, 0.5 / 16]])
    np.testing.assert_array_equal(cells(mask, 8), mask)


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_grow(radius: int) -> None:
    active = np.zeros((7, 7), bool)
    active[3, 2] = True
    wanted = np.zeros((7, 7), bool)
    wanted[3 - radius : 4 + radius, 2 - radius : 3 + radius] = True
    got = grow(active, radius)
    assert got.dtype == bool
    np.testing.assert_array_equal(got, wanted)
    assert active.sum() == 1
