"""Cuts a video into clips of one face: stretches of one shot, in time with their audio, of enough quality."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from ...audio.loudness import normalise_loudness
from ...audio.rates import FPS, SAMPLE_RATE
from ...audio.voice_activity import voice_activity
from ...errors import MediaError
from ...faces.analysis import Analysis, analyse
from ...faces.landmarks import open_tracker
from ...geometry.camera import crop_transform, warp
from ...geometry.morphable_model import MorphableModel
from ...media.audio import read_speech
from ...media.container import open_input
from ...media.reader import VideoReader
from ...stage1 import agreement
from ...stage1.network import GeometryGenerator
from ...utils.arrays import runs
from .crops import JpegCrops
from .layouts import VideoSource
from .options import PrepareOptions
from .outcomes import PrepareOutcome, RejectReason
from .quality import QualityModel
from .shards import Clip

# Crops of a clip whose quality is judged.
QUALITY_FRAMES = 8


# Returns how far the quality of crops lies above the least that is asked for; None where nothing is.
QualityMargin = Callable[[JpegCrops], float | None]
# Returns how the mouth that stage 1 generates for a clip's audio follows the real one.
SyncMeasure = Callable[[Clip], agreement.Agreement]


@dataclass(frozen=True)
class PrepareModels:
    """The models of a worker."""

    morphable: MorphableModel
    sync: SyncMeasure
    quality: QualityMargin


@functools.lru_cache(maxsize=1)
def load_models(options: PrepareOptions) -> PrepareModels:
    """Load the models of a worker, once.

    Raises:
        PersonaTalkError: One cannot be read, or they do not fit together.
    """
    morphable, network = MorphableModel.load(options.morphable), GeometryGenerator.load(options.stage1)
    network.check_fits(morphable)
    return PrepareModels(morphable, functools.partial(clip_sync, network, morphable), _quality_margin(options))


def clip_sync(network: GeometryGenerator, model: MorphableModel, clip: Clip) -> agreement.Agreement:
    """Return how the mouth that a network generates for a clip's audio follows the real one."""
    first, beta = clip.beta_at_clock()
    return agreement.agreement(network, model, clip.samples(), first, beta, model.shape(clip.alpha) - model.mean)


def _quality_margin(options: PrepareOptions) -> QualityMargin:
    if options.hyperiqa is not None:
        from .hyperiqa import HyperIQA

        network = HyperIQA.load(options.hyperiqa)
        return lambda crops: network.score(_few_crops(crops)) - options.min_hyperiqa
    if options.max_niqe > 0:
        model = QualityModel.load(options.quality_model)
        return lambda crops: options.max_niqe - model.score(_few_crops(crops))
    return lambda crops: None


def _few_crops(crops: JpegCrops) -> list[npt.NDArray[np.uint8]]:
    """Return `QUALITY_FRAMES` crops at most, evenly over all."""
    return [crops[int(i)] for i in np.unique(np.linspace(0, len(crops) - 1, QUALITY_FRAMES).astype(int))]


def extract_clips(source: VideoSource, options: PrepareOptions, outcome: PrepareOutcome) -> Iterator[Clip]:
    """Yield the clips of a video, one at a time, and count in `outcome` what is left out.

    Raises:
        MediaError: It cannot be read.
        FaceError: It shows no usable face.
    """
    models = load_models(options)
    with tempfile.TemporaryDirectory() as folder:
        video = assemble_video(source.video, Path(folder)) if source.video.is_dir() else source.video
        tracker = open_tracker()
        try:
            with VideoReader(video) as reader:
                analysis = analyse(reader, tracker, models.morphable)
                audio = _read_audio(source)
                stretches = list(_stretches(analysis, options, outcome))
                drafts = [_draft(source, options, analysis, audio, *s) for s in stretches]
                if audio is not None:
                    drafts = synchronise(drafts, audio, models.sync, options, outcome)
                for draft in drafts:
                    clip = _with_crops(draft, reader, analysis, models.quality, outcome)
                    if clip is not None:
                        yield clip
        finally:
            tracker.close()


def assemble_video(images: Path, folder: Path) -> Path:
    """Write a lossless video at 25 frames a second from a folder of images, in order of name.

    Raises:
        MediaError: There are none, or they are of different sizes.
    """
    names = sorted(p for p in images.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not names:
        raise MediaError(f"{images}: no images in this folder")
    output = folder / "images.mkv"
    try:
        with av.open(str(output), "w") as container:
            stream = None
            for name in names:
                with av.open(str(name)) as file:
                    image = next(file.decode(video=0)).reformat(format="bgr0")
                if stream is None:
                    stream = container.add_stream("ffv1", rate=FPS)
                    stream.width, stream.height, stream.pix_fmt = image.width, image.height, "bgr0"
                if (image.width, image.height) != (stream.width, stream.height):
                    raise MediaError(f"{name}: of another size than the images before it")
                image.pts, image.time_base = None, Fraction(1, FPS)
                container.mux(stream.encode(image))
            container.mux(stream.encode(None) if stream is not None else [])
    except (av.error.FFmpegError, StopIteration) as error:
        raise MediaError(f"{images}: not readable as images ({error})") from error
    return output


def _read_audio(source: VideoSource) -> npt.NDArray[np.int16] | None:
    """Return the audio of a source at 16 kHz from its start, loudness-normalised as a whole, or None if it has none.

    Raises:
        MediaError: It has an audio track that cannot be read.
    """
    if source.video.is_dir() and source.audio is None:
        return None
    path = source.audio or source.video
    with open_input(path) as container:
        if not container.streams.audio:
            return None
    samples = normalise_loudness(read_speech(path, SAMPLE_RATE))
    return np.clip(samples * 32767, -32768, 32767).astype(np.int16)


def _stretches(analysis: Analysis, options: PrepareOptions, outcome: PrepareOutcome) -> Iterator[tuple[int, int]]:
    """Yield frames (start, stop) of one shot that show the face, long enough and none too long."""
    cuts = np.array([False, *(a != b for a, b in pairwise(analysis.shot_of))])
    for start, stop in runs(analysis.usable, cuts):
        end = analysis.time[stop - 1] + analysis.duration[stop - 1]
        seconds = end - analysis.time[start]
        if seconds < options.min_seconds:
            outcome.reject(RejectReason.SHORT)
            continue
        if np.median(np.exp(analysis.pose[start:stop, 3])) < options.min_eye_distance:
            outcome.reject(RejectReason.SMALL)
            continue
        pieces = int(np.ceil(seconds / options.max_seconds - 1e-6))
        edges = np.linspace(start, stop, pieces + 1).round().astype(int)
        yield from pairwise(int(e) for e in edges)


@dataclass
class ClipDraft:
    """A clip without its crops, the frames of the video that it is made of, and its begin and end in seconds."""

    clip: Clip
    frames: npt.NDArray[np.int64]
    begin: float
    end: float


def _draft(
    source: VideoSource,
    options: PrepareOptions,
    analysis: Analysis,
    audio: npt.NDArray[np.int16] | None,
    start: int,
    stop: int,
) -> ClipDraft:
    """Return a stretch at the model's clock: of every 25th of a second the nearest frame, each frame once."""
    begin = analysis.time[start]
    ticks = begin + np.arange(int((analysis.time[stop - 1] - begin) * FPS + 1e-6) + 1) / FPS
    frames = np.unique(start + np.abs(analysis.time[start:stop, None] - ticks).argmin(axis=0))
    end = float(analysis.time[stop - 1] + analysis.duration[stop - 1])
    about = {"source": source.key, "start_seconds": float(begin), "shot": int(analysis.shot_of[start])}
    clip = Clip(
        key=f"{source.key}-{start:06d}",
        speaker=source.speaker,
        split=options.split,
        alpha=analysis.shots[analysis.shot_of[start]].alpha,
        beta=analysis.beta[frames],
        pose=analysis.pose[frames],
        time=analysis.time[frames] - begin,
        audio=np.zeros(0, np.int16) if audio is None else cut_audio(audio, begin, end),
        crops=JpegCrops.encode([]),
        about=about,
    )
    return ClipDraft(clip, frames, float(begin), end)


def cut_audio(audio: npt.NDArray[np.int16], begin: float, end: float) -> npt.NDArray[np.int16]:
    """Return the audio from `begin` to `end` in seconds; beyond the recording there is silence."""
    first, last = round(begin * SAMPLE_RATE), round(end * SAMPLE_RATE)
    inside = audio[max(0, first) : max(0, last)]
    before = min(max(0, -first), last - first)
    return np.pad(inside, (before, last - first - before - len(inside)))


def synchronise(
    drafts: list[ClipDraft],
    audio: npt.NDArray[np.int16],
    measure: SyncMeasure,
    options: PrepareOptions,
    outcome: PrepareOutcome,
) -> list[ClipDraft]:
    """Return the drafts with speech, their audio shifted into sync with the video; none if the two do not agree.

    A recording has one offset: it is estimated over all its stretches together.
    """
    speaking = []
    for draft in drafts:
        voice = voice_activity(draft.clip.samples())
        if len(voice) and voice.mean() >= options.min_speech:
            speaking.append(draft)
        else:
            outcome.reject(RejectReason.QUIET)
    if not speaking:
        return []
    whole = agreement.pooled([measure(draft.clip) for draft in speaking])
    if options.min_sync > 0 and whole.best < max(options.min_sync, min(0.5, 2 * whole.noise)):
        for _ in speaking:
            outcome.reject(RejectReason.OUT_OF_SYNC)
        return []
    lag = outcome.offset = round(2 * whole.convincing_lag) / 2
    for draft in speaking:
        clip = draft.clip
        about = {**clip.about, "offset_frames": lag, "agreement": whole.best}
        # What is seen late was said earlier.
        shifted = cut_audio(audio, draft.begin - lag / FPS, draft.end - lag / FPS)
        draft.clip = replace(clip, audio=shifted, about=about)
    return speaking


def _with_crops(
    draft: ClipDraft,
    reader: VideoReader,
    analysis: Analysis,
    quality: QualityMargin,
    outcome: PrepareOutcome,
) -> Clip | None:
    """Return the clip with its crops, or None if their quality is too low."""
    wanted = set(draft.frames.tolist())
    stream = reader.frames(int(draft.frames[0]), int(draft.frames[-1]) + 1)
    chosen = (frame for frame in stream if frame.index in wanted)
    crops = JpegCrops.encode(warp(frame.rgb(), crop_transform(analysis.pose[frame.index])) for frame in chosen)
    if len(crops) != len(draft.frames):
        raise MediaError(f"{reader.info.path}: {len(draft.frames) - len(crops)} frames are gone when it is read again")
    margin = quality(crops)
    if margin is not None and margin < 0:
        outcome.reject(RejectReason.LOW_QUALITY)
        return None
    about = draft.clip.about if margin is None else {**draft.clip.about, "quality_margin": margin}
    return replace(draft.clip, crops=crops, about=about)
