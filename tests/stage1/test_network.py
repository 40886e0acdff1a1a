"""Stage 1's network: its attention against the formula, its shapes, and the models that it fits."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.exported import exported
from helpers.generator import SMALLER
from helpers.synthetic import speech_like

from personatalk.audio.loudness import normalise_loudness
from personatalk.audio.voice_activity import SAMPLES_PER_FRAME
from personatalk.errors import WeightsError
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.stage1.inference import generate
from personatalk.stage1.network import GeometryGenerator, LocalAttention, TemplateAttention
from personatalk.stage1.runtime import GeometryRuntime
from personatalk.utils.arrays import Array


def slow_attention(layer: LocalAttention, query: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    """The same by the formula, one query and one head at a time; (T, D) each."""
    length, dim = query.shape
    width = dim // layer.heads
    q, k, v = layer.query(query), layer.key(memory), layer.value(memory)
    out = torch.zeros(length, dim)
    for head in range(layer.heads):
        part = slice(head * width, (head + 1) * width)
        for t in range(length):
            near = range(max(0, t - layer.reach), min(length, t + layer.reach + 1))
            scores = [q[t, part] @ k[s, part] / math.sqrt(width) + layer.bias[head, s - t + layer.reach] for s in near]
            share = torch.softmax(torch.stack(scores), dim=0)
            out[t, part] = sum(p * v[s, part] for p, s in zip(share, near, strict=True))  # type: ignore[assignment]
    return layer.out(out)


@pytest.mark.parametrize("length, reach", [(1, 3), (4, 6), (15, 3)])
def test_local_attention_equals_its_formula(length: int, reach: int) -> None:
    torch.manual_seed(1)
    layer = LocalAttention(12, 3, reach)
    layer.bias.data += 0.5 * torch.randn_like(layer.bias)
    query, memory = torch.randn(2, length, 12), torch.randn(2, length, 12)
    with torch.inference_mode():
        got = layer(query, memory)
        for row in range(2):
            torch.testing.assert_close(got[row], slow_attention(layer, query[row], memory[row]))


def test_local_attention_sees_its_reach_and_no_farther() -> None:
    torch.manual_seed(2)
    layer = LocalAttention(8, 2, 4)
    query, memory = torch.randn(1, 30, 8), torch.randn(1, 30, 8)
    other = memory.clone()
    other[0, 15] += 1
    with torch.inference_mode():
        change = (layer(query, memory) - layer(query, other)).abs().amax(dim=-1)[0]
    assert (change > 0).nonzero()[:, 0].tolist() == list(range(11, 20))


def test_template_attention_shows_the_template_at_every_frame() -> None:
    layer = TemplateAttention(6)
    query, template = torch.randn(2, 5, 6), torch.randn(2, 6)
    with torch.inference_mode():
        got = layer(query, template)
        assert got.shape == query.shape
        torch.testing.assert_close(got[1, 3], layer.out(layer.value(template[1])))


def test_one_displacement_for_every_frame(network: GeometryGenerator, model: MorphableModel) -> None:
    style, template = torch.randn(2, 64), torch.zeros(2, model.num_vertices, 3)
    with torch.inference_mode():
        got = network(torch.randn(2, 9 * SAMPLES_PER_FRAME), style, template)
    assert got.shape == (2, 9, model.num_vertices, 3)


@pytest.mark.slow
def test_attention_and_the_linear_decoder_are_averaged(network: GeometryGenerator, model: MorphableModel) -> None:
    style, template = torch.randn(1, 64), torch.zeros(1, model.num_vertices, 3)
    features = torch.randn(1, 9, 64 + model.num_expression)
    with torch.inference_mode():
        attended, linear = network.decode_each(features, style, template)
        got = network.decode_features(features, style, template)
        wider = network.linear_decoder(2 * features[..., 64:], style) - network.linear_decoder.mean(style)[:, None]
    torch.testing.assert_close(got, torch.einsum("bte,vce->btvc", (attended + linear) / 2, network.expression))
    torch.testing.assert_close(wider, 2 * (linear - network.linear_decoder.mean(style)[:, None]))
    assert not torch.allclose(attended, linear)


def test_another_mesh_is_refused(model: MorphableModel, network: GeometryGenerator) -> None:
    network.check_fits(model)
    other = GeometryGenerator(100, model.num_expression, SMALLER, dim=16, layers=1)
    with pytest.raises(WeightsError, match=f"100 vertices.*{model.num_vertices}"):
        other.check_fits(model)


def test_other_expressions_are_refused(model: MorphableModel, network: GeometryGenerator, tmp_path: Path) -> None:
    for expression in (model.expression[..., :-1], model.expression[..., ::-1].copy()):
        with pytest.raises(WeightsError, match="another morphable model"):
            network.check_fits(replace(model, expression=expression))
    network.save(tmp_path / "s.safetensors")
    GeometryGenerator.load(tmp_path / "s.safetensors").check_fits(model)


@pytest.mark.slow
def test_save_and_load(network: GeometryGenerator, style: Array, template: Array, tmp_path: Path) -> None:
    path = tmp_path / "stage1.safetensors"
    network.save(path)
    read = GeometryGenerator.load(path)
    assert not read.training
    assert read.config == network.config
    for (name, a), (_, b) in zip(network.state_dict().items(), read.state_dict().items(), strict=True):
        assert torch.equal(a.half().float() if a.is_floating_point() else a, b), name
    speech = normalise_loudness(speech_like(1))
    a, b = (generate(n, speech, 25, style, template) for n in (network, read))
    np.testing.assert_allclose(b, a, atol=1e-4)


@pytest.mark.slow
def test_the_graphs_are_the_network(network: GeometryGenerator, style: Array, template: Array) -> None:
    path = exported(network)
    runtime, network = GeometryRuntime(path, "cpu"), GeometryGenerator.load(path)
    for seconds in (0.5, 3):
        speech = normalise_loudness(speech_like(seconds))
        wanted = network.displacements(speech, style, template)
        np.testing.assert_allclose(runtime.displacements(speech, style, template), wanted, atol=1e-4)
        assert np.abs(wanted).max() > 1e-3
    offsets = 0.02 * np.random.default_rng(0).standard_normal((40, *template.shape)).astype(np.float32)
    np.testing.assert_allclose(runtime.style_of(offsets), network.style_of(offsets), atol=1e-4)
