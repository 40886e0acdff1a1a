"""personatalk.pipeline.roles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..faces.analysis import Analysis
from ..stage2.renderer import Reference
from ..utils.arrays import Array


class FaceReferences(Protocol):
    """Frames of the source that are encoded already."""

    def lookup(self, frame: int) -> tuple[Reference, npt.NDArray[np.uint8]] | None:
        """Return a frame as a face reference and its `compositing.coarse_colours`; None where it is not known."""
        ...


class Motion(Protocol):
    """What the mouth does at a time."""

    def displacement_at(self, time: float, template: Array) -> Array:
        """Displacement (V, 3) at a time in seconds, for a speaker's shape (V, 3)."""
        ...


@dataclass(frozen=True)
class Speaker:
    """Somebody who gets a new mouth.

    Attributes:
        analysis: Where the face is, in the source's frames.
        motion: What the mouth does.
        dubbed: Which frames of the output are wanted, bool (N,).
        lips: Lip references that are known already, by shot.
        faces: Face references that are known already.
    """

    analysis: Analysis
    motion: Motion
    dubbed: npt.NDArray[np.bool_]
    lips: Mapping[int, list[Reference]] = field(default_factory=dict)
    faces: FaceReferences | None = None
