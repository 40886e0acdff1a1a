"""The analysis of a run's video: from a persona, from a run before this one, or made; and the speaker's style."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import WeightsError
from ..faces.analysis import Analysis, analyse
from ..faces.selection import FaceSearch
from ..geometry.mood import moods
from ..media.reader import VideoReader
from ..stage1.inference import rest_offsets, speaking_style
from ..utils import serialization
from ..utils.arrays import Array
from .context import RunContext
from .footage import Footage
from .persona import SUFFIX, Persona
from .speaker import Speaker

# Seconds on either side of a stretch that are looked at as well: for the speaker's style, and for textures.
STRETCH_MARGIN = 10.0


@dataclass(frozen=True)
class KnownSpeaker:
    """What is known of a run's speaker before the video is looked at.

    Attributes:
        persona: The persona; None without one.
        footage: What it keeps of this very video; None where it was made from others.
    """

    persona: Persona | None = None
    footage: Footage | None = None

    @classmethod
    def load(cls, context: RunContext) -> KnownSpeaker:
        """Load the persona of a run's options; where it does not know the video, the report gets a warning.

        Raises:
            WeightsError: The persona cannot be read.
        """
        options = context.options
        if options.persona is None:
            return cls()
        persona = Persona.load(options.persona, context.models.morphable)
        footage = persona.find(context.reader.info.path, options.search())
        if footage is None:
            context.report.warnings.append(
                f"{options.persona} was not made from this video, or for another face or face model:"
                " its style is used, the video was analysed"
            )
        return cls(persona, footage)

    def analysis(
        self, context: RunContext, name: str, search: Callable[[], FaceSearch], stretch: tuple[float, float] | None
    ) -> Analysis:
        """Return the analysis of the run's video; the arguments are those of `load_or_analyse`."""
        if self.footage is None:
            return load_or_analyse(context, name, search, stretch)
        return _indexed(context, self.footage.load_analysis(context.reader.info, context.models.morphable))

    def style(self, context: RunContext, analysis: Analysis) -> Array:
        """Return the style embedding (1, D) at the wanted strength: the chosen style, the persona's, or the video's."""
        options, models = context.options, context.models
        if options.style is not None:
            beta = _expressions(context, Path(options.style))
        else:
            beta = analysis.beta[analysis.usable] if self.persona is None else self.persona.beta
        return options.style_strength * speaking_style(models.stage1, models.morphable, beta)

    def with_textures(self, context: RunContext, speaker: Speaker) -> Speaker:
        """Return a speaker with the references that the persona has encoded of this video, at this resolution."""
        if self.persona is None or self.footage is None or self.footage.crop_size != speaker.crop_size:
            return speaker
        lips = self.persona.lips(self.footage, context.models)
        return replace(speaker, lips=lips, faces=self.persona.latents(self.footage, context.models))


def load_or_analyse(
    context: RunContext, name: str, search: Callable[[], FaceSearch], stretch: tuple[float, float] | None = None
) -> Analysis:
    """Return the analysis that a run before this one has kept, or a new one.

    Args:
        context: The run.
        name: Name under which it is kept.
        search: Tells whose face is looked for.
        stretch: Start and end in seconds of what is dubbed; None for all of the video. The rest of it is not looked at,
            but for a margin.

    Raises:
        FaceError: There is no usable face.
        MediaError: The video is damaged.
    """
    reader, models = context.reader, context.models
    kept = context.folder.path(f"{name}.safetensors")
    if kept is not None:
        with contextlib.suppress(WeightsError, ValueError):  # a damaged one is made again
            arrays, _ = serialization.load_arrays(kept, kind="analysis", version=1)
            return _indexed(context, Analysis.from_arrays(reader.info, arrays, models.morphable))
    within = None if stretch is None else (stretch[0] - STRETCH_MARGIN, stretch[1] + STRETCH_MARGIN)
    with search().open(reader, models.morphable, context.on_progress) as (tracker, follower):
        made = analyse(reader, tracker, models.morphable, context.on_progress, models.initialise, follower, within)
    with context.folder.writing(f"{name}.safetensors") as path:
        serialization.save_arrays(path, made.arrays(), kind="analysis", version=1, config={}, half=False)
    return made


def _indexed(context: RunContext, analysis: Analysis) -> Analysis:
    """Return an analysis after the reader has learned where frames lie, as the pass that it saves would have let it.

    Lip references are fetched shot by shot: with one shot nothing has to be sought.
    """
    if len(analysis.shots) > 1:
        context.reader.build_index(analysis.time)
    return analysis


def _expressions(context: RunContext, path: Path) -> Array:
    """Return the expressions (N, E) of a persona or of a video."""
    models = context.models
    if path.suffix == SUFFIX:
        return Persona.load(path, models.morphable).beta
    with VideoReader(path) as reader, FaceSearch().open(reader, models.morphable) as (tracker, follower):
        found = analyse(reader, tracker, models.morphable, None, models.initialise, follower)
    return found.beta[found.usable]


def resting_mouth(context: RunContext, analysis: Analysis) -> Array:
    """Return the displacement (V, 3) of the speaker's own closed mouth."""
    usable, model = np.flatnonzero(analysis.usable), context.models.morphable
    return rest_offsets(model, analysis.beta[usable], analysis.openings(model, usable))


def source_mood(context: RunContext, analysis: Analysis) -> Array:
    """Return the expression that the new mouth takes over from each frame at the wanted strength, (T, E)."""
    found = moods(context.models.morphable, analysis.beta, analysis.time, analysis.usable, analysis.shot_of)
    return context.options.mood * found
