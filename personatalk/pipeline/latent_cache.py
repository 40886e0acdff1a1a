"""Texture latents of the frames of a video, kept on the disk: face references that need no encoding.

A minute of video takes about 900 MB, so they are written and read frame by frame.
"""

from __future__ import annotations

import functools
import os
import tempfile
import threading
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..faces.analysis import Analysis
from ..media.reader import Frame, VideoReader
from ..stage2.compositing import COLOUR_GRID, coarse_colours
from ..stage2.face_crops import FaceCropper
from ..stage2.keys import PACKED_PLACE
from ..stage2.renderer import Reference
from ..utils.progress import Progress
from ..utils.serialization import RowSource
from ..utils.threads import parallel_map
from .weights import Models

Numbers = npt.NDArray[Any]

TABLES = ("keys", "places", "values")
"""Learned part of the keys, where they lie (which needs more digits), and values: a row for each cell."""
COLOURS = "colours"
"""The crops' colours: a row for each frame that is kept."""
LARGEST = 1e6
"""Numbers of references are smaller by far."""


def table_layout(channels: int) -> dict[str, tuple[np.dtype[Any], int]]:
    """Kind and number of the numbers in a row of each table, for a renderer with so many channels."""
    half, single, byte = (np.dtype(kind) for kind in (np.float16, np.float32, np.uint8))
    cells = dict(zip(TABLES, ((half, channels), (single, PACKED_PLACE), (half, channels)), strict=True))
    return {**cells, COLOURS: (byte, 3 * COLOUR_GRID**2)}


class GrowingTable:
    """A table that grows, in a file without a name that is gone with it.

    Args:
        dtype: Kind of the numbers.
        width: Numbers of a row.
        folder: Where the disk has room for it, if not where the system keeps such files.
    """

    def __init__(self, dtype: np.dtype[Any], width: int, folder: Path | None = None) -> None:
        self.dtype, self.shape = dtype, (0, width)
        self._lock = threading.Lock()
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with the table

    def append(self, rows: Numbers) -> None:
        """Add rows.

        Raises:
            OSError: The disk is full.
        """
        self._file.write(np.ascontiguousarray(rows, self.dtype).tobytes())
        self.shape = (self.shape[0] + len(rows), self.shape[1])

    def rows(self, start: int, stop: int) -> Numbers:
        """Some rows."""
        size = self.dtype.itemsize * self.shape[1]
        with self._lock:
            self._file.seek(size * start)
            found = self._file.read(size * (stop - start))
            self._file.seek(0, os.SEEK_END)
        return np.frombuffer(bytearray(found), self.dtype).reshape(-1, self.shape[1])


@dataclass(frozen=True)
class LatentCache:
    """Face references of a video.

    Attributes:
        cells: Cells of each frame, 0 where it is not kept, (T,).
        tables: By the names of `TABLES`, the frames' rows one after the other, and `COLOURS`.
    """

    cells: npt.NDArray[np.int64]
    tables: dict[str, RowSource]

    def check(self, channels: int, most: int, frames: int) -> None:
        """Find out whether they are a renderer's.

        Args:
            channels: Of the renderer.
            most: Cells of its grid.
            frames: Of the video.

        Raises:
            ValueError: They are not, or do not fit each other.
        """
        wanted = table_layout(channels)
        if self.cells.shape != (frames,) or (self.cells < 0).any() or set(self.tables) != set(wanted):
            raise ValueError(f"textures of {self.cells.shape} frames, not of {frames}")
        if (self.cells > most).any():
            raise ValueError(f"textures of a frame with {self.cells.max()} cells of {most}")
        for name, (dtype, width) in wanted.items():
            rows, table = np.count_nonzero(self.cells) if name == COLOURS else int(self.cells.sum()), self.tables[name]
            if table.shape != (rows, width) or table.dtype != dtype:
                raise ValueError(f"textures' {name} {table.dtype} {table.shape}")

    @functools.cached_property
    def _ends(self) -> npt.NDArray[np.int64]:
        return np.cumsum(self.cells)

    @functools.cached_property
    def _kept(self) -> npt.NDArray[np.int64]:
        return np.cumsum(self.cells > 0)

    def lookup(self, frame: int) -> tuple[Reference, npt.NDArray[np.uint8]] | None:
        """A frame as a face reference, without lips, and its colours; None where it is not kept, or damaged."""
        stop = int(self._ends[frame])
        start = stop - int(self.cells[frame])
        if start == stop:
            return None
        rows = {name: torch.from_numpy(self.tables[name].rows(start, stop)).float() for name in TABLES}
        if not all(bool((part.abs() < LARGEST).all()) for part in rows.values()):
            return None
        keys, values = torch.cat([rows["keys"], rows["places"]], dim=1), rows["values"]
        number = int(self._kept[frame])
        colours = self.tables[COLOURS].rows(number - 1, number).reshape(COLOUR_GRID, COLOUR_GRID, 3)
        tables = {"lip_keys": keys[:0], "lip_values": values[:0], "face_keys": keys, "face_values": values}
        return Reference.unpack(tables), colours


def encode(
    reader: VideoReader, analysis: Analysis, models: Models, most: float, folder: Path | None, tell: Progress
) -> LatentCache:
    """Encode the frames of a video that show the face, from the first on.

    Args:
        reader: The video.
        analysis: Where the face is.
        models: The trained parts.
        most: Bytes that they may take; frames for which there is no more room are left out.
        folder: Where there is room on the disk; None for where the system keeps such files.
        tell: Told about the progress, as `pipeline.dub` tells it.

    Raises:
        OSError: The disk is full.
    """
    crops = FaceCropper(models.morphable, analysis, models.stage2.size)
    spools = {name: GrowingTable(*kind, folder) for name, kind in table_layout(models.stage2.channels).items()}
    cells = np.zeros(len(analysis), np.int64)

    def encoded(frame: Frame) -> tuple[int, Reference, npt.NDArray[np.uint8]] | None:
        if not analysis.usable[frame.index]:
            return None
        crop = crops.cut(frame)
        return frame.index, crops.encode(models.renderer, frame.index, crop), coarse_colours(crop)

    with closing(parallel_map(encoded, reader.frames())) as steps:
        for found in steps:
            tell("textures", 1, len(analysis))
            if found is None:
                continue
            index, reference, seen = found
            keys, values = reference.face_keys.pack().numpy(), reference.face_values.numpy()
            if not len(values):
                continue
            rows = {"keys": keys[:, : values.shape[1]], "places": keys[:, values.shape[1] :], "values": values}
            rows[COLOURS] = seen.reshape(1, -1)
            most -= sum(spools[name].dtype.itemsize * part.size for name, part in rows.items())
            if not most >= 0:
                break
            for name, part in rows.items():
                spools[name].append(part)
            cells[index] = len(values)
    return LatentCache(cells, dict(spools))
