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

from ..faces.analysis import Analysis
from ..media.reader import Frame, VideoReader
from ..stage2.compositing import COLOUR_GRID, coarse_colours
from ..stage2.face_crops import FaceCropper, choose_crop_size
from ..stage2.reference_cells import EXACT_TABLES, TABLES, Cells, Reference
from ..utils.progress import Progress
from ..utils.serialization import RowSource
from ..utils.threads import parallel_map
from .weights import Models

Table = npt.NDArray[Any]

# Table with a row for each frame that is kept: the colours of its crop.
COLOUR_TABLE = "colours"

# Numbers of references are smaller by far.
LARGEST = 1e6


def table_layout(channels: int) -> dict[str, tuple[np.dtype[Any], int]]:
    """Return data type and width of each table, for a renderer with so many channels."""
    cells = {
        name: (np.dtype(np.float32 if name in EXACT_TABLES else np.float16), width)
        for name, width in Cells.widths(channels).items()
    }
    return {**cells, COLOUR_TABLE: (np.dtype(np.uint8), 3 * COLOUR_GRID**2)}


class GrowingTable:
    """A table that grows, in a file without a name that is gone with it.

    Args:
        dtype: Data type.
        width: Numbers in a row.
        folder: Where the file lies; None for where the system keeps temporary files.
    """

    def __init__(self, dtype: np.dtype[Any], width: int, folder: Path | None = None) -> None:
        self.dtype, self.shape = dtype, (0, width)
        self._lock = threading.Lock()
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with the table

    def append(self, rows: Table) -> None:
        """Add rows.

        Raises:
            OSError: The disk is full.
        """
        self._file.write(np.ascontiguousarray(rows, self.dtype).tobytes())
        self.shape = (self.shape[0] + len(rows), self.shape[1])

    def rows(self, start: int, stop: int) -> Table:
        """Return the rows from `start` to `stop` - 1."""
        size = self.dtype.itemsize * self.shape[1]
        with self._lock:
            self._file.seek(size * start)
            found = self._file.read(size * (stop - start))
            self._file.seek(0, os.SEEK_END)
        return np.frombuffer(bytearray(found), self.dtype).reshape(-1, self.shape[1])


@dataclass(frozen=True)
class LatentCache:
    """Face references of a video's frames.

    Attributes:
        cells: Number of cells of each frame, 0 where it is not kept, (T,).
        tables: Tables by the names of `TABLES` and `COLOUR_TABLE`, with the frames' rows one after the other.
    """

    cells: npt.NDArray[np.int64]
    tables: dict[str, RowSource]

    def check(self, channels: int, max_cells: int, frames: int) -> None:
        """Make sure that cells and tables fit each other, a renderer and a video.

        Args:
            channels: Channels of the renderer.
            max_cells: Cells of its grid.
            frames: Frames of the video.

        Raises:
            ValueError: They do not.
        """
        wanted = table_layout(channels)
        if self.cells.shape != (frames,) or (self.cells < 0).any() or set(self.tables) != set(wanted):
            raise ValueError(f"textures of {self.cells.shape} frames, not of {frames}")
        if (self.cells > max_cells).any():
            raise ValueError(f"textures of a frame with {self.cells.max()} cells of {max_cells}")
        for name, (dtype, width) in wanted.items():
            table = self.tables[name]
            rows = np.count_nonzero(self.cells) if name == COLOUR_TABLE else int(self.cells.sum())
            if table.shape != (rows, width) or table.dtype != dtype:
                raise ValueError(f"textures' {name} {table.dtype} {table.shape}")

    @functools.cached_property
    def _ends(self) -> npt.NDArray[np.int64]:
        return np.cumsum(self.cells)

    @functools.cached_property
    def _kept(self) -> npt.NDArray[np.int64]:
        return np.cumsum(self.cells > 0)

    def lookup(self, frame: int) -> tuple[Reference, npt.NDArray[np.uint8]] | None:
        """Return a frame as a face reference, without lips, and its colours; None where it is not kept, or damaged."""
        stop = int(self._ends[frame])
        start = stop - int(self.cells[frame])
        if start == stop:
            return None
        rows = [self.tables[name].rows(start, stop).astype(np.float32) for name in TABLES]
        if not all((np.abs(part) < LARGEST).all() for part in rows):
            return None
        number = int(self._kept[frame])
        colours = self.tables[COLOUR_TABLE].rows(number - 1, number).reshape(COLOUR_GRID, COLOUR_GRID, 3)
        return Reference(lip=Cells(*(part[:0] for part in rows)), face=Cells(*rows)), colours


def encode_frames(
    reader: VideoReader,
    analysis: Analysis,
    models: Models,
    max_bytes: float,
    folder: Path | None,
    on_progress: Progress,
) -> LatentCache:
    """Encode the frames of a video that show the face, from the first on.

    Args:
        reader: The video.
        analysis: Where the face is.
        models: The trained parts.
        max_bytes: Bytes that they may take; frames for which there is no more room are left out.
        folder: Where the tables lie; None for where the system keeps temporary files.
        on_progress: Told about the progress.

    Raises:
        OSError: The disk is full.
    """
    cropper = FaceCropper(models.morphable, analysis, choose_crop_size(models.renderer.size, analysis))
    tables = {name: GrowingTable(*kind, folder) for name, kind in table_layout(models.renderer.channels).items()}
    cells, room = np.zeros(len(analysis), np.int64), max_bytes

    def encoded(frame: Frame) -> tuple[int, Reference, npt.NDArray[np.uint8]] | None:
        if not analysis.usable[frame.index]:
            return None
        crop = cropper.cut(frame)
        return frame.index, cropper.encode(models.renderer, frame.index, crop), coarse_colours(crop)

    with closing(parallel_map(encoded, reader.frames())) as steps:
        for found in steps:
            on_progress("textures", 1, len(analysis))
            if found is None:
                continue
            index, reference, seen = found
            if not len(reference.face):
                continue
            rows = {**{name: getattr(reference.face, name) for name in TABLES}, COLOUR_TABLE: seen.reshape(1, -1)}
            room -= sum(tables[name].dtype.itemsize * part.size for name, part in rows.items())
            if not room >= 0:
                break
            for name, part in rows.items():
                tables[name].append(part)
            cells[index] = len(reference.face)
    return LatentCache(cells, dict(tables))
