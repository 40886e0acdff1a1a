"""Encoded references: keys and values of the cells that the attention may take texture from."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..utils.arrays import Array
from .place_code import CODE_SIZE
from .sparse_attention import KeyIndex

# Names of the tables of `Cells`, and which of them keep float32 in files: places need more digits than float16 has.
TABLES = ("keys", "places", "values")
EXACT_TABLES = ("places",)


@dataclass(frozen=True)
class Cells:
    """Keys and values of one attention, a row for each cell.

    Attributes:
        keys: Learned part of the keys, (K, C).
        places: Place codes in standard deviations of the attention's Gaussian, (K, 9).
        values: What the cells answer, (K, C).
    """

    keys: Array
    places: Array
    values: Array

    def __len__(self) -> int:
        return len(self.keys)

    @functools.cached_property
    def _index(self) -> KeyIndex | None:
        return KeyIndex.of([self.keys], [self.places], [self.values])

    @staticmethod
    def sort(parts: Sequence[Cells]) -> KeyIndex | None:
        """Return the cells of all parts as `sparse_attention` searches them; None where they cannot be sorted.

        A single part is sorted only once.
        """
        if len(parts) == 1:
            return parts[0]._index
        return KeyIndex.of(*([getattr(part, table) for part in parts] for table in TABLES)) if parts else None

    def rounded(self) -> Cells:
        """Return the same in numbers that float16 holds, but for the places."""
        return Cells(_half(self.keys), self.places, _half(self.values))

    @classmethod
    def merge(cls, parts: Sequence[Cells]) -> Cells:
        """Return the cells of all parts, one after the other."""
        return cls(*(np.concatenate([getattr(part, table) for part in parts]) for table in TABLES))

    @staticmethod
    def widths(channels: int) -> dict[str, int]:
        """Return the widths of the tables, for a renderer with so many channels."""
        return {"keys": channels, "places": CODE_SIZE, "values": channels}


@dataclass(frozen=True)
class Reference:
    """One encoded reference.

    Attributes:
        lip: Cells that Lip-Attention takes texture from.
        face: Cells that Face-Attention takes texture from.
    """

    lip: Cells
    face: Cells

    def pack(self) -> dict[str, Array]:
        """Return the tables that files keep, by the names of `table_widths`."""
        return {f"{side}_{table}": getattr(getattr(self, side), table) for side in SIDES for table in TABLES}

    @classmethod
    def unpack(cls, tables: Mapping[str, Array]) -> Reference:
        """Read what `pack` returned."""
        return cls(*(Cells(*(tables[f"{side}_{table}"] for table in TABLES)) for side in SIDES))

    @staticmethod
    def table_widths(channels: int) -> dict[str, int]:
        """Return names and widths of the tables of `pack`, for a renderer with so many channels."""
        return {f"{side}_{table}": width for side in SIDES for table, width in Cells.widths(channels).items()}


# The attentions, by the attributes of `Reference`.
SIDES = ("lip", "face")


def merge_references(references: Sequence[Reference]) -> Reference:
    """Return one reference with the cells of all."""
    if len(references) == 1:
        return references[0]
    return Reference(*(Cells.merge([getattr(reference, side) for reference in references]) for side in SIDES))


def _half(numbers: Array) -> Array:
    # OpenCV lets the processor convert, which NumPy does bit by bit.
    return cv2.convertFp16(cv2.convertFp16(numbers)) if numbers.size else numbers
