"""Geometric attention: a target's geometry finds the texture of the same place in references (paper, section 3.2)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from .keys import Keys, Queries
from .place_code import CODE_SIZE


class GeometricAttention(nn.Module):
    """Cross-attention from target geometry to reference geometry and texture, softmax(Q K^T / sqrt(D)) V.

    Queries and keys hold the projected geometry latents with learnable positional embeddings and, beside them, the
    place code, weighted so that the untrained attention is a Gaussian over the place code: the renderer begins with
    warped references instead of a grey mean face.

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
        self.log_precision = nn.Parameter(torch.full((CODE_SIZE,), -2.0 * float(np.log(width))))
        for layer in (self.query, self.key):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        for layer in (self.value, self.out):
            nn.init.eye_(layer.weight)
            nn.init.zeros_(layer.bias)

    def queries(self, latent: torch.Tensor, code: torch.Tensor, where: torch.Tensor) -> Queries:
        """Return the queries of chosen cells.

        Args:
            latent: Geometry latents, (B, C, h, w).
            code: Place codes, (B, 9, h, w).
            where: The cells, bool (B, h, w).
        """
        return self.query_rows(self._placed(latent, where), code.permute(0, 2, 3, 1)[where])

    def query_rows(self, latent: torch.Tensor, code: torch.Tensor) -> Queries:
        """Return queries of latents with their positional embeddings (..., Q, C) and place codes (..., Q, 9)."""
        with _full_precision(latent):
            learned = self.query(latent)
        place = code * self.log_precision.exp()
        # |a - b|^2 / 2 = |a|^2 / 2 - a b + |b|^2 / 2; the first term is the same for all keys and drops out.
        norm = torch.ones_like(place[..., :1])
        if self.training:
            return Queries(learned, place, norm)
        return Queries(self.sharpness * learned, self.sharpness * place, self.sharpness * norm)

    def keys(self, latent: torch.Tensor, code: torch.Tensor, where: torch.Tensor) -> Keys:
        """Return the keys of chosen cells; arguments as in `queries`."""
        return self.key_rows(self._placed(latent, where), code.permute(0, 2, 3, 1)[where])

    def key_rows(self, latent: torch.Tensor, code: torch.Tensor) -> Keys:
        """Return keys of latents with their positional embeddings (..., K, C) and place codes (..., K, 9)."""
        with _full_precision(latent):
            learned = self.key(latent)
        norm = (code.square() * self.log_precision.exp()).sum(dim=-1, keepdim=True) / 2
        return Keys(learned, code, -norm)

    def values(self, texture: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        """Return the values (K, C) of chosen cells, from texture latents (B, C, h, w)."""
        return self.value_rows(texture.permute(0, 2, 3, 1)[where])

    def value_rows(self, texture: torch.Tensor) -> torch.Tensor:
        """Return the values of texture latents, both (..., K, C)."""
        with _full_precision(texture):
            projected: torch.Tensor = self.value(texture.float())
        return projected

    def forward(self, queries: Queries, keys: Keys, values: torch.Tensor) -> torch.Tensor:
        """Attend with Q queries to K keys with values (..., K, C), to (..., Q, C).

        The scale 1 / sqrt(D) is part of the learned weights.
        """
        with _full_precision(values):
            attended: torch.Tensor = self.out(_dense(queries, keys, values))
        return attended

    def unit(self) -> torch.Tensor:
        """Return what a number of the place code is in standard deviations of the Gaussian outside training, (9,)."""
        return (self.sharpness * self.log_precision.exp()).sqrt()

    def _placed(self, latent: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        """Return latents with positional embeddings of the chosen cells, (N, C)."""
        return (latent.float() + self.positions(latent.shape[-1])).permute(0, 2, 3, 1)[where]

    def positions(self, grid: int) -> torch.Tensor:
        """Return the positional embeddings on a grid of so many cells a side, (C, grid, grid)."""
        if self.position.shape[-1] == grid:
            return self.position
        return nn.functional.interpolate(self.position[None], (grid, grid), mode="bilinear", align_corners=False)[0]


def _dense(queries: Queries, keys: Keys, values: torch.Tensor) -> torch.Tensor:
    """Attend to all keys."""
    # Plain products: on processors three times as fast as the fused kernel, whose values must be as wide as the keys.
    return torch.softmax(queries.pack() @ keys.pack().mT, dim=-1) @ values


def _full_precision(like: torch.Tensor) -> torch.autocast:
    """Keep mixed precision out of the attention: the squares of the place code need more digits than bfloat16 has."""
    return torch.autocast(like.device.type, enabled=False)
