"""Stage 2: dual-attention face rendering (paper, section 3.2).

    target geometry ------> geometry encoder --> queries --.
    reference geometries -> geometry encoder --> keys -----+--> Lip-Attention, Face-Attention --> decoder --> face
    reference textures ---> texture encoder ---> values ---'

Work that cannot show in the result is left out: only the target's latent cells under the mask are queries, only the
cells of a reference's lower face are keys, and each reference is encoded once. The tests hold the result against the
paper's formula on full grids. This is the network that is trained: `training.batches` computes the same for many
windows at once, and `stage2.runtime` renders with its graphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..utils.export import ExportedModule, GraphSpec
from .attention import GeometricAttention
from .geometry_map import CELL_SIZE, NUM_CHANNELS, GeometryMap
from .keys import Keys
from .regions import Box, bounding_box, pixel_span
from .runtime import KIND, VERSION

TensorMap = GeometryMap[torch.Tensor]

# Radius in cells of the neighbourhood of which an encoder makes a latent cell.
ENCODER_REACH = 2
# Cells by which the lip references' keys reach beyond their lips.
LIP_SEAM = 2
# Standard deviation in cells of the Gaussian with which the attention begins.
ATTENTION_WIDTH = 0.7


class Encoder(nn.Sequential):
    """Two downsampling convolutions, N x S x S to C x S/4 x S/4 [paper]."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, channels // 2, 5, stride=2, padding=2),
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


class Told(nn.Module):
    """Two convolutions around which the input passes, told the geometry at twice their resolution.

    The geometry's pixels are laid side by side as channels (pixel unshuffle), so that no edge of the lips gets lost.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels + 4 * NUM_CHANNELS, channels, 3, padding=1)
        self.last = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: torch.Tensor, geometry: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) and (B, G, 2h, 2w) to (B, C, h, w)."""
        told = torch.cat([x, nn.functional.pixel_unshuffle(geometry, 2)], dim=1)
        changed: torch.Tensor = x + self.last(nn.functional.silu(self.first(told)))
        return changed


class Decoder(nn.Module):
    """Latent and target geometry, concatenated, through two upsampling convolutions to an image [paper].

    The residual blocks between them are ours, and that geometry is told again at full resolution: at a quarter of it a
    mouth is three to five cells high.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.low = nn.Sequential(
            nn.Conv2d(channels + NUM_CHANNELS, width, 3, padding=1),
            Residual(width),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            # Before the shuffle: the same, and cheaper in the order in memory that it takes.
            nn.SiLU(),
            nn.PixelShuffle(2),
        )
        self.middle = Told(width // 2)
        self.high = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(width // 2, width, 3, padding=1),
            nn.SiLU(),
            nn.PixelShuffle(2),
            nn.Conv2d(width // 4, 3, 3, padding=1),
        )

    def forward(self, latent: torch.Tensor, geometry: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) and (B, G, 4h, 4w) to (B, 3, 4h, 4w)."""
        small = nn.functional.avg_pool2d(geometry, CELL_SIZE)
        x = self.low(torch.cat([latent, small], dim=1).contiguous(memory_format=torch.channels_last))
        image: torch.Tensor = self.high(self.middle(x, geometry.to(x.dtype)))
        return image


@dataclass(frozen=True)
class ReferenceTensors:
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


def merge_references(references: Sequence[ReferenceTensors]) -> ReferenceTensors:
    """Return one reference with the keys and values of all."""
    if len(references) == 1:
        return references[0]
    return ReferenceTensors(
        Keys.merge([reference.lip_keys for reference in references]),
        torch.cat([reference.lip_values for reference in references]),
        Keys.merge([reference.face_keys for reference in references]),
        torch.cat([reference.face_values for reference in references]),
    )


class Renderer(ExportedModule):
    """The whole of stage 2.

    Args:
        channels: Latent size C.
        width: Width of the decoder.
        size: Side of the crop that it was trained for.
        use_lip: False lets Face-Attention do the lips as well (ablation "w/o Lip-Attention").
        use_face: False lets Lip-Attention do the face as well (ablation "w/o Face-Attention").
        sharpness: Factor on the attention's scores outside training.
        ranges: Least and largest number that each convolution of the decoder is given, by its name, for processors to
            compute it in 8 bits; None where it is not known.
    """

    KIND, VERSION, FILE = KIND, VERSION, "stage2.safetensors"

    def __init__(
        self,
        channels: int = 64,
        width: int = 96,
        size: int = 256,
        use_lip: bool = True,
        use_face: bool = True,
        sharpness: float = 1.0,
        ranges: dict[str, list[float]] | None = None,
    ) -> None:
        super().__init__()
        self.config = {
            "channels": channels,
            "width": width,
            "size": size,
            "use_lip": use_lip,
            "use_face": use_face,
            "sharpness": sharpness,
            "ranges": ranges,
        }
        grid = size // CELL_SIZE
        self.use_lip, self.use_face, self.channels = use_lip, use_face, channels
        self.geometry_encoder, self.texture_encoder = Encoder(NUM_CHANNELS, channels), Encoder(3, channels)
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

    def roundable(self) -> list[str]:
        """Return the names of the convolutions that may be computed in 8 bits: of the decoder, but for the last."""
        found = [name for name, part in self.decoder.named_modules(prefix="decoder") if isinstance(part, nn.Conv2d)]
        return found[:-1]

    def encode_references(self, textures: torch.Tensor, maps: list[TensorMap]) -> list[ReferenceTensors]:
        """Encode reference frames.

        Args:
            textures: Face crops, (N, 3, S, S) in 0..1.
            maps: Their geometry.
        """
        region = torch.stack([m.region | (m.lips > 0) for m in maps]).any(dim=0)
        latents = self._encoded(self.geometry_encoder, torch.stack([m.image for m in maps]), region)
        textured = self._encoded(self.texture_encoder, textures - 0.5, region)
        return [self._reference(g, t, m) for g, t, m in zip(latents, textured, maps, strict=True)]

    def _encoded(self, encoder: Encoder, images: torch.Tensor, region: torch.Tensor) -> torch.Tensor:
        """Return latents (N, C, h, w) of images (N, any, S, S), right in a region of cells (h, w)."""
        rows, columns = bounding_box(region.cpu().numpy(), ENCODER_REACH)
        out = images.new_zeros(len(images), self.channels, *region.shape)
        out[:, :, rows, columns] = encoder(images[:, :, pixel_span(rows), pixel_span(columns)])
        return out

    def _reference(self, latent: torch.Tensor, texture: torch.Tensor, drawn: TensorMap) -> ReferenceTensors:
        lip, face = (where[None] for where in self.key_mask(drawn))
        latent, texture, code = latent[None], texture[None], drawn.code[None]
        return ReferenceTensors(
            self.lip_attention.keys(latent, code, lip),
            self.lip_attention.values(texture, lip),
            self.face_attention.keys(latent, code, face),
            self.face_attention.values(texture, face),
        )

    def key_mask(self, drawn: TensorMap) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the cells of a reference that Lip- and Face-Attention take texture from, bool (S/4, S/4) each.

        Several references may be stacked along a first axis.
        """
        # "The rest" [paper]: the face without its lips, whose words are the old ones. A seam belongs to the lips alone,
        # so that they do not shine through, and wider than the queries' share, so that these find their place.
        lips = drawn.lips > 0
        grids = (lips[None, None] if lips.ndim == 2 else lips[:, None]).float()
        grown = nn.functional.max_pool2d(grids, 2 * LIP_SEAM + 1, stride=1, padding=LIP_SEAM)
        near = (grown[0, 0] if lips.ndim == 2 else grown[:, 0]) > 0
        lip = lips | (near & drawn.region)
        return lip if self.use_face else drawn.region, drawn.region & ~lips if self.use_lip else drawn.region

    def sample(
        self,
        targets: Sequence[TensorMap],
        lip_references: list[ReferenceTensors],
        face_references: list[ReferenceTensors],
    ) -> torch.Tensor:
        """Sample the references' texture by dual attention.

        Returns:
            The latents of B targets, (B, C, S/4, S/4), 0 outside their regions.
        """
        region = torch.stack([target.region for target in targets])
        code = torch.stack([target.code for target in targets])
        share = torch.stack([self.lip_share(target) for target in targets])
        images = torch.stack([target.image for target in targets])
        latent = self._encoded(self.geometry_encoder, images, region.any(dim=0))
        out = torch.zeros_like(latent)
        if lip_references:
            known, where = merge_references(lip_references), region & (share > 0)
            queries = self.lip_attention.queries(latent, code, where)
            attended = self.lip_attention(queries, known.lip_keys, known.lip_values)
            out = out + _scatter(attended, where) * share[:, None]
        if face_references:
            known, where = merge_references(face_references), region & (share < 1)
            queries = self.face_attention.queries(latent, code, where)
            attended = self.face_attention(queries, known.face_keys, known.face_values)
            out = out + _scatter(attended, where) * (1 - share[:, None])
        return out

    def lip_share(self, target: TensorMap) -> torch.Tensor:
        """Return the share of Lip-Attention in each cell, (S/4, S/4): M_lip, and 0 or 1 under the ablations."""
        if not self.use_lip:
            return torch.zeros_like(target.lips)
        return target.lips if self.use_face else torch.ones_like(target.lips)

    def decode(self, latents: torch.Tensor, geometries: torch.Tensor) -> torch.Tensor:
        """Decode latents (B, C, h, w) and drawn geometry (B, 8, 4h, 4w) to images (B, 3, 4h, 4w), not clipped."""
        images: torch.Tensor = self.decoder(latents, geometries) + 0.5
        return images

    def graphs(self) -> list[GraphSpec]:
        """See `ExportedModule.graphs`."""
        # Imported here, since the parts are built on this module.
        from .graphs import renderer_graphs

        return renderer_graphs(self)

    def forward(
        self, targets: list[TensorMap], lips: list[ReferenceTensors], faces: list[ReferenceTensors], box: Box
    ) -> torch.Tensor:
        """Render a box of B targets that share references, (B, 3, 4h, 4w), right under each target's mask only."""
        rows, columns = box
        latents = self.sample(targets, lips, faces)[:, :, rows, columns]
        geometry = torch.stack([target.image[:, pixel_span(rows), pixel_span(columns)] for target in targets])
        return self.decode(latents, geometry)


def _scatter(rows: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Put rows (Q, C) into the chosen cells (B, h, w) of grids of zeros, (B, C, h, w)."""
    grids = rows.new_zeros(where.numel(), rows.shape[1])
    grids = grids.index_put((where.flatten().nonzero()[:, 0],), rows)
    return grids.reshape(*where.shape, -1).permute(0, 3, 1, 2)
