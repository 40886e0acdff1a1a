"""Tables of frames to train stage 2 on: face crops and drawn geometry, and boxes cut from them.

A table is small where frames are read when they are needed, and holds whole data sets where they fit on the device that
trains, so that it never waits. About 0.95 MB a frame of 256 x 256 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ..geometry.camera import CROP_SIZE, project_into_crop
from ..geometry.morphable_model import MorphableModel
from ..stage2.geometry_map import CELL_SIZE, ArrayMap, geometry_map
from .data.shards import Clip, IndexEntry

# The channels of the drawn geometry are kept as bytes, (value + SHIFT) * SCALE; 0 stays 0 exactly.
SHIFT = (0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.5, 0.0)
SCALE = (255.0, 255.0, 255.0, 255.0, 255.0, 127.0, 100.0, 255.0)
# Frames that a process hands over at once while a table is filled.
CHUNK = 16


@dataclass(frozen=True)
class Views:
    """N frames for each of B windows, cut to a box for each window.

    Attributes:
        images: Face crops, (B, N, 3, 4h, 4w) in 0..1.
        geometry: Drawn geometry, (B, N, 8, 4h, 4w).
        codes: Place codes, (B, N, 9, h, w).
        lips: M_lip, (B, N, h, w).
        faces: Lower-face region with a soft edge, (B, N, 4h, 4w).
        regions: Its cells, bool (B, N, h, w).
        start: First row and column of each box in the crop's cells, (B, 2).
        grid: Cells of a side of the whole crop.
    """

    images: torch.Tensor
    geometry: torch.Tensor
    codes: torch.Tensor
    lips: torch.Tensor
    faces: torch.Tensor
    regions: torch.Tensor
    start: torch.Tensor
    grid: int


@dataclass(frozen=True)
class FrameTable:
    """Frames as bytes where bytes will do; see `Views`, and `stage2.geometry_map.GeometryMap`.

    Attributes:
        images: uint8 (F, 3, S, S).
        geometry: uint8 (F, 8, S, S); see `SHIFT` and `SCALE`.
        codes: float32 (F, 9, S/4, S/4).
        lips: float32 (F, S/4, S/4).
        faces: uint8 (F, S, S), 255 for 1.
        regions: bool (F, S/4, S/4).
    """

    images: torch.Tensor
    geometry: torch.Tensor
    codes: torch.Tensor
    lips: torch.Tensor
    faces: torch.Tensor
    regions: torch.Tensor

    @property
    def grid(self) -> int:
        """Cells of a side of a crop."""
        return self.lips.shape[-1]

    @classmethod
    def of(cls, images: torch.Tensor, maps: Sequence[ArrayMap]) -> FrameTable:
        """Return a table of crops, uint8 (F, 3, S, S), and their geometry."""
        shift, scale = (np.array(x, np.float32)[:, None, None] for x in (SHIFT, SCALE))

        def stacked(name: str) -> torch.Tensor:
            return torch.from_numpy(np.stack([getattr(drawn, name) for drawn in maps]))

        geometry = np.stack([((drawn.image + shift) * scale + 0.5).astype(np.uint8) for drawn in maps])
        faces = (stacked("face") * 255).round().byte()
        return cls(images, torch.from_numpy(geometry), stacked("code"), stacked("lips"), faces, stacked("region"))

    @classmethod
    def cat(cls, tables: Sequence[FrameTable]) -> FrameTable:
        """Return all frames in one table, in order."""
        return cls(*(torch.cat([getattr(table, field.name) for table in tables]) for field in fields(cls)))

    def views(self, frames: torch.Tensor, start: torch.Tensor, size: tuple[int, int]) -> Views:
        """Cut boxes.

        Args:
            frames: Numbers of N frames for each of B windows, (B, N).
            start: First row and column of each window's box, in cells, (B, 2); all of it lies in the crop.
            size: Rows and columns of the boxes, in cells.
        """
        pixels, cells = (CELL_SIZE * start, (CELL_SIZE * size[0], CELL_SIZE * size[1])), (start, size)
        shift, scale = (torch.tensor(x, device=start.device)[:, None, None] for x in (SHIFT, SCALE))
        return Views(
            cut(self.images, frames, *pixels) / 255,
            cut(self.geometry, frames, *pixels) / scale - shift,
            cut(self.codes, frames, *cells),
            cut(self.lips[:, None], frames, *cells)[:, :, 0],
            cut(self.faces[:, None], frames, *pixels)[:, :, 0] / 255,
            cut(self.regions[:, None], frames, *cells)[:, :, 0],
            start,
            self.grid,
        )


def cut(grids: torch.Tensor, numbers: torch.Tensor, start: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Cut boxes from grids (F, C, H, W) by number (B, N) and first row and column (B, 2), to (B, N, C, h, w)."""
    rows, columns = (
        start[:, axis, None] + torch.arange(length, device=start.device) for axis, length in enumerate(size)
    )
    found = grids[numbers[:, :, None, None], :, rows[:, None, :, None], columns[:, None, None, :]]
    return found.permute(0, 1, 4, 2, 3)


def read_frames(model: MorphableModel, clip: Clip, frames: Sequence[int], size: int) -> FrameTable:
    """Return frames of a clip at S pixels, 256 or a whole fraction of it."""
    images = torch.from_numpy(np.stack([clip.crops[int(i)].transpose(2, 0, 1) for i in frames]))
    if images.shape[-1] != size:
        images = nn.functional.avg_pool2d(images.float(), CROP_SIZE // size).round().byte()
    maps = []
    for frame in frames:
        vertices = project_into_crop(model.vertices(clip.alpha, clip.beta[frame]), clip.pose[frame], size)
        maps.append(geometry_map(model, vertices, size))
    return FrameTable.of(images, maps)


def read_all(
    model: MorphableModel, entries: Sequence[IndexEntry], size: int, device: torch.device, workers: int
) -> FrameTable:
    """Return all frames of clips in one table on a device, clip after clip."""
    chunks = _Chunks(model, entries, size)
    parts = DataLoader(chunks, batch_size=None, num_workers=workers, prefetch_factor=1 if workers else None)
    whole: FrameTable | None = None
    done, total = 0, sum(entry.frames for entry in entries)
    for part in parts:
        if whole is None:
            whole = FrameTable(*(_room(getattr(part, f.name), total, device) for f in fields(FrameTable)))
        stop = done + len(part.images)
        for field in fields(FrameTable):
            getattr(whole, field.name)[done:stop] = getattr(part, field.name).to(device)
        done = stop
    assert whole is not None
    return whole


def _room(like: torch.Tensor, count: int, device: torch.device) -> torch.Tensor:
    return torch.empty(count, *like.shape[1:], dtype=like.dtype, device=device)


class _Chunks(Dataset[FrameTable]):
    """The frames of clips, a few at a time."""

    def __init__(self, model: MorphableModel, entries: Sequence[IndexEntry], size: int) -> None:
        self.model, self.entries, self.size = model, entries, size
        self.places = [(i, start) for i, entry in enumerate(entries) for start in range(0, entry.frames, CHUNK)]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> FrameTable:
        index, start = self.places[number]
        entry = self.entries[index]
        clip = entry.load()
        return read_frames(self.model, clip, range(start, min(entry.frames, start + CHUNK)), self.size)
