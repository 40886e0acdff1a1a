"""The mouth in silence: how far it moves, and how often it is open."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..audio.loudness import normalise_loudness
from ..audio.rates import FPS
from ..audio.voice_activity import voice_activity
from ..utils.arrays import Array
from . import metrics
from .metrics import Series
from .tracks import Track

# Seconds of silence that motion in silence needs.
SHORTEST_SILENCE = 0.3
# Share of the range of a reference's opening by which lips at rest may be apart and still count as closed.
CLOSED_SHARE = 0.25
# The range and its foot, at rest, as quantiles of the opening.
REST, WIDE = 0.1, 0.9


def spread(opening: Series) -> float:
    """Return the standard deviation of the mouth opening over the frames with a face; NaN where they are too few.

    The lips' speed would be the obvious measure of motion, but on a head that turns most of it is the tracker's noise.
    """
    return float(np.nanstd(opening)) if (~np.isnan(opening)).sum() >= metrics.MIN_FACE_FRAMES else math.nan


def motion_in_silence(video: Track, samples: Array) -> float:
    """Return the spread of the opening without speech over that with it; NaN where there is speech throughout.

    Args:
        video: The video's track.
        samples: Its audio at 16 kHz, (N,).
    """
    voiced = frames_with_speech(video, samples)
    if not long_silence(video, ~voiced) or voiced.sum() < metrics.MIN_FACE_FRAMES:
        return math.nan
    still, moving = (spread(metrics.opening(video.landmarks[part])) for part in (~voiced, voiced))
    return still / max(moving, 1e-9)


def frames_with_speech(video: Track, samples: Array) -> npt.NDArray[np.bool_]:
    """Return whether speech is heard at each frame of a video, (T,); arguments as of `motion_in_silence`."""
    voice = voice_activity(normalise_loudness(samples))
    at = np.clip((video.times * FPS).astype(int), 0, max(0, len(voice) - 1))
    return (voice[at] > 0) & (video.times * FPS < len(voice)) if len(voice) else np.zeros(len(at), bool)


def long_silence(video: Track, silent: npt.NDArray[np.bool_]) -> bool:
    """Return whether the silent frames of a video, (T,), last for `SHORTEST_SILENCE` together."""
    return bool(silent.sum() >= SHORTEST_SILENCE * len(silent) / max(video.times[-1], 1e-6))


def open_share(opening: Series, reference: Series) -> float:
    """Return the share of frames whose lips are apart, by a reference's way to hold and open them.

    Args:
        opening: Mouth opening of the frames, (T,); NaN without a face.
        reference: That of the real video, (T',).

    Returns:
        The share of frames in which the lips are apart by more than `CLOSED_SHARE` of the range between the
        reference's lips at rest and wide; NaN where too few frames show a face.
    """
    if min((~np.isnan(x)).sum() for x in (opening, reference)) < metrics.MIN_FACE_FRAMES:
        return math.nan
    rest, wide = np.nanquantile(reference, (REST, WIDE))
    return float(np.mean(opening[~np.isnan(opening)] > rest + CLOSED_SHARE * (wide - rest)))
