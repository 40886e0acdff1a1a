"""A speaker: the person in the video who gets a new mouth, and what that mouth does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..faces.analysis import Analysis
from ..stage2.reference_cells import Reference
from ..utils.arrays import Array, BoolArray, Image


class FaceReferences(Protocol):
    """Source frames that are encoded already."""

    def lookup(self, frame: int) -> tuple[Reference, Image] | None:
        """Return a frame as a face reference and its `compositing.coarse_colours`; None where it is not known."""
        ...


class Motion(Protocol):
    """The motion of a mouth over time."""

    def displacement_at(self, time: float, template: Array) -> Array:
        """Return the displacement (V, 3) at a time in seconds, for a speaker's shape (V, 3)."""
        ...


@dataclass(frozen=True)
class Speaker:
    """Somebody who gets a new mouth.

    Attributes:
        analysis: Where the face is, in the source's frames.
        motion: Motion of the new mouth.
        dubbed: Flags of the output frames that get the new mouth, bool (N,).
        crop_size: Side of the face crop in pixels.
        lips: Lip references that are encoded already, by shot.
        faces: Face references that are encoded already.
    """

    analysis: Analysis
    motion: Motion
    dubbed: BoolArray
    crop_size: int
    lips: Mapping[int, list[Reference]] = field(default_factory=dict)
    faces: FaceReferences | None = None
