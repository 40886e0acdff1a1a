"""Attention over the keys that can matter, against attention over all of them."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.synthetic import face_in_crop, psnr, smooth_picture

from personatalk.geometry.morphable_model import MorphableModel
from personatalk.stage2 import sparse_attention
from personatalk.stage2.geometry_map import geometry_map
from personatalk.stage2.place_code import CODE_SIZE
from personatalk.stage2.reference_cells import Cells
from personatalk.stage2.runtime import RendererRuntime, dense_attend


def plain(
    learned: np.ndarray, places: np.ndarray, keys: np.ndarray, key_places: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """The definition of `sparse_attend`."""
    distance = ((places[:, None] - key_places[None]) ** 2).sum(axis=2)
    scores = learned @ keys.T - distance / 2
    weight = np.exp(scores - scores.max(axis=1, keepdims=True))
    mixed: np.ndarray = (weight / weight.sum(axis=1, keepdims=True)) @ values
    return mixed


@pytest.mark.parametrize(("span", "apart"), [(2.0, 0.0), (60.0, 0.0), (60.0, 300.0)], ids=["one", "many", "far"])
def test_few_keys_say_what_all_say(span: float, apart: float) -> None:
    """With all keys in one bucket, in many, and far from every query."""
    random = np.random.default_rng(0)
    learned, keys = (0.5 * random.normal(size=(n, 16)).astype(np.float32) for n in (200, 3000))
    places, key_places = (span * random.random((n, 9)).astype(np.float32) for n in (200, 3000))
    # Cells of a face lie on a surface, not in nine dimensions.
    places[:, 2:], key_places[:, 2:] = 0, 0
    values = random.normal(size=(3000, 8)).astype(np.float32)
    index = sparse_attention.KeyIndex.of(
        [keys[:7], keys[7:]], [key_places[:7], key_places[7:]], [values[:7], values[7:]]
    )
    assert index is not None
    got = sparse_attention.sparse_attend(learned, places + np.float32(apart), index)
    np.testing.assert_allclose(got, plain(learned, places + apart, keys, key_places, values), atol=2e-2)
    assert np.abs(got).max() > 0.1


@pytest.mark.parametrize(("opening", "turn"), [(0.1, (0.1, 0.5, 0.1)), (0.0, (0.1, 0.2, 0.0)), (0.12, (0.1, 0.3, 0))])
def test_the_shipped_renderer_loses_nothing(
    model: MorphableModel, opening: float, turn: tuple[float, float, float]
) -> None:
    """A picture made with all keys and one made with the near ones; the queries are those of a real renderer."""
    size = 256
    sparse, dense = (RendererRuntime(device="cpu", sparse=near) for near in (True, False))
    faces = [face_in_crop(model, size, gap, (0.1, gap + 0.2, 0)) for gap in (0.1, 0.05, 0.15, 0.2, 0.3)]
    # Turned further than any reference, and shut.
    faces.insert(0, face_in_crop(model, size, opening, turn))
    maps = [geometry_map(model, vertices, size) for vertices in faces]
    crops = [smooth_picture(size, size, 1, seed) for seed in range(5)]
    target, *references = maps
    known = sparse.encode(crops, references)
    fast, slow = (renderer.render(target, known, known[:2]) for renderer in (sparse, dense))
    inside = target.face > 0
    assert psnr(fast, slow, inside) > 50
    assert slow[inside].std() > 5


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e20])
def test_numbers_that_cannot_be_sorted_are_told(bad: float) -> None:
    random = np.random.default_rng(0)
    learned, keys = (random.normal(size=(n, 16)).astype(np.float32) for n in (20, 30))
    places, key_places = (random.random((n, CODE_SIZE)).astype(np.float32) for n in (20, 30))

    def sorted_out() -> bool:
        index = sparse_attention.KeyIndex.of([keys], [key_places], [keys])
        return index is not None and sparse_attention.supports(learned, places)

    assert sorted_out()
    assert sparse_attention.KeyIndex.of([keys[:0]], [key_places[:0]], [keys[:0]]) is None
    for table in (learned, places, keys, key_places):
        kept, table[3, 2] = table[3, 2], bad
        assert not sorted_out() or abs(bad) < np.inf
        table[3, 2] = kept


def test_the_long_way_is_the_definition() -> None:
    random = np.random.default_rng(0)
    learned, keys = (random.normal(size=(n, 16)).astype(np.float32) for n in (20, 30))
    places, key_places = (random.random((n, CODE_SIZE)).astype(np.float32) for n in (20, 30))
    known = Cells(keys, key_places, random.normal(size=(30, 8)).astype(np.float32))
    got = dense_attend(learned, places, known)
    np.testing.assert_allclose(got, plain(learned, places, keys, key_places, known.values), atol=1e-4)
    nothing = Cells(keys[:0], key_places[:0], known.values[:0])
    assert not dense_attend(learned, places, nothing).any()
