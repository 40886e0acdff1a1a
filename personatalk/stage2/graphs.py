"""The parts of the renderer that dubbing runs as graphs.

Each works on a single face, in a box of the latent grid. Tables have a row for each cell of the box, row by row. The
positional embeddings are a graph of their own, since they are the same for every face. The value of a key has passed
the attention's last layer already: the shares of the keys add up to 1, so that it may come before their sum.
"""

from __future__ import annotations

import torch
from torch import nn

from ..utils.export import GraphSpec
from .attention import GeometricAttention
from .geometry_map import CELL_SIZE, NUM_CHANNELS, GeometryMap
from .place_code import CODE_SIZE
from .reference_cells import SIDES
from .renderer import Renderer, TensorMap
from .runtime import DECODE, POSITIONS, QUERY, REFERENCE


class RendererPart(nn.Module):
    """A part of the renderer."""

    def __init__(self, network: Renderer) -> None:
        super().__init__()
        self.network = network

    def latent_rows(self, geometry: torch.Tensor) -> torch.Tensor:
        """Return the latents (h * w, C) of a box of drawn geometry, (G, 4h, 4w)."""
        return _rows(self.network.geometry_encoder(geometry[None]))

    def drawn(self, geometry: torch.Tensor, lips: torch.Tensor, region: torch.Tensor) -> TensorMap:
        """Return the geometry map of a box; place codes and the soft mask are not needed."""
        nothing = torch.zeros(CODE_SIZE, 1, 1)
        return GeometryMap(geometry, nothing, lips, nothing[0], region)


class PositionPart(RendererPart):
    """The positional embeddings of both attentions in a box."""

    def forward(self, rows: torch.Tensor, columns: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the embeddings (h * w, C) of Lip- and of Face-Attention.

        Args:
            rows: Places of the box's rows on the grid of the embeddings, (h,).
            columns: Places of its columns, (w,).
        """
        grids = (self.network.lip_attention.position, self.network.face_attention.position)
        return tuple(_rows(_between(_between(grid, rows, 1), columns, 2)[None]) for grid in grids)


class ReferencePart(RendererPart):
    """Keys and values of both attentions, and the cells that may be attended to."""

    def forward(
        self,
        texture: torch.Tensor,
        geometry: torch.Tensor,
        lips: torch.Tensor,
        region: torch.Tensor,
        lip_positions: torch.Tensor,
        face_positions: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Encode a reference.

        Args:
            texture: uint8 (4h, 4w, 3).
            geometry: The drawn geometry, (G, 4h, 4w).
            lips: Share of the lips in each cell, (h, w).
            region: Cells under the mask, bool (h, w).
            lip_positions: Positional embeddings of the Lip-Attention, (h * w, C).
            face_positions: Those of the Face-Attention.

        Returns:
            Keys (h * w, C), values (h * w, C) and chosen cells, bool (h * w,), of Lip- and then of Face-Attention.
        """
        network, latents = self.network, self.latent_rows(geometry)
        image = texture.permute(2, 0, 1)[None].float() / 255
        textured = _rows(network.texture_encoder(image - 0.5))
        found = []
        chosen = network.key_mask(self.drawn(geometry, lips, region))
        attentions = network.lip_attention, network.face_attention
        for attention, mask, places in zip(attentions, chosen, (lip_positions, face_positions), strict=True):
            found += [attention.key(latents + places), _answers(attention, textured), mask.flatten()]
        return tuple(found)


class QueryPart(RendererPart):
    """Queries of both attentions, and the share of Lip-Attention."""

    def forward(
        self, geometry: torch.Tensor, lips: torch.Tensor, lip_positions: torch.Tensor, face_positions: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Return the queries (h * w, C) of Lip- and Face-Attention and the share (h, w); see `ReferencePart`."""
        network, latents = self.network, self.latent_rows(geometry)
        attentions = network.lip_attention, network.face_attention
        queries = [
            attention.sharpness * attention.query(latents + places)
            for attention, places in zip(attentions, (lip_positions, face_positions), strict=True)
        ]
        return *queries, network.lip_share(self.drawn(geometry, lips, lips > 0))


class DecodePart(RendererPart):
    """The decoder, to bytes."""

    def forward(self, latent: torch.Tensor, geometry: torch.Tensor) -> torch.Tensor:
        """Decode latents (h * w, C) and drawn geometry (G, 4h, 4w) to an image, uint8 (4h, 4w, 3)."""
        height, width = geometry.shape[1] // CELL_SIZE, geometry.shape[2] // CELL_SIZE
        grid = latent.reshape(1, height, width, -1).permute(0, 3, 1, 2)
        image = self.network.decode(grid, geometry[None])[0].permute(1, 2, 0)
        return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def renderer_graphs(network: Renderer) -> list[GraphSpec]:
    """Return the graphs of a renderer."""
    rows, columns, pixels = 10, 12, (10 * CELL_SIZE, 12 * CELL_SIZE)
    geometry = torch.rand(NUM_CHANNELS, *pixels)
    texture = torch.zeros(*pixels, 3, dtype=torch.uint8)
    lips, region = torch.rand(rows, columns), torch.ones(rows, columns, dtype=torch.bool)
    box = {"rows": torch.arange(rows).float(), "columns": torch.arange(columns).float()}
    positions = {f"{side}_positions": torch.rand(rows * columns, network.channels) for side in SIDES}
    high, cells = {1: "height", 2: "width"}, {0: "rows", 1: "columns"}
    sizes = {
        "texture": {0: "height", 1: "width"},
        "geometry": high,
        "lips": cells,
        "region": cells,
        "rows": {0: "rows"},
        "columns": {0: "columns"},
        "lip_positions": {0: "cells"},
        "face_positions": {0: "cells"},
    }
    sides = {"lip": network.lip_attention, "face": network.face_attention}
    return [
        GraphSpec(POSITIONS, PositionPart(network), box, list(positions), {name: sizes[name] for name in box}),
        GraphSpec(
            REFERENCE,
            ReferencePart(network),
            {"texture": texture, "geometry": geometry, "lips": lips, "region": region, **positions},
            [f"{side}_{table}" for side in sides for table in ("keys", "values", "mask")],
            {name: axes for name, axes in sizes.items() if name not in box},
            reduced=True,
        ),
        GraphSpec(
            QUERY,
            QueryPart(network),
            {"geometry": geometry, "lips": lips, **positions},
            [*(f"{side}_queries" for side in sides), "share"],
            {name: axes for name, axes in sizes.items() if name not in ("texture", "region", *box)},
            reduced=True,
            constants={side: attention.unit().tolist() for side, attention in sides.items()},
        ),
        GraphSpec(
            DECODE,
            DecodePart(network),
            {"latent": torch.rand(rows * columns, network.channels), "geometry": geometry},
            ["image"],
            {"latent": {0: "cells"}, "geometry": high},
            reduced=True,
            ranges=network.config["ranges"],
        ),
    ]


def _rows(grid: torch.Tensor) -> torch.Tensor:
    """Return a grid (1, C, h, w) as a table, (h * w, C)."""
    return grid.permute(0, 2, 3, 1).flatten(0, 2)


def _answers(attention: GeometricAttention, textured: torch.Tensor) -> torch.Tensor:
    """Return the values (K, C) of texture latents (K, C), through the attention's last layer; both layers in one."""
    value, out = attention.value, attention.out
    return textured @ (out.weight @ value.weight).T + (out.weight @ value.bias + out.bias)


def _between(grid: torch.Tensor, places: torch.Tensor, axis: int) -> torch.Tensor:
    """Return a grid at places along an axis."""
    below = places.floor()
    share = (places - below).reshape([-1 if axis == other else 1 for other in range(grid.ndim)])
    low, high = (torch.clamp(below + step, max=grid.shape[axis] - 1).long() for step in (0, 1))
    return (1 - share) * grid.index_select(axis, low) + share * grid.index_select(axis, high)
