"""personatalk.pipeline.casting."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..media.timeline import Plan
from ..stage1.inference import SpeechMotion
from ..utils.arrays import Array
from .cues import Cue
from .roles import Speaker

SPEAKERS_FILE = "who.json"
"""The job's note on whom the cues mean."""


@dataclass(frozen=True)
class DubPlan:
    """Who speaks: everybody who gets a new mouth, the frames of the output, and its sound."""

    roles: list[Speaker]
    timeline: Plan
    sound: Path


class CuedMotion:
    """One person's mouth through several cues, at rest between them; see `dubbing.Motion`."""

    def __init__(self, parts: list[tuple[Cue, SpeechMotion]], rest: Array) -> None:
        self.parts, self.rest = parts, rest

    def displacement_at(self, time: float, template: Array) -> Array:
        """See `roles.Motion.displacement_at`."""
        for cue, motion in self.parts:
            if cue.start <= time < cue.end:
                return motion.displacement_at(time - cue.start, template)
        return self.rest
