"""Batches of windows, and the renderer on whole batches.

What `stage2.renderer` says plainly for one window is computed here for many at once, as GPUs like it; the tests hold
one against the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..stage2.attention import GeometricAttention
from ..stage2.geometry_map import CELL_SIZE, GeometryMap
from ..stage2.keys import Keys
from ..stage2.renderer import ENCODER_REACH, Encoder, Renderer
from ..utils.arrays import IntArray
from .frames import FrameTable, Views, cut
from .windows import Window

# Height and width of the boxes, as shares of the crop's side: the mouth alone, and the generated region whole, which
# reaches down to the crop's edge.
MOUTH_BOX, FACE_BOX = (0.375, 0.5), (1.0, 0.875)
# Cells by which the references' box is larger than the mouth's.
REFERENCE_MARGIN = 3
# Cells at the edge of the mouth's box that are not judged: the decoder lacks their neighbours.
EDGE = 2
# A score that leaves a key no share.
NEVER = -1e6


@dataclass(frozen=True)
class Batch:
    """Windows of one kind.

    Attributes:
        lips: Lip references.
        faces: Face references.
        targets: The targets. The references' and the targets' boxes are wider by `margin` cells than what is rendered,
            for the encoders.
        margin: Those cells.
        mouth: Whether the boxes hold the mouth alone.
    """

    lips: Views
    faces: Views
    targets: Views
    margin: int
    mouth: bool

    @property
    def rendered(self) -> Views:
        """The targets within the box that is rendered."""
        return inner(self.targets, self.margin)


def make_batches(windows: Sequence[Window], resident: FrameTable | None) -> Iterator[Batch]:
    """Put windows of each kind together.

    Args:
        windows: The windows.
        resident: The table that they are numbered by; None where they bring their own.
    """
    for mouth in (False, True):
        chosen = [window for window in windows if window.mouth == mouth]
        if chosen:
            yield _batch(chosen, resident)


def _batch(windows: Sequence[Window], resident: FrameTable | None) -> Batch:
    tables = [window.table for window in windows if window.table is not None]
    table = FrameTable.cat(tables) if resident is None else resident
    sizes = [len(own.lips) for own in tables] if resident is None else [0] * len(windows)
    first, device = np.cumsum([0, *sizes[:-1]]), table.lips.device

    def numbers(parts: Sequence[IntArray]) -> torch.Tensor:
        return torch.from_numpy(np.stack([part + start for part, start in zip(parts, first, strict=True)])).to(device)

    lips, faces, targets, others = (
        numbers([getattr(window, name) for window in windows]) for name in ("lips", "faces", "targets", "others")
    )
    mouth, grid = windows[0].mouth, table.grid
    size = [round(grid * share) for share in (MOUTH_BOX if mouth else FACE_BOX)]
    grown = [min(grid, side + 2 * (REFERENCE_MARGIN if mouth else 0)) for side in size]
    margin = min(ENCODER_REACH, (grid - max(grown)) // 2)
    weights = table.lips[targets[:, 0]]
    if not mouth:
        weights = table.regions[torch.cat([lips, faces, targets, others], dim=1)].any(dim=1).float()

    def views(frames: torch.Tensor, sides: Sequence[int]) -> Views:
        wide = (sides[0] + 2 * margin, sides[1] + 2 * margin)
        return table.views(frames, _start(weights, wide), wide)

    asked, beside = views(targets, size), views(others, size)
    asked = replace(asked, faces=torch.maximum(asked.faces, beside.faces), regions=asked.regions | beside.regions)
    tint = torch.from_numpy(np.stack([window.tint for window in windows])).to(device)[:, None, :, None, None]

    def tinted(frames: Views) -> Views:
        return replace(frames, images=(frames.images * tint).clamp(0, 1))

    return Batch(tinted(views(lips, grown)), tinted(views(faces, grown)), tinted(asked), margin, mouth)


def _start(weights: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return first row and column (B, 2) of boxes in the grid, in the middle of what weighs something, (B, h, w)."""
    starts = []
    for axis, side in enumerate(size):
        some = (weights > 0).any(dim=2 - axis)
        length = some.shape[1]
        places = torch.arange(length, device=weights.device)
        low = torch.where(some, places, length - 1).amin(dim=1)
        high = torch.where(some, places, 0).amax(dim=1)
        starts.append(((low + high + 1 - side) // 2).clamp(0, length - side))
    return torch.stack(starts, dim=1)


def inner(views: Views, margin: int) -> Views:
    """Return views without so many cells at every edge."""
    if not margin:
        return views
    cells, pixels = slice(margin, -margin), slice(margin * CELL_SIZE, -margin * CELL_SIZE)
    fine, coarse = ("images", "geometry", "faces"), ("codes", "lips", "regions")
    inside = {name: getattr(views, name)[..., pixels, pixels] for name in fine}
    inside |= {name: getattr(views, name)[..., cells, cells] for name in coarse}
    return replace(views, **inside, start=views.start + margin)


def judged(batch: Batch) -> torch.Tensor:
    """Return the share in which pixels are judged, (B, T, 4h, 4w): the generated region within the box."""
    faces = batch.rendered.faces
    if not batch.mouth:
        return faces
    edge = EDGE * CELL_SIZE
    inside = torch.zeros_like(faces)
    inside[..., edge:-edge, edge:-edge] = 1
    return faces * inside


def render_batch(network: Renderer, batch: Batch) -> torch.Tensor:
    """Render the targets within their boxes, (B, T, 3, 4h, 4w)."""
    rendered, margin = batch.rendered, batch.margin
    latents = encoded(network.geometry_encoder, batch.targets.geometry, margin)
    share = network.lip_share(_map(rendered))[:, :, None]
    out = torch.zeros_like(latents, dtype=torch.float32)
    sides = (
        (network.lip_attention, batch.lips, rendered.regions & (share[:, :, 0] > 0), share),
        (network.face_attention, batch.faces, rendered.regions & (share[:, :, 0] < 1), 1 - share),
    )
    for number, (attention, references, where, part) in enumerate(sides):
        known = inner(references, margin)
        keys = encoded(network.geometry_encoder, references.geometry, margin)
        textures = encoded(network.texture_encoder, references.images - 0.5, margin)
        mask = network.key_mask(_map(known, flat=True))[number].reshape(known.lips.shape)
        attended = _attended(attention, (latents, rendered, where), (keys, known, mask), textures)
        out = out + attended * part
    images = network.decode(out.flatten(0, 1), rendered.geometry.flatten(0, 1))
    return images.float().reshape(*latents.shape[:2], *images.shape[1:])


def encoded(encoder: Encoder, images: torch.Tensor, margin: int) -> torch.Tensor:
    """Return latents (B, N, C, h, w) of images (B, N, any, ...), without `margin` cells at every edge."""
    flat = encoder(images.flatten(0, 1))
    found = flat.reshape(*images.shape[:2], *flat.shape[1:])
    return found[..., margin:-margin, margin:-margin] if margin else found


def _map(views: Views, flat: bool = False) -> GeometryMap[torch.Tensor]:
    """Return the views' geometry; `flat` puts all windows' frames one after the other."""
    tables = (views.geometry, views.codes, views.lips, views.faces, views.regions)
    return GeometryMap(*(table.flatten(0, 1) if flat else table for table in tables))


Side = tuple[torch.Tensor, Views, torch.Tensor]


def _attended(attention: GeometricAttention, asked: Side, known: Side, textures: torch.Tensor) -> torch.Tensor:
    """Attend from the asked cells to the known ones of the same window, (B, N, C, h, w) of zeros elsewhere."""
    places, here = _chosen(asked[2])
    others, there = _chosen(known[2])
    queries = attention.query_rows(*_rows(attention, asked, places))
    keys = attention.key_rows(*_rows(attention, known, others))
    keys = Keys(keys.learned, keys.place, keys.norm.masked_fill(~there[..., None], NEVER))
    values = attention.value_rows(_table(textures, others))
    attended = attention(queries, keys, values) * here[..., None]
    latents = asked[0]
    out = attended.new_zeros(len(latents), asked[2][0].numel(), latents.shape[2])
    out = out.scatter(1, places[..., None].expand_as(attended), attended)
    return out.reshape(*asked[2].shape, -1).permute(0, 1, 4, 2, 3)


def _chosen(where: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the places of the cells that are chosen, bool (B, N, h, w), and which of them are: (B, M) each.

    Windows with fewer of them than others fill up with cells that are not.
    """
    flat = where.flatten(1)
    most = max(1, int(flat.sum(dim=1).max()))
    places = flat.byte().argsort(dim=1, descending=True, stable=True)[:, :most]
    return places, flat.gather(1, places)


def _rows(attention: GeometricAttention, side: Side, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return latents with positional embeddings, and place codes, of cells by their places, (B, M, any) each."""
    latents, views, _ = side
    height, width = latents.shape[-2:]
    grid = attention.positions(views.grid)
    position = cut(grid[None], torch.zeros_like(views.start[:, :1]), views.start, (height, width))
    placed = latents.float() + position
    return _table(placed, places), _table(views.codes, places)


def _table(grids: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return cells (B, M, C) of grids (B, N, C, h, w) by their places."""
    rows = grids.permute(0, 1, 3, 4, 2).flatten(1, 3)
    return rows.gather(1, places[..., None].expand(-1, -1, rows.shape[2]))
