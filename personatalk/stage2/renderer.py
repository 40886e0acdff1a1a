"""Stage 2: dual-attention face rendering (paper, section 3.2).

    target geometry ------> geometry encoder --> queries --.
    reference geometries -> geometry encoder --> keys -----+--> Lip-Attention, Face-Attention --> decoder --> face
    reference textures ---> texture encoder ---> values ---'

Work that cannot show in the result is left out: of the target only the latent cells under the mask ask, of a
reference only the cells of its lower face answer, and each reference is encoded once. `Renderer.render_reference`
does all of it, plainly, on full grids; tests hold the two against each other.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..geometry import masks
from ..utils import serialization
from .attention import GeometricAttention
from .geometry_map import STRIDE, GeometryMap

REACH = 2
"""Cells from which a latent cell takes what it is."""
CONTEXT = 1
"""Cells by which the mask is grown before the queries are chosen, for the decoder's convolutions at its edge."""


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
    """Latent and target geometry, concatenated, through two upsampling convolutions to a picture [paper].

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
    """One encoded reference: keys and values of both attentions, only of the cells that may answer."""

    lip_keys: torch.Tensor
    lip_values: torch.Tensor
    face_keys: torch.Tensor
    face_values: torch.Tensor


def merge_references(references: Sequence[Reference]) -> Reference:
    """References as one that answers for all of them."""
    if len(references) == 1:
        return references[0]
    return Reference(*(torch.cat([getattr(r, f.name) for r in references]) for f in fields(Reference)))


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
        grid = size // STRIDE
        self.use_lip, self.use_face, self.channels = use_lip, use_face, channels
        self.geometry_encoder, self.texture_encoder = Encoder(channels), Encoder(channels)
        self.lip_attention = GeometricAttention(channels, grid, 0.7, sharpness)
        self.face_attention = GeometricAttention(channels, grid, 0.7, sharpness)
        self.decoder = Decoder(channels, width)
        self._casts: dict[nn.Module, tuple[list[tuple[int, int]], nn.Module]] = {}
        # The order in memory in which processors do convolutions fastest.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def sharpen(self, sharpness: float) -> None:
        """Set the factor on the attention's scores outside training."""
        self.config["sharpness"] = sharpness
        for attention in (self.lip_attention, self.face_attention):
            attention.sharpness = sharpness

    def encode_references(self, textures: torch.Tensor, maps: list[GeometryMap]) -> list[Reference]:
        """Encode reference frames: crops (N, 3, S, S) in 0..1 and their geometry."""
        region = torch.stack([self.query_mask(m) | (m.lips > 0) for m in maps]).any(dim=0)
        latents = self._encoded(self.geometry_encoder, torch.stack([m.pncc for m in maps]), region)
        pictures = self._encoded(self.texture_encoder, textures, region)
        return [self._reference(g, t, m) for g, t, m in zip(latents, pictures, maps, strict=True)]

    @torch.inference_mode()
    def encode_frozen(self, crops: list[npt.NDArray[np.uint8]], maps: list[GeometryMap]) -> list[Reference]:
        """`encode_references` for crops uint8 (S, S, 3), without gradients, in numbers that float16 holds.

        References that a persona keeps are then the same as those that are encoded anew.
        """
        with fast_convolutions():
            found = self.encode_references(torch.stack([to_tensor(crop) for crop in crops]), maps)
        return [self._halved(reference) for reference in found]

    def _halved(self, reference: Reference) -> Reference:
        """A reference in half precision, but for the places of its keys."""
        for keys in (reference.lip_keys, reference.face_keys):
            keys[:, : self.channels] = keys[:, : self.channels].half()
        lips, faces = (values.half().float() for values in (reference.lip_values, reference.face_values))
        return replace(reference, lip_values=lips, face_values=faces)

    def _encoded(self, encoder: Encoder, pictures: torch.Tensor, region: torch.Tensor) -> torch.Tensor:
        """Latents (N, C, h, w) of pictures (N, 3, S, S), right in a region of cells (h, w)."""
        rows, columns = _box(region, REACH)
        out = pictures.new_zeros(len(pictures), self.channels, *region.shape)
        out[:, :, rows, columns] = self._cast(encoder)(pictures[:, :, _pixels(rows), _pixels(columns)] - 0.5)
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
        """Cells of a reference that Lip- and Face-Attention may take texture from."""
        region = self.query_mask(drawn)
        lip = drawn.lips > 0 if self.use_face else region
        # "The rest" [paper]: the face without its lips, whose words are the old ones.
        return lip, (region & (drawn.lips < 0.5) if self.use_lip else region)

    def query_mask(self, drawn: GeometryMap) -> torch.Tensor:
        """Cells under the mask and next to it, bool (S/4, S/4): the others' latents are 0."""
        under = masks.cells(drawn.face.cpu().numpy(), drawn.code.shape[1]) > 0
        return torch.from_numpy(masks.grow(under, CONTEXT)).to(drawn.face.device)

    def sample(
        self, target: GeometryMap, lip_references: list[Reference], face_references: list[Reference]
    ) -> torch.Tensor:
        """Dual attention: the latent (C, S/4, S/4) of the target, 0 where nothing asks."""
        region = self.query_mask(target)
        latent = self._encoded(self.geometry_encoder, target.pncc[None], region)[0]
        share = self._lip_share(target)
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

    def _lip_share(self, target: GeometryMap) -> torch.Tensor:
        """M_lip, or all or nothing of it under the ablations."""
        if not self.use_lip:
            return torch.zeros_like(target.lips)
        return target.lips if self.use_face else torch.ones_like(target.lips)

    def decode(self, latents: torch.Tensor, geometries: torch.Tensor) -> torch.Tensor:
        """Latents (B, C, h, w) and geometries (B, 3, 4h, 4w) to pictures (B, 3, 4h, 4w) in 0..1 (not clipped)."""
        small = nn.functional.avg_pool2d(geometries, STRIDE) - 0.5
        joined = torch.cat([latents, small], dim=1).contiguous(memory_format=torch.channels_last)
        picture: torch.Tensor = self._cast(self.decoder)(joined) + 0.5
        return picture

    def _cast(self, part: nn.Module) -> nn.Module:
        """A part in bfloat16 where convolutions are to be done so, cast once and not at each use."""
        if torch.is_grad_enabled() or not torch.is_autocast_enabled("cpu") or not next(part.parameters()).is_cpu:
            return part
        # Where numbers lie, and how often they were written, tells weights that have changed; "inference tensors" count
        # no writing.
        state = [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in part.parameters()]
        if part not in self._casts or self._casts[part][0] != state:
            self._casts[part] = (state, copy.deepcopy(part).bfloat16())
        return self._casts[part][1]

    def forward(self, targets: list[GeometryMap], lips: list[Reference], faces: list[Reference]) -> torch.Tensor:
        """Render targets that share their references, (B, 3, S, S); right under each target's mask only."""
        latents = torch.stack([self.sample(target, lips, faces) for target in targets])
        return self.decode(latents, torch.stack([target.pncc for target in targets]))

    @torch.inference_mode()
    def render(self, target: GeometryMap, lips: list[Reference], faces: list[Reference]) -> npt.NDArray[np.uint8]:
        """Render one face, uint8 (S, S, 3); only the part under its mask is computed, the rest is 0."""
        # A little wider than what asks, so that the decoder sees the geometry around the mask's edge.
        rows, columns = _box(self.query_mask(target), 2)
        with fast_convolutions():
            latent = self.sample(target, lips, faces)[None, :, rows, columns]
            part = self.decode(latent, target.pncc[None, :, _pixels(rows), _pixels(columns)])[0].float()
        picture = np.zeros((*target.face.shape, 3), np.uint8)
        picture[_pixels(rows), _pixels(columns)] = _to_bytes(part)
        return picture

    @torch.inference_mode()
    def render_reference(
        self,
        target: GeometryMap,
        lips: list[tuple[torch.Tensor, GeometryMap]],
        faces: list[tuple[torch.Tensor, GeometryMap]],
    ) -> npt.NDArray[np.uint8]:
        """The same face by the paper's formula on full grids, (S, S, 3), for tests.

        Args:
            target: Target geometry.
            lips: Texture (3, S, S) and geometry of each lip reference.
            faces: The same of each face reference.
        """
        query = self.geometry_encoder(target.pncc[None] - 0.5)[0]
        grid = query.shape[1:]
        everywhere = torch.ones(grid, dtype=torch.bool)
        sampled = []
        for attention, chosen, kind in (
            (self.lip_attention, lips, 0),
            (self.face_attention, faces, 1),
        ):
            keys, values, bias = [], [], []
            for texture, drawn in chosen:
                latent = self.geometry_encoder(drawn.pncc[None] - 0.5)[0]
                keys.append(attention.keys(latent, drawn.code, everywhere))
                values.append(attention.values(self.texture_encoder(texture[None] - 0.5)[0], everywhere))
                bias.append(torch.where(self.key_mask(drawn)[kind].flatten(), 0.0, -torch.inf))
            scores = attention.queries(query, target.code, everywhere) @ torch.cat(keys).T + torch.cat(bias)
            mixed = attention.out(torch.softmax(scores, dim=1) @ torch.cat(values))
            sampled.append(mixed.T.reshape(-1, *grid))
        share = self._lip_share(target)
        dual = (sampled[0] * share + sampled[1] * (1 - share)) * self.query_mask(target)
        return _to_bytes(self.decode(dual[None], target.pncc[None])[0])


def fast_convolutions() -> torch.autocast:
    """Convolutions in bfloat16 where the processor has instructions for it: a grey level of difference at most."""
    return torch.autocast("cpu", torch.bfloat16, enabled=_has_bfloat16())


def _has_bfloat16() -> bool:
    # PyTorch has no public word for it; where the private one is gone, float32 is right too.
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def to_tensor(crop: npt.NDArray[np.uint8]) -> torch.Tensor:
    """A crop uint8 (S, S, 3) as float32 (3, S, S) in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1))).float() / 255


def _to_bytes(picture: torch.Tensor) -> npt.NDArray[np.uint8]:
    scaled = (picture.clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(1, 2, 0).numpy())


def _scatter(rows: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Rows (Q, C) to the chosen cells of a grid of zeros, (C, h, w)."""
    grid = rows.new_zeros(where.numel(), rows.shape[1])
    grid = grid.index_put((where.flatten().nonzero()[:, 0],), rows)
    return grid.T.reshape(-1, *where.shape)


def _box(where: torch.Tensor, margin: int) -> tuple[slice, slice]:
    """Rows and columns around a region of a grid; all of it where the region is empty."""
    sides = []
    for axis, size in enumerate(where.shape):
        inside = where.any(dim=1 - axis).nonzero()[:, 0].tolist() or [0, size - 1]
        sides.append(slice(max(0, inside[0] - margin), min(size, inside[-1] + 1 + margin)))
    return sides[0], sides[1]


def _pixels(cells: slice) -> slice:
    return slice(cells.start * STRIDE, cells.stop * STRIDE)
