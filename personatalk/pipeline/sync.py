"""Offset of a video between audio and image, told from the mouth that stage 1 hears and the mouth that is seen."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..audio.loudness import AudioSource, match_loudness
from ..audio.rates import FPS, SAMPLE_RATE
from ..errors import FaceError, MediaError
from ..faces.analysis import Analysis, analyse
from ..faces.selection import FaceSearch
from ..geometry.morphable_model import MorphableModel
from ..media.audio import store_speech
from ..media.reader import VideoReader
from ..stage1.agreement import Agreement, compare_openings, pooled
from ..stage1.inference import ChunkedGenerator, SpeechNetwork, speaking_style
from ..utils.arrays import Array, resampled, runs
from ..utils.progress import Progress
from .weights import Models

# Largest offset in frames that is searched: a second.
MAX_OFFSET_FRAMES = 25
# Seconds of an unbroken stretch of usable frames from which on it counts: the search needs a margin on either side.
MIN_SECONDS = (2 * MAX_OFFSET_FRAMES + 12) / FPS
# Seconds of a dub's source, from the beginning on, from which the report tells its sync.
SOURCE_SECONDS = 20.0
# File of the source's samples while they are compared.
SOURCE_FILE = "source.samples"


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
        samples = store_speech(video, Path(folder) / "audio", SAMPLE_RATE)
        with (search or FaceSearch()).open(reader, models.morphable, progress) as (tracker, follower):
            analysis = analyse(reader, tracker, models.morphable, progress, models.initialise, follower)
        return SyncMeter(models.stage1, models.morphable).measure(analysis, samples)


@dataclass(frozen=True)
class SyncMeter:
    """The meter of sync: the mouth that stage 1 hears, held against the mouth that is seen.

    Attributes:
        network: Stage 1.
        model: The morphable model.
    """

    network: SpeechNetwork
    model: MorphableModel

    def measure(self, analysis: Analysis, samples: AudioSource, most_seconds: float = math.inf) -> VideoSync:
        """Measure the offset between the audio and the image of a video that is analysed already.

        Args:
            analysis: The face of the video.
            samples: Its audio at 16 kHz, (N,), as it was read.
            most_seconds: Seconds of the face that are compared at most, from the beginning on.

        Raises:
            FaceError: No usable face for long enough.
        """
        style = speaking_style(self.network, self.model, analysis.beta[analysis.usable])
        speech = ChunkedGenerator(self.network, match_loudness(samples), style)
        parts, left = [], most_seconds * FPS
        for stretch in _long_stretches(analysis):
            got, real = self._openings(analysis, speech, stretch, left)
            parts.append(compare_openings(got, real, MAX_OFFSET_FRAMES))
            left -= len(got)
            if left < MIN_SECONDS * FPS:
                break
        if not parts:
            raise FaceError(
                f"{analysis.info.path}: no face is seen for {MIN_SECONDS:.1f} s without a break; give a longer video"
            )
        return VideoSync.of(pooled(parts))

    def _openings(
        self, analysis: Analysis, speech: ChunkedGenerator, stretch: slice, most_frames: float
    ) -> tuple[Array, Array]:
        """Return the generated and the real mouth opening of a stretch of usable frames, at 25 frames a second."""
        model, time = self.model, analysis.time[stretch]
        clock = _clock(time)
        clock = clock[: int(min(len(clock), most_frames))]
        beta = resampled(analysis.beta[stretch], time, clock / FPS)
        shape = model.shape(analysis.shots[analysis.shot_of[stretch.start]].alpha)
        # One frame at a time: the vertices of an hour would fill the memory.
        template = shape - model.mean
        got = [model.mouth_opening(model.without_overlap(shape + speech.frame(int(k), template))) for k in clock]
        real = [model.mouth_opening(shape + model.offsets(b)) for b in beta]
        return np.array(got, np.float32), np.array(real, np.float32)


def source_sync(analysis: Analysis, models: Models, folder: Path) -> dict[str, float] | None:
    """Return the offset between a source's own audio and image for a report; None where it cannot be told.

    Args:
        analysis: The source's face.
        models: Loaded weights.
        folder: A folder for the audio's samples, which are taken away again.
    """
    target = folder / SOURCE_FILE
    try:
        until = float(analysis.time[0]) + SOURCE_SECONDS
        samples = store_speech(analysis.info.path, target, SAMPLE_RATE, until)
        return asdict(SyncMeter(models.stage1, models.morphable).measure(analysis, samples, SOURCE_SECONDS))
    except (FaceError, MediaError):  # no audio, or no face for long enough: nothing that a dub needs
        return None
    finally:
        target.unlink(missing_ok=True)


def _long_stretches(analysis: Analysis) -> Iterator[slice]:
    """Yield the unbroken stretches of usable frames that are long enough to be searched."""
    breaks = np.append(False, np.diff(analysis.shot_of) != 0)
    for start, stop in runs(analysis.usable, breaks):
        if len(_clock(analysis.time[start:stop])) >= MIN_SECONDS * FPS:
            yield slice(start, stop)


def _clock(time: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the numbers of the frames at 25 a second that lie within the times of a stretch."""
    return np.arange(max(0, int(np.ceil(time[0] * FPS - 1e-6))), int(np.floor(time[-1] * FPS + 1e-6)) + 1)
