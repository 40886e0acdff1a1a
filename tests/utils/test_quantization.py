"""Convolutions in 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.exported import exported

from personatalk.stage2.renderer import Renderer
from personatalk.stage2.runtime import DECODE, RendererRuntime
from personatalk.training.ranges import observed_ranges

pytest.importorskip("openvino")


def decoded(weights: Path, device: str, latent: torch.Tensor, geometry: torch.Tensor) -> np.ndarray:
    graphs = RendererRuntime(weights, device).graphs
    rows = latent.flatten(1).T.contiguous().numpy()
    (image,) = graphs.run(DECODE, latent=rows, geometry=geometry.numpy())
    return image.astype(np.float32)


def test_the_decoder_in_8_bits_is_near_and_knows_its_ranges(tmp_path: Path) -> None:
    """Numbers within the ranges give nearly the image of float32; ranges that are too narrow cut them off."""
    torch.manual_seed(0)
    network = Renderer(channels=16, width=16, size=32)
    latent, geometry = torch.randn(16, 6, 8), torch.rand(8, 24, 32)
    with torch.no_grad(), observed_ranges(network, network.roundable()) as ranges:
        network.decode(latent[None], geometry[None])
    assert set(ranges) == set(network.roundable())
    assert ranges["decoder.low.0"][0] == pytest.approx(float(latent.min()), abs=1e-3)
    assert ranges["decoder.low.0"][1] == pytest.approx(float(latent.max()), abs=1e-3)
    errors = []
    for number, factor in enumerate((1.0, 0.2)):
        network.config["ranges"] = {name: [low * factor, high * factor] for name, (low, high) in ranges.items()}
        weights = exported(network, tmp_path / str(number))
        exact, rounded = (decoded(weights, device, latent, geometry) for device in ("cpu", "openvino"))
        errors.append(float(np.sqrt(np.mean((exact - rounded) ** 2))))
    assert exact.std() > 3
    assert 0 < errors[0] < 1 < errors[1]
