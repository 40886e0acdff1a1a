"""The renderer by the paper's formula, on full grids and over all keys."""

from __future__ import annotations

import numpy as np
import torch

from personatalk.stage2.geometry_map import ArrayMap, GeometryMap
from personatalk.stage2.renderer import Renderer, TensorMap
from personatalk.utils.arrays import Image


@torch.inference_mode()
def render_by_formula(
    network: Renderer,
    target: TensorMap,
    lips: list[tuple[torch.Tensor, TensorMap]],
    faces: list[tuple[torch.Tensor, TensorMap]],
) -> Image:
    """Render one face, (S, S, 3).

    Args:
        network: The renderer.
        target: Target geometry.
        lips: Texture (3, S, S) and geometry of each lip reference.
        faces: The same of each face reference.
    """
    query = network.geometry_encoder(target.image[None])
    grid = query.shape[2:]
    everywhere = torch.ones(1, *grid, dtype=torch.bool)
    sampled = []
    for attention, chosen, kind in ((network.lip_attention, lips, 0), (network.face_attention, faces, 1)):
        keys, values, bias = [], [], []
        for texture, drawn in chosen:
            latent = network.geometry_encoder(drawn.image[None])
            keys.append(attention.keys(latent, drawn.code[None], everywhere).pack())
            values.append(attention.values(network.texture_encoder(texture[None] - 0.5), everywhere))
            bias.append(torch.where(network.key_mask(drawn)[kind].flatten(), 0.0, -torch.inf))
        scores = attention.queries(query, target.code[None], everywhere).pack() @ torch.cat(keys).T + torch.cat(bias)
        mixed = attention.out(torch.softmax(scores, dim=1) @ torch.cat(values))
        sampled.append(mixed.T.reshape(-1, *grid))
    share = network.lip_share(target)
    dual = (sampled[0] * share + sampled[1] * (1 - share)) * target.region
    return to_bytes(network.decode(dual[None], target.image[None])[0])


def map_tensors(drawn: ArrayMap) -> TensorMap:
    """Return a geometry map as tensors."""
    return GeometryMap(**{name: torch.from_numpy(grid) for name, grid in vars(drawn).items()})


def to_tensor(crop: Image) -> torch.Tensor:
    """Convert a crop uint8 (S, S, 3) to float32 (3, S, S) in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1))).float() / 255


def to_bytes(image: torch.Tensor) -> Image:
    """Convert an image (3, h, w) in 0..1 to uint8 (h, w, 3); other values are clipped."""
    scaled = (image.clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(1, 2, 0).numpy())
