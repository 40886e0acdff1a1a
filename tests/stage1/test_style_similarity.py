"""StyleSim: windows of any number, unit vectors, and the area under the ROC curve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from personatalk.geometry.morphable_model import MorphableModel
from personatalk.stage1.style_similarity import StyleSimilarityEncoder, auc, same_speaker


@pytest.fixture(scope="module")
def encoder(model: MorphableModel) -> StyleSimilarityEncoder:
    torch.manual_seed(0)
    encoder = StyleSimilarityEncoder(model.num_vertices, model.num_expression, dim=16, layers=1, heads=2).eval()
    encoder.set_expressions(model)
    return encoder


@pytest.mark.parametrize("frames", [25, 100, 149, 260])
def test_a_style_is_a_unit_vector_whatever_the_length(
    encoder: StyleSimilarityEncoder, model: MorphableModel, frames: int
) -> None:
    beta = np.random.default_rng(0).standard_normal((frames, model.num_expression)).astype(np.float32)
    style = encoder.embed(beta)
    assert style.shape == (16,)
    assert np.linalg.norm(style) == pytest.approx(1, abs=1e-5)
    assert np.abs(style - encoder.embed(3 * beta)).max() > 1e-3


def test_vertices_in_the_first_layer_are_linear_in_the_expressions(
    encoder: StyleSimilarityEncoder, model: MorphableModel
) -> None:
    beta = torch.randn(1, 5, model.num_expression)
    offsets = torch.from_numpy(model.offsets(beta[0].numpy())).flatten(1)
    embedded = encoder.embed_vertices(100 * offsets) + encoder.place[:5]
    with torch.inference_mode():
        wanted = torch.nn.functional.normalize(encoder.norm(encoder.encoder(embedded[None])).mean(dim=1), dim=-1)
        torch.testing.assert_close(encoder(beta), wanted, atol=1e-4, rtol=1e-3)


def test_save_and_load(encoder: StyleSimilarityEncoder, model: MorphableModel, tmp_path: Path) -> None:
    encoder.save(tmp_path / "style.safetensors")
    read = StyleSimilarityEncoder.load(tmp_path / "style.safetensors")
    beta = np.random.default_rng(1).standard_normal((60, model.num_expression)).astype(np.float32)
    np.testing.assert_allclose(read.embed(beta), encoder.embed(beta), atol=1e-2)


def test_pairs_are_told_apart_by_their_speakers() -> None:
    styles = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
    same, different = same_speaker(styles, ["a", "a", "b"])
    np.testing.assert_allclose(same, [0.8])
    np.testing.assert_allclose(different, [0, 0.6])
    assert auc(same, different) == 1


def test_auc_counts_pairs_in_the_right_order() -> None:
    assert auc(np.array([0.9, 0.8]), np.array([0.1, 0.2, 0.85])) == pytest.approx(5 / 6)
    assert auc(np.array([0.5]), np.array([0.5])) == pytest.approx(0.5)
