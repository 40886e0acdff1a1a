"""The renderer as the dubbing uses it: on the processor, without gradients, from many threads."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ..utils.arrays import Image
from .geometry_map import GeometryMap
from .keys import Keys
from .renderer import Reference, Renderer, bounding_box, pixel_span, to_bytes, to_tensor

# Cells by which the rendered box is wider than the queries', so that the decoder sees the geometry around the mask.
BOX_MARGIN = 2


class RendererRuntime:
    """Encodes references and renders faces. It holds its own copy of the network and never changes it.

    Args:
        renderer: The trained network.
        dtype: Type of the convolutions; by default `fastest_dtype`. The attention is computed in float32 always.
        sparse: Leave out keys whose share of the attention is negligible.
    """

    def __init__(self, renderer: Renderer, dtype: torch.dtype | None = None, sparse: bool = True) -> None:
        self.dtype = dtype or fastest_dtype()
        self.network = network = copy.deepcopy(renderer).eval().requires_grad_(False)
        for part in (network.geometry_encoder, network.texture_encoder, network.decoder):
            part.to(self.dtype)
        for attention in (network.lip_attention, network.face_attention):
            attention.sparse = sparse

    @torch.inference_mode()
    def encode(self, crops: Sequence[Image], maps: list[GeometryMap]) -> list[Reference]:
        """Encode reference frames, in numbers that float16 holds.

        References that a persona keeps are then equal to those that are encoded anew.

        Args:
            crops: Face crops, uint8 (S, S, 3).
            maps: Their geometry.
        """
        with self._mixed_precision():
            encoded = self.network.encode_references(torch.stack([to_tensor(crop) for crop in crops]), maps)
        return [_rounded(reference) for reference in encoded]

    @torch.inference_mode()
    def render(self, target: GeometryMap, lips: list[Reference], faces: list[Reference]) -> Image:
        """Render one face, uint8 (S, S, 3); only the part under its mask is computed, the rest is 0.

        Args:
            target: The target geometry.
            lips: Lip references.
            faces: Face references.
        """
        box = bounding_box(target.region, BOX_MARGIN)
        with self._mixed_precision():
            part = self.network([target], lips, faces, box)[0]
        image = np.zeros((*target.face.shape, 3), np.uint8)
        image[pixel_span(box[0]), pixel_span(box[1])] = to_bytes(part.float())
        return image

    def _mixed_precision(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == torch.bfloat16)


def fastest_dtype() -> torch.dtype:
    """Return bfloat16 where the processor has instructions for it, which costs a grey level at most, else float32."""
    # PyTorch has no public function for it; where the private one is gone, float32 is right too.
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.bfloat16 if supported else torch.float32


def _rounded(reference: Reference) -> Reference:
    """Return a reference rounded to half precision, but for the places of its keys."""
    return Reference(
        _rounded_keys(reference.lip_keys),
        _half(reference.lip_values),
        _rounded_keys(reference.face_keys),
        _half(reference.face_values),
    )


def _rounded_keys(keys: Keys) -> Keys:
    return replace(keys, learned=_half(keys.learned))


def _half(numbers: torch.Tensor) -> torch.Tensor:
    return numbers.half().float()
