"""Attention over the keys that can matter, against attention over all of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.synthetic import face_in_crop, psnr, smooth_picture

from personatalk.geometry.morphable_model import MorphableModel
from personatalk.stage2 import sparse_attention
from personatalk.stage2.attention import GeometricAttention
from personatalk.stage2.geometry_map import geometry_map
from personatalk.stage2.keys import CODE_SIZE, Keys
from personatalk.stage2.renderer import Renderer
from personatalk.stage2.runtime import RendererRuntime


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
    got = sparse_attention.sparse_attend(learned, places + np.float32(apart), keys, key_places, values)
    np.testing.assert_allclose(got, plain(learned, places + apart, keys, key_places, values), atol=2e-2)
    assert np.abs(got).max() > 0.1


@pytest.mark.parametrize(("opening", "turn"), [(0.1, (0.1, 0.5, 0.1)), (0.0, (0.1, 0.2, 0.0)), (0.12, (0.1, 0.3, 0))])
def test_the_shipped_renderer_loses_nothing(
    model: MorphableModel, opening: float, turn: tuple[float, float, float]
) -> None:
    """A picture made with all keys and one made with the near ones; the queries are those of a real renderer."""
    network, size = Renderer.load(), 256
    sparse, dense = RendererRuntime(network), RendererRuntime(network, sparse=False)
    faces = [face_in_crop(model, size, gap, (0.1, gap + 0.2, 0)) for gap in (0.1, 0.05, 0.15, 0.2, 0.3)]
    # Turned further than any reference, and shut.
    faces.insert(0, face_in_crop(model, size, opening, turn))
    maps = [geometry_map(model, vertices, size) for vertices in faces]
    crops = [smooth_picture(size, size, 1, seed) for seed in range(5)]
    target, *references = maps
    known = sparse.encode(crops, references)
    fast, slow = (renderer.render(target, known, known[:2]) for renderer in (sparse, dense))
    inside = target.face.numpy() > 0
    assert psnr(fast, slow, inside) > 50
    assert slow[inside].std() > 5


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e20])
def test_numbers_that_cannot_be_sorted_take_the_long_way(bad: float) -> None:
    attention = GeometricAttention(8, 4, 0.7, 1.0).eval()
    attention.sparse = True
    latent, code, where = torch.randn(1, 8, 4, 4), torch.randn(1, CODE_SIZE, 4, 4), torch.ones(1, 4, 4).bool()
    with torch.no_grad():
        queries, keys = attention.queries(latent, code, where), attention.keys(latent, code, where)
        keys.place[3, 2] = bad
        assert attention(queries, keys, torch.randn(16, 8)).shape == (16, 8)
        none = Keys.unpack(keys.pack()[:0])
        assert attention(queries, none, torch.randn(0, 8)).shape == (16, 8)
