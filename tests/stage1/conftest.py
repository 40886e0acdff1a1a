"""A small untrained geometry generator, and what it is asked with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.generator import SMALLER

from personatalk.geometry.morphable_model import MorphableModel
from personatalk.stage1.network import GeometryGenerator
from personatalk.utils.arrays import Array


@pytest.fixture(scope="module")
def network(model: MorphableModel) -> GeometryGenerator:
    torch.manual_seed(0)
    network = GeometryGenerator(model.num_vertices, model.num_expression, SMALLER, dim=64, layers=2).eval()
    network.set_expressions(model)
    return network


@pytest.fixture(scope="module")
def style() -> Array:
    return torch.randn(1, 64, generator=torch.Generator().manual_seed(0)).numpy()


@pytest.fixture(scope="module")
def template(model: MorphableModel) -> Array:
    alpha = np.random.default_rng(0).standard_normal(model.num_identity).astype(np.float32)
    return model.shape(alpha) - model.mean
