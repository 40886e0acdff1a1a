"""Colour matching and the way back into the frame."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from helpers.synthetic import face_in_crop, pose_of, psnr, smooth_picture

from personatalk.geometry.camera import crop_transform, warp
from personatalk.geometry.masks import face_region
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.stage2.compositing import (
    COLOUR_GRID,
    MOST_SHIFT,
    SAME_PLACE,
    Patch,
    Rim,
    keep_other_things,
    match_colours,
    relit,
    to_image,
)
from personatalk.utils.arrays import Array, Image

SIZE = 256
NEIGHBOURS = np.ones((2 * (SIZE // COLOUR_GRID) + 1,) * 2, np.uint8)
"""Colours are compared in cells: what lies a cell away has no say."""


@pytest.fixture(scope="module")
def mask(model: MorphableModel) -> Array:
    return face_region(model, [face_in_crop(model, SIZE, 0.1)], SIZE)


@pytest.fixture(scope="module")
def skin() -> Image:
    """Skin-like: one tone with shading and pores."""
    random = np.random.default_rng(0)
    shade = 18 * (smooth_picture(SIZE, SIZE, 40, seed=1)[..., :1].astype(float) / 255 - 0.5)
    pores = 4 * random.standard_normal((SIZE, SIZE, 1))
    return np.clip(np.array([190, 150, 130]) + shade + pores, 0, 255).astype(np.uint8)


def error(result: Image, source: Image, mask: Array) -> float:
    """Mean difference of the low frequencies under the mask, in grey levels."""
    difference = cv2.GaussianBlur(result.astype(np.float32) - source, (0, 0), 4)
    return float(np.abs(difference)[mask > 0.5].mean())


def shifted(picture: Image, shift: np.ndarray) -> Image:
    return np.clip(picture + shift, 0, 255).round().astype(np.uint8)


def test_a_constant_shift_is_removed(skin: Image, mask: Array) -> None:
    rendered = shifted(skin, np.array([9.0, -12.0, 5.0]))
    assert error(rendered, skin, mask) > 8
    assert error(match_colours(rendered, Rim.of(skin, mask)), skin, mask) < 0.7


@pytest.mark.parametrize("axis", [0, 1])
def test_a_linear_shift_is_removed(skin: Image, mask: Array, axis: int) -> None:
    ramp = np.linspace(-18, 18, SIZE)
    light = (ramp[:, None] if axis == 0 else ramp[None, :])[..., None] * np.array([1, 0.8, 0.6])
    rendered = shifted(skin, np.broadcast_to(light, skin.shape))
    before, after = error(rendered, skin, mask), error(match_colours(rendered, Rim.of(skin, mask)), skin, mask)
    assert before > 4
    assert after < 0.35 * before
    # Along the edge, where the two pictures meet, nearly nothing may be left.
    edge = cv2.GaussianBlur(match_colours(rendered, Rim.of(skin, mask)).astype(np.float32) - skin, (0, 0), 4)
    assert np.abs(edge)[(mask > 0.1) & (mask < 0.9)].mean() < 1.5


def test_what_matches_already_stays(skin: Image, mask: Array) -> None:
    assert np.abs(match_colours(skin, Rim.of(skin, mask)).astype(int) - skin).max() <= 1


def test_the_old_mouth_has_no_say(skin: Image, mask: Array) -> None:
    rendered, other = shifted(skin, np.array([8.0, 8.0, 8.0])), skin.copy()
    # Colours are compared as far as the first cell in which the mask is opaque.
    inside = cv2.erode(mask, NEIGHBOURS, iterations=2) >= 0.95
    assert inside.sum() > 5000
    other[inside] = [30, 220, 20]
    np.testing.assert_array_equal(
        match_colours(rendered, Rim.of(other, mask)), match_colours(rendered, Rim.of(skin, mask))
    )


def test_what_lies_outside_the_mask_has_no_say(skin: Image, mask: Array) -> None:
    rendered, other = shifted(skin, np.array([8.0, 8.0, 8.0])), skin.copy()
    outside = cv2.dilate(mask, NEIGHBOURS) == 0
    assert outside.sum() > 5000
    other[outside] = [0, 0, 255]
    black = rendered.copy()
    black[outside] = 0
    under = mask > 0
    wanted = match_colours(rendered, Rim.of(skin, mask))[under]
    np.testing.assert_array_equal(match_colours(rendered, Rim.of(other, mask))[under], wanted)
    np.testing.assert_array_equal(match_colours(black, Rim.of(skin, mask))[under], wanted)


def test_another_thing_at_the_edge_is_not_taken_for_skin(skin: Image, mask: Array) -> None:
    rendered, collar = shifted(skin, np.array([6.0, 6.0, 6.0])), skin.copy()
    bottom = np.flatnonzero((mask > 0).any(axis=1))[-1]
    collar[bottom - 12 :] = 255 - skin[bottom - 12 :] // 2
    assert np.abs(collar[bottom - 5].astype(float) - rendered[bottom - 5]).max(axis=-1).min() > SAME_PLACE
    above = mask * (np.arange(SIZE)[:, None] < bottom - 40)
    assert error(match_colours(rendered, Rim.of(collar, mask)), skin, above) < 1.2


def test_what_differs_beside_the_light_is_bounded(skin: Image, mask: Array) -> None:
    dark = mask * (np.arange(SIZE) < SIZE // 3) > 0
    rendered = shifted(skin, np.where(dark, -(MOST_SHIFT + SAME_PLACE) / 2, 0)[..., None])
    assert MOST_SHIFT < (MOST_SHIFT + SAME_PLACE) / 2 < SAME_PLACE
    change = match_colours(rendered, Rim.of(skin, mask)).astype(int) - rendered
    assert change.max() <= MOST_SHIFT + 1
    assert change[dark & (mask > 0.02) & (mask < 0.5)].mean() > MOST_SHIFT / 2


@pytest.mark.parametrize("light", [(0.03, 0.03, 0.03), (0.15, 0.15, 0.15), (1.0, 0.4, 0.25), (1.3, 1.3, 1.3)])
def test_the_mouth_takes_the_light_of_its_rim(skin: Image, mask: Array, light: tuple[float, float, float]) -> None:
    """Lips darker and teeth brighter than skin stay so in any light; none of them glows in the dark."""
    rendered = skin.copy()
    rendered[120:150, 110:150], rendered[150:160, 110:150] = (150, 70, 70), (235, 230, 220)
    wanted = np.clip(rendered * np.array(light), 0, 255)
    lit = np.clip(skin * np.array(light), 0, 255).astype(np.uint8)
    matched = match_colours(rendered, Rim.of(lit, mask))
    ring = (mask > 0.1) & (mask < 0.9)
    assert np.abs(matched[ring].mean(axis=0) - lit[ring].mean(axis=0)).max() < 1
    assert np.abs(matched - wanted)[120:160, 110:150].mean() < 4


@pytest.mark.parametrize("light", [1.0, 0.15])
def test_what_is_behind_the_face_stays(skin: Image, mask: Array, light: float) -> None:
    """Where the mask reaches beyond the face, the rendered skin does not cover what is there."""
    lit = (light * skin).astype(np.uint8)
    source, right = lit.copy(), np.flatnonzero((mask > 0).any(axis=0))[-1]
    source[:, right - 16 :] = 0
    kept = keep_other_things(lit, Rim.of(source, mask), mask)
    assert (kept <= mask + 1e-6).all()
    assert kept[:, right - 10 :].max() < 0.1
    np.testing.assert_array_equal(kept[:, : right - 45], mask[:, : right - 45])
    np.testing.assert_array_equal(keep_other_things(lit, Rim.of(lit, mask), mask), mask)


def test_light_is_a_gain_of_each_channel(skin: Image) -> None:
    np.testing.assert_allclose(relit(skin, np.array([0.5, 1, 1.2], np.float32)), skin * [0.5, 1, 1.2], atol=0.51)
    assert relit(skin, np.ones(3, np.float32)) is skin


def test_an_empty_mask_changes_nothing(skin: Image) -> None:
    rendered = shifted(skin, np.full(3, 9.0))
    np.testing.assert_array_equal(match_colours(rendered, Rim.of(skin, np.zeros((SIZE, SIZE), np.float32))), rendered)


def blended(picture: Image, patch: Patch) -> Image:
    out = picture.astype(np.float32)
    rows = slice(patch.top, patch.top + patch.mask.shape[0])
    columns = slice(patch.left, patch.left + patch.mask.shape[1])
    share = patch.mask[..., None]
    out[rows, columns] = share * patch.pixels + (1 - share) * out[rows, columns]
    return out.round().astype(np.uint8)


def check_fits(patch: Patch, width: int, height: int) -> None:
    assert patch.pixels.dtype == np.uint8
    assert patch.pixels.shape == (*patch.mask.shape, 3)
    assert patch.mask.min() >= 0
    assert patch.mask.max() <= 1
    assert patch.left >= 0
    assert patch.top >= 0
    assert patch.left + patch.mask.shape[1] <= width
    assert patch.top + patch.mask.shape[0] <= height


@pytest.mark.parametrize("scale, roll", [(70, 0.0), (140, 0.3), (220, -0.7)])
def test_a_crop_comes_back_to_its_place(mask: Array, scale: float, roll: float) -> None:
    width, height = 640, 480
    picture = smooth_picture(height, width, 3)
    transform = crop_transform(pose_of((0, 0, roll), scale, (330.3, 190.8)))
    patch = to_image(warp(picture, transform), mask, transform, width, height)
    assert patch is not None
    check_fits(patch, width, height)
    under = np.zeros((height, width), bool)
    rows, columns = (
        slice(start, start + n) for start, n in zip((patch.top, patch.left), patch.mask.shape, strict=True)
    )
    under[rows, columns] = patch.mask > 0.5
    assert under.sum() > 0.2 * scale**2
    # Where the crop is smaller than the face, it is low-passed; that is part of what is compared.
    bound = 47
    assert psnr(blended(picture, patch), picture, under) > bound
    moved = cv2.warpAffine(picture, np.array([[1, 0, 0.25], [0, 1, 0]], np.float32), (width, height))
    assert psnr(moved, picture, under) < bound, "a quarter of a pixel must show, or the test is void"


def test_the_pictures_rest_is_untouched(mask: Array) -> None:
    width, height = 640, 480
    picture = smooth_picture(height, width, 8)
    transform = crop_transform(pose_of((0, 0, 0.2), 130, (320, 200)))
    patch = to_image(np.full((SIZE, SIZE, 3), 255, np.uint8), mask, transform, width, height)
    assert patch is not None
    opacity = cv2.warpAffine(mask, transform, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    changed = (blended(picture, patch) != picture).any(axis=2)
    assert changed.sum() > 5000
    assert not changed[opacity == 0].any()
    found = np.zeros((height, width), np.float32)
    found[patch.top : patch.top + patch.mask.shape[0], patch.left : patch.left + patch.mask.shape[1]] = patch.mask
    np.testing.assert_allclose(found, opacity, atol=0.02)


@pytest.mark.parametrize("place", [(20, 200), (620, 200), (320, -60), (320, 430), (40, 380)])
def test_a_face_at_the_edge_is_clipped(mask: Array, place: tuple[int, int]) -> None:
    width, height = 640, 480
    picture = smooth_picture(height, width, 12)
    transform = crop_transform(pose_of((0, 0, 0.1), 120, place))
    patch = to_image(warp(picture, transform), mask, transform, width, height)
    assert patch is not None
    check_fits(patch, width, height)
    assert psnr(blended(picture, patch), picture) > 42


@pytest.mark.parametrize("place", [(-900, 200), (1600, 200), (320, -900), (320, 1500), (5, 430)])
def test_a_face_outside_gives_nothing(mask: Array, place: tuple[int, int]) -> None:
    transform = crop_transform(pose_of((0, 0, 0), 120, place))
    assert to_image(np.zeros((SIZE, SIZE, 3), np.uint8), mask, transform, 640, 480) is None


def test_an_empty_mask_gives_nothing() -> None:
    transform = crop_transform(pose_of())
    empty = np.zeros((SIZE, SIZE), np.float32)
    assert to_image(np.zeros((SIZE, SIZE, 3), np.uint8), empty, transform, 640, 480) is None
