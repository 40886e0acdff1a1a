"""Prepares raw video for training: `personatalk data prepare SOURCE... -o DATASET`.

For every video: scene cuts, the main face of every shot, hybrid geometry (paper, section 3.1), the offset between
sound and picture, then stretches of at most ten seconds at 25 frames a second with face crops, sound and a check of
quality. What is left out is counted with its reason.

Each video becomes one part file, written at once or not at all; parts are packed into shards in the order of the
sources. After a kill the same command goes on where it stood: a video is done when the journal names it.
"""

from __future__ import annotations

import functools
import json
import os
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import webdataset

from ...audio.encoder import FPS, SAMPLE_RATE
from ...audio.loudness import normalise_loudness
from ...audio.voice_activity import voice_activity
from ...errors import FaceError, MediaError
from ...faces.analysis import Analysis, analyse
from ...faces.landmarks import open_tracker
from ...geometry.camera import crop_transform, warp
from ...geometry.morphable_model import MorphableModel
from ...media.audio import read_speech
from ...media.container import open_input
from ...media.reader import VideoReader
from ...stage1.network import GeometryGenerator
from ...utils.arrays import runs
from . import offset, shards
from .layouts import VideoSource
from .quality import QualityModel
from .shards import Clip, EncodedCrops

QUALITY_FRAMES = 8
"""Crops of a clip whose quality is judged."""


class RejectReason(str, Enum):
    """Why a video, or a stretch of one, is left out."""

    UNREADABLE = "unreadable"
    NO_FACE = "no usable face"
    SHORT = "too short"
    SMALL = "face too small"
    UNQUALIFIED = "picture too poor"
    QUIET = "too little speech"
    OUT_OF_SYNC = "sound and picture do not agree"
    GONE = "not there, or not allowed to be read; tried again next time"
    CRASHED = "the decoder crashed on it"


@dataclass(frozen=True)
class PrepareOptions:
    """What is kept. All of it is in the manifest.

    Attributes:
        split: Name of the split that the sources belong to.
        shortest: Seconds of the shortest clip.
        longest: Seconds of the longest clip; longer stretches are divided evenly.
        eyes: Least distance in pixels between the outer corners of the eyes, as median over a clip.
        speech: Least share of a clip in which there is speech; a video without any sound is kept as mute.
        agreement: Least correlation of the mouth's opening with stage 1's, at the best offset; more is asked of a short
            recording, where chance alone agrees; 0 keeps all.
        niqe: Largest NIQE; 0 keeps all.
        quality_model: NIQE's model of good pictures; the package's where None.
        hyperiqa: Weights of HyperIQA, to be used instead of NIQE.
        hyperiqa_score: Least score of HyperIQA.
        morphable: Morphable model; the package's where None.
        stage1: Weights that judge the offset; the package's where None.
        face_model: MediaPipe Tasks face landmarker; the face mesh where None.
    """

    split: str = "train"
    shortest: float = 1.0
    longest: float = 10.0
    eyes: float = 32.0
    speech: float = 0.3
    agreement: float = 0.15
    niqe: float = 0.0
    quality_model: Path | None = None
    hyperiqa: Path | None = None
    hyperiqa_score: float = 40.0
    morphable: Path | None = None
    stage1: Path | None = None
    face_model: Path | None = None

    def as_json(self) -> dict[str, Any]:
        """The options as JSON-able values."""
        return {k: v.as_posix() if isinstance(v, Path) else v for k, v in asdict(self).items()}


@dataclass
class PrepareOutcome:
    """What became of one video.

    Attributes:
        key: The source's.
        clips: Keys of the clips that were kept.
        rejected: Number of stretches (or 1 for the video as a whole) that were left out, by reason.
        offset: Frames by which its picture was late against its sound, which was undone; None if unknown.
        note: The message of an error.
        stamp: Name and size of its file, by which another file of the same key is told.
        again: Whether it is to be tried again next time.
    """

    key: str
    clips: list[str] = field(default_factory=list)
    rejected: dict[str, int] = field(default_factory=dict)
    offset: int | None = None
    note: str = ""
    stamp: str = ""
    again: bool = False

    def reject(self, reason: RejectReason, note: str = "") -> None:
        """Count something that is left out."""
        self.rejected[reason.value] = self.rejected.get(reason.value, 0) + 1
        self.note = note or self.note


@functools.lru_cache(maxsize=1)
def _models(
    options: PrepareOptions,
) -> tuple[MorphableModel, GeometryGenerator, Callable[[EncodedCrops], float | None]]:
    """What a worker needs, loaded once."""
    model, network = MorphableModel.load(options.morphable), GeometryGenerator.load(options.stage1)
    network.check_fits(model)
    return model, network, _judge(options)


def _judge(options: PrepareOptions) -> Callable[[EncodedCrops], float | None]:
    """A function that gives the quality score of crops; higher is better. None where nothing is asked for."""
    if options.hyperiqa is not None:
        from .hyperiqa import HyperIQA

        network = HyperIQA.load(options.hyperiqa)
        return lambda crops: network.score(_spread(crops)) - options.hyperiqa_score
    if options.niqe > 0:
        model = QualityModel.load(options.quality_model)
        return lambda crops: options.niqe - model.score(_spread(crops))
    return lambda crops: None


def _spread(crops: EncodedCrops) -> list[npt.NDArray[np.uint8]]:
    return [crops[int(i)] for i in np.unique(np.linspace(0, len(crops) - 1, QUALITY_FRAMES).astype(int))]


def process(source: VideoSource, parts: Path, options: PrepareOptions) -> PrepareOutcome:
    """Prepare one video: writes `parts`/KEY.tar if any of it is kept. This is what the workers run."""
    outcome = PrepareOutcome(source.key, stamp=stamp(source))
    if not os.access(source.video, os.R_OK):
        outcome.again = True
        outcome.reject(RejectReason.GONE, str(source.video))
        return outcome
    part = parts / f"{source.key}.tar"
    # Of this process alone: a worker whose master was killed may still be at the same video.
    draft = part.with_suffix(f".{os.getpid()}.part")
    with webdataset.TarWriter(str(draft), mtime=0) as writer:
        try:
            for clip in clips_of(source, options, outcome):
                writer.write({"__key__": clip.key, **clip.members()})
                outcome.clips.append(clip.key)
        except FaceError as error:
            outcome.reject(RejectReason.NO_FACE, str(error))
        except MediaError as error:
            outcome.reject(RejectReason.UNREADABLE, str(error))
    # What was good of a damaged file is not kept: its index of times cannot be trusted.
    if RejectReason.UNREADABLE.value in outcome.rejected:
        outcome.clips = []
    if outcome.clips:
        draft.replace(part)
    else:
        draft.unlink()
    return outcome


def stamp(source: VideoSource) -> str:
    """Name and size of a source's file, or number of its pictures."""
    if source.video.is_dir():
        return f"{source.video.name}:{sum(1 for _ in source.video.iterdir())}"
    return f"{source.video.name}:{source.video.stat().st_size if source.video.exists() else 0}"


def crashed(source: VideoSource, code: int | None = None) -> PrepareOutcome:
    """The outcome of a video on which the process died."""
    outcome = PrepareOutcome(source.key, stamp=stamp(source))
    outcome.reject(RejectReason.CRASHED, f"{source.video}: its decoder crashed")
    return outcome


def clips_of(source: VideoSource, options: PrepareOptions, outcome: PrepareOutcome) -> Iterator[Clip]:
    """The clips of a video, one at a time; what is left out is noted in `outcome`.

    Raises:
        MediaError: It cannot be read.
        FaceError: It shows no usable face.
    """
    model, network, judge = _models(options)
    with tempfile.TemporaryDirectory() as folder:
        video = assembled(source.video, Path(folder)) if source.video.is_dir() else source.video
        tracker = open_tracker(options.face_model)
        try:
            with VideoReader(video) as reader:
                analysis = analyse(reader, tracker, model)
                sound = _sound(source)
                stretches = list(_stretches(analysis, options, outcome))
                drafts = [_draft(source, options, analysis, sound, *s) for s in stretches]
                if sound is not None:
                    drafts = _in_time(drafts, sound, model, network, options, outcome)
                for draft in drafts:
                    clip = _finished(draft, reader, analysis, judge, outcome)
                    if clip is not None:
                        yield clip
        finally:
            tracker.close()


def assembled(pictures: Path, folder: Path) -> Path:
    """A lossless video at 25 frames a second from a folder of pictures, in order of name.

    Raises:
        MediaError: There are none, or they are of different sizes.
    """
    names = sorted(p for p in pictures.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not names:
        raise MediaError(f"{pictures}: no pictures in this folder")
    output = folder / "pictures.mkv"
    try:
        with av.open(str(output), "w") as container:
            stream = None
            for name in names:
                with av.open(str(name)) as picture:
                    image = next(picture.decode(video=0)).reformat(format="bgr0")
                if stream is None:
                    stream = container.add_stream("ffv1", rate=FPS)
                    stream.width, stream.height, stream.pix_fmt = image.width, image.height, "bgr0"
                if (image.width, image.height) != (stream.width, stream.height):
                    raise MediaError(f"{name}: of another size than the pictures before it")
                image.pts, image.time_base = None, Fraction(1, FPS)
                container.mux(stream.encode(image))
            container.mux(stream.encode(None) if stream is not None else [])
    except (av.error.FFmpegError, StopIteration) as error:
        raise MediaError(f"{pictures}: not readable as pictures ({error})") from error
    return output


def _sound(source: VideoSource) -> npt.NDArray[np.int16] | None:
    """Sound of a source at 16 kHz from its start, loudness-normalised as a whole, or None if it has none.

    Raises:
        MediaError: It has a sound track that cannot be read.
    """
    if source.video.is_dir() and source.sound is None:
        return None
    path = source.sound or source.video
    with open_input(path) as container:
        if not container.streams.audio:
            return None
    samples = normalise_loudness(read_speech(path, SAMPLE_RATE))
    return np.clip(samples * 32767, -32768, 32767).astype(np.int16)


def _stretches(analysis: Analysis, options: PrepareOptions, outcome: PrepareOutcome) -> Iterator[tuple[int, int]]:
    """Frames (start, stop) of one shot that show the face, long enough and none too long."""
    cuts = np.array([False, *(a != b for a, b in pairwise(analysis.shot_of))])
    for start, stop in runs(analysis.usable, cuts):
        end = analysis.time[stop - 1] + analysis.duration[stop - 1]
        seconds = end - analysis.time[start]
        if seconds < options.shortest:
            outcome.reject(RejectReason.SHORT)
            continue
        if np.median(np.exp(analysis.pose[start:stop, 3])) < options.eyes:
            outcome.reject(RejectReason.SMALL)
            continue
        pieces = int(np.ceil(seconds / options.longest - 1e-6))
        edges = np.linspace(start, stop, pieces + 1).round().astype(int)
        yield from pairwise(int(e) for e in edges)


@dataclass
class _Draft:
    """A clip without its crops, the frames of the video that it is made of, and its begin and end in seconds."""

    clip: Clip
    frames: npt.NDArray[np.int64]
    begin: float
    end: float


def _draft(
    source: VideoSource,
    options: PrepareOptions,
    analysis: Analysis,
    sound: npt.NDArray[np.int16] | None,
    start: int,
    stop: int,
) -> _Draft:
    """A stretch at the model's clock: of every 25th of a second the nearest frame, each frame once."""
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
        sound=np.zeros(0, np.int16) if sound is None else cut(sound, begin, end),
        crops=EncodedCrops.encode([]),
        about=about,
    )
    return _Draft(clip, frames, float(begin), end)


def cut(sound: npt.NDArray[np.int16], begin: float, end: float) -> npt.NDArray[np.int16]:
    """Sound from `begin` to `end` in seconds; beyond the recording there is silence."""
    first, last = round(begin * SAMPLE_RATE), round(end * SAMPLE_RATE)
    inside = sound[max(0, first) : max(0, last)]
    before = min(max(0, -first), last - first)
    return np.pad(inside, (before, last - first - before - len(inside)))


def _in_time(
    drafts: list[_Draft],
    sound: npt.NDArray[np.int16],
    model: MorphableModel,
    network: GeometryGenerator,
    options: PrepareOptions,
    outcome: PrepareOutcome,
) -> list[_Draft]:
    """Those with speech, their sound moved into time with the picture; none if the two do not agree.

    A recording has one offset: it is estimated over all its stretches together.
    """
    speaking = []
    for draft in drafts:
        voice = voice_activity(draft.clip.samples())
        if len(voice) and voice.mean() >= options.speech:
            speaking.append(draft)
        else:
            outcome.reject(RejectReason.QUIET)
    if not speaking:
        return []
    found = []
    for draft in speaking:
        first, beta = draft.clip.beta_at_clock()
        template = model.shape(draft.clip.alpha) - model.mean
        found.append(offset.agreement(network, model, draft.clip.samples(), first, beta, template))
    whole = offset.pooled(found)
    if options.agreement > 0 and whole.best < max(options.agreement, min(0.5, 2 * whole.noise)):
        for _ in speaking:
            outcome.reject(RejectReason.OUT_OF_SYNC)
        return []
    lag = outcome.offset = whole.convincing_lag
    for draft in speaking:
        clip = draft.clip
        about = {**clip.about, "offset_frames": lag, "agreement": whole.best}
        # What is seen late was said earlier.
        shifted = cut(sound, draft.begin - lag / FPS, draft.end - lag / FPS)
        draft.clip = replace(clip, sound=shifted, about=about)
    return speaking


def _finished(
    draft: _Draft,
    reader: VideoReader,
    analysis: Analysis,
    judge: Callable[[EncodedCrops], float | None],
    outcome: PrepareOutcome,
) -> Clip | None:
    """The clip with its crops, or None if they are too poor."""
    wanted = set(draft.frames.tolist())
    stream = reader.frames(int(draft.frames[0]), int(draft.frames[-1]) + 1)
    chosen = (frame for frame in stream if frame.index in wanted)
    crops = EncodedCrops.encode(warp(frame.rgb(), crop_transform(analysis.pose[frame.index])) for frame in chosen)
    if len(crops) != len(draft.frames):
        raise MediaError(f"{reader.info.path}: {len(draft.frames) - len(crops)} frames are gone when it is read again")
    margin = judge(crops)
    if margin is not None and margin < 0:
        outcome.reject(RejectReason.UNQUALIFIED)
        return None
    about = draft.clip.about if margin is None else {**draft.clip.about, "quality_margin": margin}
    return replace(draft.clip, crops=crops, about=about)


class Dataset:
    """A data set that is being made: parts, journal, shards and manifest.

    Args:
        folder: Where it lies; made if needed.
        options: What is kept.
        shard_bytes: Size from which on parts are packed into a shard.

    Raises:
        MediaError: The folder cannot be written, or holds a data set made with other options.
    """

    def __init__(self, folder: Path, options: PrepareOptions, shard_bytes: int = 256 << 20) -> None:
        self.folder, self.options, self.shard_bytes = folder, options, shard_bytes
        self.parts = folder / "parts"
        try:
            self.parts.mkdir(parents=True, exist_ok=True)
            for draft in self.parts.glob("*.part"):
                draft.unlink()
            self._check_options()
        except OSError as error:
            raise MediaError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error
        self.journal = folder / "journal.jsonl"
        self.done = {outcome.key: outcome for outcome in self._journalled()}
        self.shards = sorted(p for p in folder.glob("shard-*.tar") if p.with_suffix(".json").exists())
        self.packed = {row.key for shard in self.shards for row in shards.read_index(shard)}
        self._waiting = [o.key for o in self.done.values() if o.clips and o.clips[0] not in self.packed]
        for outcome in self.done.values():
            if outcome.clips and outcome.clips[0] in self.packed:
                self._part(outcome.key).unlink(missing_ok=True)

    def _check_options(self) -> None:
        path = self.folder / "options.json"
        if not path.exists():
            shards.write_json(path, self.options.as_json())
        before = json.loads(path.read_text())
        other = [name for name, value in self.options.as_json().items() if before.get(name) != value]
        if other:
            raise MediaError(f"{self.folder}: made with another {', '.join(other)}; choose another folder")

    def left(self, sources: list[VideoSource]) -> list[VideoSource]:
        """Those that are not done yet.

        Raises:
            MediaError: One has the key of another video that is done.
        """
        for source in sources:
            known = self.done.get(source.key)
            if known is not None and known.stamp != stamp(source):
                raise MediaError(
                    f"{source.video}: the data set has another video under the name {source.key}; choose another folder"
                )
        return [source for source in sources if source.key not in self.done]

    def _journalled(self) -> Iterator[PrepareOutcome]:
        """What the journal says; a line that a kill cut off is dropped."""
        if not self.journal.exists():
            return
        text = self.journal.read_text()
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            os.truncate(self.journal, len(whole.encode()))
        for line in whole.splitlines():
            yield PrepareOutcome(**json.loads(line))

    def _part(self, key: str) -> Path:
        return self.parts / f"{key}.tar"

    def add(self, outcome: PrepareOutcome) -> None:
        """Take in a video that a worker has finished."""
        self.done[outcome.key] = outcome
        if outcome.again:
            return
        with self.journal.open("a") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")
        if outcome.clips and outcome.clips[0] not in self.packed:
            self._waiting.append(outcome.key)
            if sum(self._part(key).stat().st_size for key in self._waiting) >= self.shard_bytes:
                self.pack()

    def pack(self) -> None:
        """Put all waiting parts into a shard."""
        if not self._waiting:
            return
        shard = self.folder / f"shard-{len(self.shards):06d}.tar"
        clips = (clip for key in self._waiting for clip in _read_part(self._part(key)))
        self.packed |= {row.key for row in shards.write_shard(shard, clips)}
        self.shards.append(shard)
        for key in self._waiting:
            self._part(key).unlink()
        self._waiting = []

    def finish(self) -> dict[str, Any]:
        """Pack what is left and write the manifest, which is returned."""
        self.pack()
        rows = [row for shard in self.shards for row in shards.read_index(shard)]
        rejected: Counter[str] = Counter()
        for outcome in self.done.values():
            rejected.update(outcome.rejected)
        manifest = {
            **{"version": shards.VERSION, "fps": FPS, "sample_rate": SAMPLE_RATE, "crop": 256},
            "shards": [shard.name for shard in self.shards],
            **{"videos": len(self.done), "clips": len(rows), "speakers": len({r.speaker for r in rows})},
            "hours": sum(r.frames for r in rows) / FPS / 3600,
            "splits": dict(Counter(r.split for r in rows)),
            "mute_clips": sum(not r.sounds for r in rows),
            "rejected": dict(rejected),
            "offsets": dict(Counter(str(o.offset) for o in self.done.values() if o.offset is not None)),
            "options": self.options.as_json(),
        }
        shards.write_json(self.folder / "manifest.json", manifest)
        return manifest


def _read_part(part: Path) -> Iterator[Clip]:
    """The clips of a part, one at a time."""
    members: dict[str, bytes] = {}
    last = None
    with tarfile.open(part) as tar:
        for member in tar:
            key, suffix = member.name.split(".", 1)
            if last is not None and key != last:
                yield Clip.from_members(last, members)
                members = {}
            content = tar.extractfile(member)
            assert content is not None
            last, members[suffix] = key, content.read()
    if last is not None:
        yield Clip.from_members(last, members)


Engine = Callable[[Callable[[VideoSource], PrepareOutcome], Iterable[VideoSource]], Iterator[PrepareOutcome]]
"""Runs a function over sources and yields what it returns in their order."""


def prepare(
    sources: list[VideoSource],
    folder: Path,
    options: PrepareOptions,
    engine: Engine,
    tell: Callable[[PrepareOutcome], None] = lambda outcome: None,
    shard_bytes: int = 256 << 20,
) -> dict[str, Any]:
    """Prepare videos into a data set, or go on with one.

    Args:
        sources: The videos; those that the data set has already are skipped.
        folder: The data set.
        options: What is kept.
        engine: Runs the workers: see `workers`.
        tell: Called with each outcome as it comes.
        shard_bytes: Size of a shard.

    Returns:
        The manifest.

    Raises:
        PersonaTalkError: A model is missing, or the folder cannot be written.
    """
    if len({s.key for s in sources}) < len(sources):
        double = next(key for key, n in Counter(s.key for s in sources).items() if n > 1)
        raise MediaError(f"two sources have the same name in the data set, {double}; prepare them into two data sets")
    dataset = Dataset(folder.resolve(), options, shard_bytes)
    # What is missing ends the run here, not every video.
    _models(options)
    open_tracker(options.face_model).close()
    work = functools.partial(process, parts=dataset.parts, options=options)
    for outcome in engine(work, dataset.left(sources)):
        dataset.add(outcome)
        tell(outcome)
    return dataset.finish()
