"""Stage 2 as the dubbing uses it: ONNX graphs on a device of one's choice, from many threads, without PyTorch.

Work that cannot show in the result is left out: only the target's latent cells under the mask are queries, only the
cells of a reference's lower face are keys, each reference is encoded once, and keys whose share of the attention is
negligible are left out. The tests hold the result against the paper's formula on full grids.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..utils.arrays import Array, BoolArray, Image
from ..utils.graphs import Graphs
from ..utils.serialization import packaged
from . import sparse_attention
from .geometry_map import CELL_SIZE, ArrayMap
from .place_code import CODE_SIZE
from .reference_cells import SIDES, Cells, Reference
from .regions import Box, bounding_box, pixel_box

# Kind and version of the weights file.
KIND, VERSION = "renderer", 2
# Names of the graphs.
POSITIONS, REFERENCE, QUERY, DECODE = "positions", "reference", "query", "decode"
# Cells by which the computed box is wider than the region: for the encoders' field of view, and so that the decoder
# sees the geometry around the mask.
BOX_MARGIN = 2
# The box's sides are multiples of so many cells.
BOX_MULTIPLE = 4


class RendererRuntime:
    """Encodes references and renders faces.

    Args:
        path: Weights of the renderer; None for the package's own.
        device: Name of a device; see `devices.choose_device`.
        sparse: Leave out keys whose share of the attention is negligible.

    Attributes:
        digest: Tells the weights from others.
        graphs: The ONNX graphs.

    Raises:
        PersonaTalkError: See `Graphs`.
    """

    def __init__(self, path: Path | str | None = None, device: str = "auto", sparse: bool = True) -> None:
        path = packaged("stage2.safetensors") if path is None else path
        names = [POSITIONS, REFERENCE, QUERY, DECODE]
        self.graphs = Graphs(path, names, kind=KIND, version=VERSION, device=device, parallel=True)
        config, self.digest, self.sparse = self.graphs.config, self.graphs.digest, sparse
        self.size, self.channels = int(config["size"]), int(config["channels"])
        units = self.graphs.constants(QUERY)
        self._units = {side: np.array(units[side], np.float32) for side in SIDES}
        self._positions: dict[int, list[Array]] = {}

    def encode(self, crops: Sequence[Image], maps: Sequence[ArrayMap]) -> list[Reference]:
        """Encode reference frames, in numbers that float16 holds.

        References that a persona keeps are then equal to those that are encoded anew.

        Args:
            crops: Face crops, uint8 (S, S, 3).
            maps: Their geometry.
        """
        return [self._encoded(crop, drawn) for crop, drawn in zip(crops, maps, strict=True)]

    def _encoded(self, crop: Image, drawn: ArrayMap) -> Reference:
        box = bounding_box(drawn.region | (drawn.lips > 0), BOX_MARGIN, BOX_MULTIPLE)
        found = self.graphs.run(
            REFERENCE,
            texture=np.ascontiguousarray(crop[pixel_box(box)]),
            region=np.ascontiguousarray(drawn.region[box]),
            **self._geometry(drawn, box),
        )
        sides = []
        for side, (keys, values, mask) in zip(SIDES, (found[:3], found[3:]), strict=True):
            sides.append(Cells(keys[mask], self._places(drawn, box, mask, side), values[mask]).rounded())
        return Reference(*sides)

    def _places(self, drawn: ArrayMap, box: Box, chosen: BoolArray, side: str) -> Array:
        """Return the place codes (K, 9) of chosen cells of a box in standard deviations of an attention's Gaussian."""
        code = drawn.code[:, box[0], box[1]].reshape(CODE_SIZE, -1)
        return np.ascontiguousarray(code[:, chosen].T * self._units[side])

    def render(self, target: ArrayMap, lips: Sequence[Reference], faces: Sequence[Reference]) -> Image:
        """Render one face, uint8 (S, S, 3); only the part under its mask is computed, the rest is 0.

        Args:
            target: The target geometry.
            lips: Lip references.
            faces: Face references.
        """
        box = bounding_box(target.region, BOX_MARGIN, BOX_MULTIPLE)
        inputs, region = self._geometry(target, box), target.region[box].ravel()
        *queries, lip_share = self.graphs.run(QUERY, **inputs)
        latent = np.zeros((len(region), self.channels), np.float32)
        parts = ((lips, lip_share.ravel()), (faces, 1 - lip_share.ravel()))
        for side, learned, (references, share) in zip(SIDES, queries, parts, strict=True):
            chosen = region & (share > 0)
            if chosen.any():
                known: list[Cells] = [getattr(reference, side) for reference in references]
                attended = self._attend(learned[chosen], self._places(target, box, chosen, side), known)
                latent[chosen] += attended * share[chosen, None]
        image = np.zeros((*target.face.shape, 3), np.uint8)
        (image[pixel_box(box)],) = self.graphs.run(DECODE, latent=latent, geometry=inputs["geometry"])
        return image

    def _geometry(self, drawn: ArrayMap, box: Box) -> dict[str, Any]:
        """Return what the graphs of references and queries know of the geometry in a box."""
        rows, columns = pixel_box(box)
        positions = zip(SIDES, self._all_positions(len(drawn.lips)), strict=True)
        return {
            "geometry": np.ascontiguousarray(drawn.image[:, rows, columns]),
            "lips": np.ascontiguousarray(drawn.lips[box]),
            **{f"{side}_positions": grid[box].reshape(-1, self.channels) for side, grid in positions},
        }

    def _all_positions(self, size: int) -> list[Array]:
        """Return the positional embeddings of both attentions for a grid of `size` cells a side, (size, size, C)."""
        if size not in self._positions:
            trained = self.size // CELL_SIZE
            places = np.clip((np.arange(size) + 0.5) * (trained / size) - 0.5, 0, trained - 1).astype(np.float32)
            found = self.graphs.run(POSITIONS, rows=places, columns=places)
            self._positions[size] = [grid.reshape(size, size, -1).copy() for grid in found]
        return self._positions[size]

    def _attend(self, learned: Array, places: Array, known: list[Cells]) -> Array:
        """Return what the known cells answer to queries, (Q, C)."""
        if self.sparse and sparse_attention.supports(learned, places):
            index = Cells.sort(known)
            if index is not None:
                return sparse_attention.sparse_attend(learned, places, index)
        return dense_attend(learned, places, Cells.merge(known))


def dense_attend(learned: Array, places: Array, known: Cells) -> Array:
    """Attend to all keys: the definition of `sparse_attention.sparse_attend`, for numbers that cannot be sorted."""
    if not len(known):
        return np.zeros((len(learned), known.values.shape[1]), np.float32)
    # |a - b|^2 / 2 = |a|^2 / 2 - a b + |b|^2 / 2; the first term is the same for all keys and drops out.
    scores = learned @ known.keys.T + places @ known.places.T - np.square(known.places).sum(axis=1) / 2
    weight = np.exp(scores - scores.max(axis=1, keepdims=True))
    mixed: Array = (weight / weight.sum(axis=1, keepdims=True)) @ known.values
    return mixed
