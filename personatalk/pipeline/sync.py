"""Offset of a video between audio and image, told from the mouth that stage 1 hears and the mouth that is seen."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..audio.encoder import FPS, SAMPLE_RATE
from ..audio.loudness import match_loudness
from ..errors import FaceError
from ..faces.analysis import Analysis, analyse
from ..faces.selection import FaceSearch
from ..media.audio import store_speech
from ..media.reader import VideoReader
from ..stage1.agreement import Agreement, compare_openings, pooled
from ..stage1.inference import ChunkedGenerator, speaking_style
from ..utils.arrays import Array, resampled, runs
from ..utils.progress import Progress
from .weights import Models

# Largest offset in frames that is searched: a second.
MAX_OFFSET_FRAMES = 25
# Seconds of an unbroken stretch of usable frames from which on it counts: the search needs a margin on either side.
MIN_SECONDS = (2 * MAX_OFFSET_FRAMES + 12) / FPS


@dataclass(frozen=True)
class VideoSync:
    """Offset of a video.

    Attributes:
        offset_seconds: Seconds by which the image is late against the audio; negative where the audio is late.
        r: Correlation of the mouth openings with the offset undone, -1..1.
        r_unshifted: The same as the video is.
        confidence: By how much `r` lies above the second peak of the correlation, in spreads of chance agreement; from
            about 2 on the offset is to be trusted.
        seconds: Seconds of video that were compared.
    """

    offset_seconds: float
    r: float
    r_unshifted: float
    confidence: float
    seconds: float

    @classmethod
    def of(cls, found: Agreement) -> VideoSync:
        """Return the offset that an agreement tells."""
        lags = np.abs(np.arange(len(found.r)) - found.max_lag - found.lag)
        others = found.r[lags > 4]  # a mouth resembles itself a few frames later
        confidence = (found.best - float(others.max(initial=-1))) / found.noise
        return cls(found.fine_lag / FPS, found.best, found.unshifted, confidence, found.frames / FPS)


def measure_sync(
    video: Path | str,
    *,
    search: FaceSearch | None = None,
    models: Models | None = None,
    progress: Progress | None = None,
) -> VideoSync:
    """Measure the offset between audio and image of a video of a person speaking.

    Args:
        video: The video, with audio.
        search: Whose mouth; the largest face's where None.
        models: Loaded weights; those of the package where None.
        progress: Told about the progress.

    Raises:
        MediaError: The video cannot be read, or has no audio.
        FaceError: No usable face for long enough.
    """
    models = models or Models.load()
    with VideoReader(video) as reader, tempfile.TemporaryDirectory() as folder:
        samples = match_loudness(store_speech(video, Path(folder) / "audio", SAMPLE_RATE))
        with (search or FaceSearch()).open(reader, models.morphable, progress) as (tracker, follower):
            analysis = analyse(reader, tracker, models.morphable, progress, models.initialise, follower)
        style = speaking_style(models.stage1, models.morphable, analysis.beta[analysis.usable])
        speech = ChunkedGenerator(models.stage1, samples, style)
        parts = [compare_openings(*pair, MAX_OFFSET_FRAMES) for pair in _openings(models, analysis, speech)]
    if not parts:
        raise FaceError(f"{video}: no face is seen for {MIN_SECONDS:.1f} s without a break; give a longer video")
    return VideoSync.of(pooled(parts))


def _openings(models: Models, analysis: Analysis, speech: ChunkedGenerator) -> Iterator[tuple[Array, Array]]:
    """Yield the generated and the real mouth opening of each long stretch of usable frames, at 25 frames a second."""
    model = models.morphable
    breaks = np.append(False, np.diff(analysis.shot_of) != 0)
    for start, stop in runs(analysis.usable, breaks):
        time = analysis.time[start:stop]
        first, last = int(np.ceil(time[0] * FPS - 1e-6)), int(np.floor(time[-1] * FPS + 1e-6))
        if last - first < MIN_SECONDS * FPS:
            continue
        clock = np.arange(max(0, first), last + 1)
        beta = resampled(analysis.beta[start:stop], time, clock / FPS)
        shape = model.shape(analysis.shots[analysis.shot_of[start]].alpha)
        # One frame at a time: the vertices of an hour would fill the memory.
        got = [model.mouth_opening((shape + speech.frame(int(k), shape - model.mean))[None])[0] for k in clock]
        real = [model.mouth_opening((shape + model.offsets(b[None])[0])[None])[0] for b in beta]
        yield np.array(got, np.float32), np.array(real, np.float32)
