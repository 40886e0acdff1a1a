"""A speaker: the person in the video who gets a new mouth, and what that mouth does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..faces.analysis import Analysis
from ..geometry.morphable_model import MorphableModel
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
        mood: Expression that the new mouth takes over from each of the source's frames, (T, E).
        lips: Lip references that are encoded already, by shot.
        faces: Face references that are encoded already.
    """

    analysis: Analysis
    motion: Motion
    dubbed: BoolArray
    crop_size: int
    mood: Array
    lips: Mapping[int, list[Reference]] = field(default_factory=dict)
    faces: FaceReferences | None = None

    def vertices(self, model: MorphableModel, frame: int, time: float) -> Array:
        """Return the geometry of the face with the new mouth, (V, 3).

        Args:
            model: The morphable model.
            frame: Number of the source's frame that is shown.
            time: Seconds of the output.
        """
        shape = model.shape(self.analysis.shots[self.analysis.shot_of[frame]].alpha)
        return shape + self.motion.displacement_at(time, shape - model.mean) + model.offsets(self.mood[frame])
