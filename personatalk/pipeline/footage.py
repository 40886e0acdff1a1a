"""Footage: what a persona keeps of one video, and the names of its arrays in the persona's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import WeightsError
from ..faces.analysis import Analysis
from ..geometry.morphable_model import MorphableModel
from ..media.probe import VideoInfo
from ..stage2.reference_cells import Reference
from ..utils.serialization import LazyTensor, RowSource
from .latent_cache import LARGEST, LatentCache, table_layout

Arrays = dict[str, npt.NDArray[Any]]

# Part of the names of the tables that are read row by row, as they are needed.
LATENT_TABLE = ".textures."


@dataclass(frozen=True)
class ArrayNames:
    """Names of one video's arrays in the persona's file.

    Attributes:
        number: Number of the video in the persona.
    """

    number: int

    @property
    def analysis(self) -> str:
        """Prefix of the names of the analysis's arrays."""
        return f"{self.number}.analysis."

    def lips(self, shot: int) -> str:
        """Return the prefix of the names of the arrays of a shot's lip references."""
        return f"{self.number}.lips.{shot}."

    @property
    def cells(self) -> str:
        """Name of the numbers of cells that the latent cache holds of each frame."""
        return f"{self.number}.cells"

    @property
    def latents(self) -> str:
        """Prefix of the names of the latent cache's tables."""
        return f"{self.number}{LATENT_TABLE}"


@dataclass(frozen=True)
class Footage:
    """One video of a persona: its analysis and references.

    Attributes:
        name: Name of the file.
        sha256: SHA-256 of the file's content.
        face: Who was chosen in it; see `choice.parse_choice`.
        search: Description of the search for the face; see `FaceSearch.described`.
        analysis: The analysis as arrays; see `Analysis.arrays`.
        crop_size: Side in pixels of the face crops that were encoded.
        lips: Encoded lip references by shot, as arrays by the names of `reference_arrays`.
        persona_path: The persona's file, for messages.
        latents: Texture latents of the frames; None where there are none.
    """

    name: str
    sha256: str
    face: str | None
    search: str
    analysis: Arrays
    crop_size: int
    lips: dict[int, Arrays]
    persona_path: str = ""
    latents: LatentCache | None = None

    def to_arrays(self, number: int) -> tuple[Arrays, dict[str, RowSource], dict[str, Any]]:
        """Return the arrays, the tables and the JSON-able rest that the persona's file keeps."""
        names, tables = ArrayNames(number), dict[str, RowSource]()
        arrays = _prefixed(names.analysis, self.analysis)
        for shot, parts in self.lips.items():
            arrays |= _prefixed(names.lips(shot), parts)
        if self.latents is not None:
            arrays[names.cells] = self.latents.cells
            tables = _prefixed(names.latents, self.latents.tables)
        rest = {"name": self.name, "sha256": self.sha256, "face": self.face, "search": self.search}
        return arrays, tables, rest | {"shots": sorted(self.lips), "crop": self.crop_size}

    @classmethod
    def from_arrays(cls, number: int, arrays: Arrays, rest: Mapping[str, Any], persona_path: str) -> Footage:
        """Read what `to_arrays` returned from a persona's file; the tables are read as they are needed.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: It is damaged.
        """
        names, latents = ArrayNames(number), None
        prefixes = {int(shot): names.lips(int(shot)) for shot in rest["shots"]}
        lips = {shot: {part: arrays[prefix + part] for part in reference_names()} for shot, prefix in prefixes.items()}
        if names.cells in arrays:
            tables: dict[str, RowSource] = {
                name: LazyTensor(persona_path, f"{names.latents}{name}") for name in table_layout(0)
            }
            latents = LatentCache(arrays[names.cells].astype(np.int64), tables)
        return cls(
            name=str(rest["name"]),
            sha256=str(rest["sha256"]),
            face=None if rest["face"] is None else str(rest["face"]),
            search=str(rest["search"]),
            analysis=_of_prefix(names.analysis, arrays),
            crop_size=int(rest["crop"]),
            lips=lips,
            persona_path=persona_path,
            latents=latents,
        )

    def load_analysis(self, info: VideoInfo, model: MorphableModel) -> Analysis:
        """Return the analysis of the video.

        Args:
            info: The video's file.
            model: The morphable model.

        Raises:
            WeightsError: The arrays are damaged.
        """
        try:
            return Analysis.from_arrays(info, self.analysis, model)
        except (ValueError, IndexError, KeyError, TypeError) as error:
            raise self._damaged("analysis", error, verb="is") from error

    def load_lips(self, channels: int, max_cells: int) -> dict[int, list[Reference]]:
        """Return the lip references by shot.

        Args:
            channels: Channels of the renderer.
            max_cells: Cells of its grid.

        Raises:
            WeightsError: They are damaged, or not this renderer's.
        """
        try:
            return {shot: _references(arrays, channels, max_cells) for shot, arrays in self.lips.items()}
        except (ValueError, RuntimeError, TypeError, KeyError) as error:
            raise self._damaged("lips", error) from error

    def load_latents(self, channels: int, max_cells: int) -> LatentCache | None:
        """Return the texture latents of the frames; None where there are none. Arguments as of `load_lips`.

        Raises:
            WeightsError: They are damaged, or not this renderer's.
        """
        if self.latents is not None:
            try:
                self.latents.check(channels, max_cells, len(self.analysis["time"]))
            except ValueError as error:
                raise self._damaged("textures", error) from error
        return self.latents

    def _damaged(self, part: str, error: Exception, verb: str = "are") -> WeightsError:
        return WeightsError(
            f"{self.persona_path}: the {part} of {self.name} {verb} damaged ({error}); make the persona anew"
        )


def reference_names() -> list[str]:
    """Return the names of the arrays of a shot's lip references: each table, and the rows that a reference has."""
    return [name for table in Reference.table_widths(0) for name in (table, _count_name(table))]


def reference_arrays(references: Sequence[Reference]) -> Arrays:
    """Return encoded references as arrays: each table of all of them, and the rows that each of them has."""
    packed = [reference.pack() for reference in references]
    arrays: Arrays = {}
    for table in Reference.table_widths(0):
        parts = [tables[table] for tables in packed]
        arrays[table] = np.concatenate(parts)
        arrays[_count_name(table)] = np.array([len(part) for part in parts], np.int64)
    return arrays


def _references(arrays: Arrays, channels: int, max_cells: int) -> list[Reference]:
    """Return references from their arrays, which may be anything."""
    tables = {}
    for name, width in Reference.table_widths(channels).items():
        table = arrays[name].astype(np.float32)
        if table.ndim != 2 or table.shape[1] != width or not len(table):
            raise ValueError(f"{name} is no table of width {width}")
        if not (np.abs(table) < LARGEST).all():
            raise ValueError(f"{name} holds numbers of {LARGEST:g} and more")
        counts = [int(count) for count in arrays[_count_name(name)]]
        if max(counts, default=0) > max_cells:
            raise ValueError(f"{name} has {max(counts)} cells of {max_cells}")
        if min(counts, default=0) < 0 or sum(counts) != len(table):
            raise ValueError(f"{name} has {len(table)} cells, not {sum(counts)}")
        tables[name] = np.split(table, np.cumsum(counts)[:-1])
    rows = zip(*tables.values(), strict=True)
    found = [Reference.unpack(dict(zip(tables, parts, strict=True))) for parts in rows]
    if not found:
        raise ValueError("there are none")
    return found


def _count_name(table: str) -> str:
    return f"{table}_count"


def _prefixed(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in values.items()}


def _of_prefix(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
