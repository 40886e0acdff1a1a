"""Geometric attention: a target's geometry finds the texture of the same place in references (paper, section 3.2)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..utils.arrays import Array
from . import sparse_attention
from .sparse_attention import PLACE


class GeometricAttention(nn.Module):
    """Cross-attention from target geometry to reference geometry and texture, softmax(Q K^T / sqrt(D)) V.

    Queries and keys hold the projected geometry latents with learnable positional embeddings and, beside them, the
    matching code, so weighted that at the start the attention is a Gaussian over the code: the renderer then begins
    with warped references instead of a grey mean face.

    Args:
        channels: Latent size C.
        grid: Side of the grid of the positional embeddings; they are resampled for other crops.
        width: Standard deviation of that Gaussian in cells.
        sharpness: Factor on the scores outside training. There are five times as many lip references then, and an
            attention that spreads over all that fit blurs teeth and skin.
    """

    def __init__(self, channels: int, grid: int, width: float, sharpness: float) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.query, self.key = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.value, self.out = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.position = nn.Parameter(0.02 * torch.randn(channels, grid, grid))
        self.log_precision = nn.Parameter(torch.full((PLACE,), -2.0 * float(np.log(width))))
        for layer in (self.query, self.key):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        for layer in (self.value, self.out):
            nn.init.eye_(layer.weight)
            nn.init.zeros_(layer.bias)

    def queries(self, latent: torch.Tensor, code: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        """Queries of the chosen cells: latent (C, h, w), code (9, h, w), bool (h, w) to (Q, D)."""
        with _full_precision(latent):
            learned = self.query(self._placed(latent, where))
        scaled = code.flatten(1).T[where.flatten()] * self.log_precision.exp()
        # |a - b|^2 / 2 = |a|^2 / 2 - a b + |b|^2 / 2; the first term is the same for all keys and drops out.
        joined = torch.cat([learned, scaled, torch.ones_like(scaled[:, :1])], dim=1)
        return joined if self.training else self.sharpness * joined

    def keys(self, latent: torch.Tensor, code: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        """Keys of the chosen cells, (K, D)."""
        with _full_precision(latent):
            learned = self.key(self._placed(latent, where))
        chosen = code.flatten(1).T[where.flatten()]
        norm = (chosen.square() * self.log_precision.exp()).sum(dim=1, keepdim=True) / 2
        return torch.cat([learned, chosen, -norm], dim=1)

    def values(self, texture: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        """Values of the chosen cells, (K, C)."""
        with _full_precision(texture):
            projected: torch.Tensor = self.value(texture.permute(1, 2, 0)[where].float())
        return projected

    def forward(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """(Q, D), (K, D), (K, C) to (Q, C). The scale 1 / sqrt(D) is part of the learned weights."""
        if queries.device.type == "cpu" and not self.training and not torch.is_grad_enabled():
            parts = self._parts(queries, keys)
            if sparse_attention.supports(*parts):
                with _full_precision(queries):
                    mixed = torch.from_numpy(sparse_attention.sparse_attend(*parts, _plain(values)))
                    near: torch.Tensor = self.out(mixed)
                return near
        return self.dense(queries, keys, values)

    def dense(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """`forward` over all keys."""
        # The fused kernel wants keys and values of one width, and never holds the whole weight matrix.
        filled = nn.functional.pad(values, (0, keys.shape[1] - values.shape[1]))
        with _full_precision(queries):
            mixed = nn.functional.scaled_dot_product_attention(
                queries[None, None], keys[None, None], filled[None, None], scale=1.0
            )
            attended: torch.Tensor = self.out(mixed[0, 0, :, : values.shape[1]])
        return attended

    def _parts(self, queries: torch.Tensor, keys: torch.Tensor) -> tuple[Array, Array, Array, Array]:
        """Learned parts and places of queries and keys, as `nearest.attend` takes them."""
        learned = self.query.out_features
        # The root of what multiplies |a - b|^2 / 2 in the scores is the unit of the places; queries hold its square.
        unit = (self.sharpness * self.log_precision.exp()).sqrt()
        places = queries[:, learned : learned + PLACE] / unit
        key_places = keys[:, learned : learned + PLACE] * unit
        return _plain(queries[:, :learned]), _plain(places), _plain(keys[:, :learned]), _plain(key_places)

    def _placed(self, latent: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        """Latents and positional embeddings of the chosen cells, (N, C)."""
        position: torch.Tensor = self.position
        if position.shape[1:] != latent.shape[1:]:
            position = nn.functional.interpolate(
                position[None], latent.shape[1:], mode="bilinear", align_corners=False
            )[0]
        return latent.permute(1, 2, 0)[where].float() + position.permute(1, 2, 0)[where]


def _plain(tensor: torch.Tensor) -> Array:
    array: Array = tensor.contiguous().numpy()
    return array


def _full_precision(like: torch.Tensor) -> torch.autocast:
    """Keep mixed precision out of the attention: the code's squares need more digits than bfloat16 has."""
    return torch.autocast(like.device.type, enabled=False)
