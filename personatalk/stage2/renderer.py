"""Stage 2: dual-attention face rendering (paper, section 3.2).

    target geometry ------> geometry encoder --> queries --.
    reference geometries -> geometry encoder --> keys -----+--> Lip-Attention, Face-Attention --> decoder --> face
    reference textures ---> texture encoder ---> values ---'

Work that cannot show in the result is left out: only the target's latent cells under the mask are queries, only the
cells of a reference's lower face are keys, and each reference is encoded once. The tests hold the result against the
paper's formula on full grids. `stage2.runtime` renders single faces fast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..geometry import masks
from ..utils import serialization
from ..utils.arrays import Image
from .attention import GeometricAttention
from .geometry_map import CELL_SIZE, GeometryMap
from .keys import PACKED_PLACE, Keys

# Radius in cells of the neighbourhood of which an encoder makes a latent cell.
ENCODER_REACH = 2
# Cells by which the mask is grown before the queries are chosen, for the decoder's convolutions at its edge.
CONTEXT = 1
# Standard deviation in cells of the Gaussian with which the attention begins.
ATTENTION_WIDTH = 0.7


class Encoder(nn.Sequential):
    """Two downsampling convolutions, 3 x S x S to C x S/4 x S/4 [paper]."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(3, channels // 2, 5, stride=2, padding=2),
            nn.SiLU(),
            nn.Conv2d(channels // 2, channels, 5, stride=2, padding=2),
        )


class Residual(nn.Module):
    """Two convolutions around which the input passes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        last = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        self.layers = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.SiLU(), last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) to the same."""
        changed: torch.Tensor = x + self.layers(x)
        return changed


class Decoder(nn.Sequential):
    """Latent and target geometry, concatenated, through two upsampling convolutions to an image [paper].

    The residual blocks between them are ours.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(
            nn.Conv2d(channels + 3, width, 3, padding=1),
            Residual(width),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.PixelShuffle(2),
            nn.SiLU(),
            Residual(width // 2),
            nn.SiLU(),
            nn.Conv2d(width // 2, width, 3, padding=1),
            nn.PixelShuffle(2),
            nn.SiLU(),
            nn.Conv2d(width // 4, 3, 3, padding=1),
        )


@dataclass(frozen=True)
class Reference:
    """One encoded reference: keys and values of both attentions, only of the cells that may be attended to.

    Attributes:
        lip_keys: Keys of the Lip-Attention.
        lip_values: Their values, (K, C).
        face_keys: Keys of the Face-Attention.
        face_values: Their values, (L, C).
    """

    lip_keys: Keys
    lip_values: torch.Tensor
    face_keys: Keys
    face_values: torch.Tensor

    def pack(self) -> dict[str, torch.Tensor]:
        """Return the tables that files keep, by the names of the attributes."""
        return {
            "lip_keys": self.lip_keys.pack(),
            "lip_values": self.lip_values,
            "face_keys": self.face_keys.pack(),
            "face_values": self.face_values,
        }

    @classmethod
    def unpack(cls, tables: Mapping[str, torch.Tensor]) -> Reference:
        """Read what `pack` returned."""
        return cls(
            Keys.unpack(tables["lip_keys"]),
            tables["lip_values"],
            Keys.unpack(tables["face_keys"]),
            tables["face_values"],
        )

    @staticmethod
    def table_widths(channels: int) -> dict[str, int]:
        """Return names and widths of the tables of `pack`, for a renderer with so many channels."""
        keys, values = channels + PACKED_PLACE, channels
        return {"lip_keys": keys, "lip_values": values, "face_keys": keys, "face_values": values}


def merge_references(references: Sequence[Reference]) -> Reference:
    """Return one reference with the keys and values of all."""
    if len(references) == 1:
        return references[0]
    return Reference(
        Keys.merge([reference.lip_keys for reference in references]),
        torch.cat([reference.lip_values for reference in references]),
        Keys.merge([reference.face_keys for reference in references]),
        torch.cat([reference.face_values for reference in references]),
    )


class Renderer(serialization.PackagedModule):
    """The whole of stage 2.

    Args:
        channels: Latent size C.
        width: Width of the decoder.
        size: Side of the crop that it was trained for.
        use_lip: False lets Face-Attention do the lips as well (ablation "w/o Lip-Attention").
        use_face: False lets Lip-Attention do the face as well (ablation "w/o Face-Attention").
        sharpness: Factor on the attention's scores outside training.
    """

    KIND, VERSION, FILE = "renderer", 1, "stage2.safetensors"

    def __init__(
        self,
        channels: int = 64,
        width: int = 96,
        size: int = 256,
        use_lip: bool = True,
        use_face: bool = True,
        sharpness: float = 1.0,
    ) -> None:
        super().__init__()
        self.config = {
            "channels": channels,
            "width": width,
            "size": size,
            "use_lip": use_lip,
            "use_face": use_face,
            "sharpness": sharpness,
        }
        grid = size // CELL_SIZE
        self.use_lip, self.use_face, self.channels = use_lip, use_face, channels
        self.geometry_encoder, self.texture_encoder = Encoder(channels), Encoder(channels)
        self.lip_attention = GeometricAttention(channels, grid, ATTENTION_WIDTH, sharpness)
        self.face_attention = GeometricAttention(channels, grid, ATTENTION_WIDTH, sharpness)
        self.decoder = Decoder(channels, width)
        # The order in memory in which processors do convolutions fastest.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def size(self) -> int:
        """Side of the crop in pixels."""
        return int(self.config["size"])

    def sharpen(self, sharpness: float) -> None:
        """Set the factor on the attention's scores outside training."""
        self.config["sharpness"] = sharpness
        for attention in (self.lip_attention, self.face_attention):
            attention.sharpness = sharpness

    def encode_references(self, textures: torch.Tensor, maps: list[GeometryMap]) -> list[Reference]:
        """Encode reference frames.

        Args:
            textures: Face crops, (N, 3, S, S) in 0..1.
            maps: Their geometry.
        """
        region = torch.stack([self.query_mask(m) | (m.lips > 0) for m in maps]).any(dim=0)
        latents = self._encoded(self.geometry_encoder, torch.stack([m.pncc for m in maps]), region)
        textured = self._encoded(self.texture_encoder, textures, region)
        return [self._reference(g, t, m) for g, t, m in zip(latents, textured, maps, strict=True)]

    def _encoded(self, encoder: Encoder, images: torch.Tensor, region: torch.Tensor) -> torch.Tensor:
        """Return latents (N, C, h, w) of images (N, 3, S, S), right in a region of cells (h, w)."""
        rows, columns = bounding_box(region, ENCODER_REACH)
        out = images.new_zeros(len(images), self.channels, *region.shape)
        out[:, :, rows, columns] = encoder(images[:, :, pixel_span(rows), pixel_span(columns)] - 0.5)
        return out

    def _reference(self, latent: torch.Tensor, texture: torch.Tensor, drawn: GeometryMap) -> Reference:
        lip, face = self.key_mask(drawn)
        return Reference(
            self.lip_attention.keys(latent, drawn.code, lip),
            self.lip_attention.values(texture, lip),
            self.face_attention.keys(latent, drawn.code, face),
            self.face_attention.values(texture, face),
        )

    def key_mask(self, drawn: GeometryMap) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the cells of a reference that Lip- and Face-Attention take texture from, bool (S/4, S/4) each."""
        region = self.query_mask(drawn)
        lip = drawn.lips > 0 if self.use_face else region
        # "The rest" [paper]: the face without its lips, whose words are the old ones.
        return lip, (region & (drawn.lips < 0.5) if self.use_lip else region)

    def query_mask(self, drawn: GeometryMap) -> torch.Tensor:
        """Return the cells under the mask and next to it, bool (S/4, S/4): all other latents are 0."""
        under = masks.cells(drawn.face.cpu().numpy(), drawn.code.shape[1]) > 0
        return torch.from_numpy(masks.grow(under, CONTEXT)).to(drawn.face.device)

    def sample(
        self, target: GeometryMap, lip_references: list[Reference], face_references: list[Reference]
    ) -> torch.Tensor:
        """Sample the references' texture by dual attention.

        Returns:
            The latent of the target, (C, S/4, S/4), 0 outside `query_mask`.
        """
        region = self.query_mask(target)
        latent = self._encoded(self.geometry_encoder, target.pncc[None], region)[0]
        share = self.lip_share(target)
        lip, face = region & (share > 0), region & (share < 1)
        out = latent.new_zeros(self.channels, *region.shape)
        if lip.any():
            known = merge_references(lip_references)
            queries = self.lip_attention.queries(latent, target.code, lip)
            attended = self.lip_attention(queries, known.lip_keys, known.lip_values)
            out = out + _scatter(attended, lip) * share
        if face.any():
            known = merge_references(face_references)
            queries = self.face_attention.queries(latent, target.code, face)
            attended = self.face_attention(queries, known.face_keys, known.face_values)
            out = out + _scatter(attended, face) * (1 - share)
        return out

    def lip_share(self, target: GeometryMap) -> torch.Tensor:
        """Return the share of Lip-Attention in each cell, (S/4, S/4): M_lip, and 0 or 1 under the ablations."""
        if not self.use_lip:
            return torch.zeros_like(target.lips)
        return target.lips if self.use_face else torch.ones_like(target.lips)

    def decode(self, latents: torch.Tensor, geometries: torch.Tensor) -> torch.Tensor:
        """Decode latents (B, C, h, w) and PNCC maps (B, 3, 4h, 4w) to images (B, 3, 4h, 4w) in 0..1, not clipped."""
        small = nn.functional.avg_pool2d(geometries, CELL_SIZE) - 0.5
        joined = torch.cat([latents, small], dim=1).contiguous(memory_format=torch.channels_last)
        images: torch.Tensor = self.decoder(joined) + 0.5
        return images

    def forward(self, targets: list[GeometryMap], lips: list[Reference], faces: list[Reference]) -> torch.Tensor:
        """Render B targets that share their references, (B, 3, S, S), right under each target's mask only."""
        latents = torch.stack([self.sample(target, lips, faces) for target in targets])
        return self.decode(latents, torch.stack([target.pncc for target in targets]))


def to_tensor(crop: Image) -> torch.Tensor:
    """Convert a crop uint8 (S, S, 3) to float32 (3, S, S) in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1))).float() / 255


def to_bytes(image: torch.Tensor) -> Image:
    """Convert an image (3, h, w) in 0..1 to uint8 (h, w, 3); other values are clipped."""
    scaled = (image.clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(1, 2, 0).numpy())


def _scatter(rows: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Put rows (Q, C) into the chosen cells of a grid of zeros, (C, h, w)."""
    grid = rows.new_zeros(where.numel(), rows.shape[1])
    grid = grid.index_put((where.flatten().nonzero()[:, 0],), rows)
    return grid.T.reshape(-1, *where.shape)


def bounding_box(where: torch.Tensor, margin: int) -> tuple[slice, slice]:
    """Return rows and columns of the box around a region of a grid; the whole grid where the region is empty."""
    sides = []
    for axis, size in enumerate(where.shape):
        inside = where.any(dim=1 - axis).nonzero()[:, 0].tolist() or [0, size - 1]
        sides.append(slice(max(0, inside[0] - margin), min(size, inside[-1] + 1 + margin)))
    return sides[0], sides[1]


def pixel_span(cells: slice) -> slice:
    """Return the rows or columns of pixels that a span of cells covers."""
    return slice(cells.start * CELL_SIZE, cells.stop * CELL_SIZE)
