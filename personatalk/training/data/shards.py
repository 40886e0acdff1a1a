"""The data set on disk: WebDataset shards, an index beside each, and a manifest.

    DATASET/manifest.json       what it holds, and what was left out and why
    DATASET/shard-000000.tar    samples: KEY.json, KEY.npz (geometry, times), KEY.wav (audio), KEY.crops.npz (images)
                                or, in a pack, KEY.crops.mp4
    DATASET/shard-000000.json   for every sample of the shard: key, speaker, split, frames, and where its members lie

Any WebDataset reader can stream the shards. The index lets the trainers reach any sample at once, so that what is
sampled at a step depends on the seed and the step alone: a training resumes exactly, on any number of processes.
"""

from __future__ import annotations

import io
import json
import tarfile
import wave
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import webdataset

from ...audio.rates import FPS, SAMPLE_RATE
from ...errors import MediaError
from ...utils.arrays import Array, resampled
from ...utils.files import atomic_write
from .crops import Crops, JpegCrops, VideoCrops

# Exceptions that the readers of the standard library and NumPy raise on damaged files.
DAMAGE_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    EOFError,
    RecursionError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
    wave.Error,
)
# Version of the format, in the manifest.
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Clip:
    """A stretch of one speaker's face within one shot, at 25 frames a second.

    Attributes:
        key: Name within the data set.
        speaker: Name of the person who is seen.
        split: Such as "train" or "val".
        alpha: Shape, (I,).
        beta: Expression per frame, (T, E).
        pose: Head pose per frame in pixels of the source, (T, 6).
        time: Seconds of the frames after the clip's start, (T,); near k / 25, but the real times of the source.
        audio: 16 kHz mono over the clip, in sync with the video, loudness-normalised, int16 (N,); empty if mute.
        crops: Face crops of the frames, (T) of uint8 (256, 256, 3).
        about: Origin and measurements: source, start, offset, quality.
    """

    key: str
    speaker: str
    split: str
    alpha: Array
    beta: Array
    pose: Array
    time: npt.NDArray[np.float64]
    audio: npt.NDArray[np.int16]
    crops: Crops
    about: dict[str, Any]

    def samples(self) -> npt.NDArray[np.float32]:
        """Return the audio as float, -1..1."""
        return self.audio.astype(np.float32) / np.float32(32768)

    def beta_at_clock(self) -> tuple[int, Array]:
        """Return the expression at the model's 25 frames a second.

        Returns:
            The number of the first frame (its time is number / 25) and the coefficients (T', E).
        """
        first = int(np.ceil(self.time[0] * FPS - 1e-6))
        last = int(np.floor(self.time[-1] * FPS + 1e-6))
        wanted = np.arange(first, last + 1) / FPS
        return first, resampled(self.beta, self.time, wanted)

    def members(self) -> dict[str, bytes]:
        """Return the clip as members of a WebDataset sample, by suffix."""
        about = {**self.about, "speaker": self.speaker, "split": self.split}
        return {
            "json": json.dumps(about).encode(),
            "npz": _npz(alpha=self.alpha, beta=self.beta, pose=self.pose, time=self.time),
            "wav": _wav(self.audio),
            **dict([self.crops.member()]),
        }

    @classmethod
    def from_members(cls, key: str, members: dict[str, bytes], where: str = "") -> Clip:
        """Read what `members` wrote; the crops may be left out.

        Raises:
            MediaError: It is damaged; `where` says where it was read from.
        """
        try:
            return cls._from_members(key, members, f"{where or 'sample'}: {key}")
        except DAMAGE_ERRORS as error:
            raise MediaError(f"{where or 'sample'}: {key} is damaged ({error!r}); prepare the data set anew") from error

    @classmethod
    def _from_members(cls, key: str, members: dict[str, bytes], where: str) -> Clip:
        about = json.loads(members["json"])
        with np.load(io.BytesIO(members["npz"])) as file:
            geometry = {name: file[name] for name in ("alpha", "beta", "pose", "time")}
        crops: Crops = JpegCrops.encode([])
        if JpegCrops.SUFFIX in members:
            with np.load(io.BytesIO(members[JpegCrops.SUFFIX])) as file:
                crops = JpegCrops(file["data"], file["ends"], where)
        elif VideoCrops.SUFFIX in members:
            crops = VideoCrops(members[VideoCrops.SUFFIX], len(geometry["time"]), where)
        with wave.open(io.BytesIO(members["wav"])) as file:
            audio = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        clip = cls(key, about["speaker"], about["split"], **geometry, audio=audio, crops=crops, about=about)
        clip.check()
        return clip

    def check(self) -> None:
        """Raise ValueError unless all parts are of their shapes."""
        frames = len(self.time)
        shapes: list[tuple[str, npt.NDArray[Any], int]] = [
            ("alpha", self.alpha, 1),
            ("beta", self.beta, 2),
            ("pose", self.pose, 2),
            ("time", self.time, 1),
        ]
        for name, array, axes in shapes:
            if array.ndim != axes or not np.isfinite(array).all():
                raise ValueError(f"{name} is of shape {array.shape} or not finite")
        if not frames or len(self.beta) != frames or self.pose.shape != (frames, 6) or (np.diff(self.time) <= 0).any():
            raise ValueError("frames are missing or out of order")


def _npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def _wav(audio: npt.NDArray[np.int16]) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(audio.tobytes())
    return stream.getvalue()


@dataclass(frozen=True)
class IndexEntry:
    """The entry of a clip in the index of a shard.

    Attributes:
        shard: Tar file.
        key: Name of the clip.
        speaker: Name of the person who is seen.
        split: Such as "train" or "val".
        frames: Number of frames T.
        has_audio: Whether it has audio.
        members: First byte and size of its members in the shard, by suffix.
    """

    shard: Path
    key: str
    speaker: str
    split: str
    frames: int
    has_audio: bool
    members: dict[str, tuple[int, int]]

    def load(self, crops: bool = True) -> Clip:
        """Read the clip, with its crops or without.

        Raises:
            MediaError: It cannot be read, or is damaged.
        """
        members = {}
        try:
            with self.shard.open("rb") as file:
                for suffix, (start, size) in self.members.items():
                    if suffix in (JpegCrops.SUFFIX, VideoCrops.SUFFIX) and not crops:
                        continue
                    file.seek(start)
                    members[suffix] = file.read(size)
        except OSError as error:
            raise MediaError(f"{self.shard}: cannot be read ({error}); prepare the data set anew") from error
        return Clip.from_members(self.key, members, str(self.shard))


def evenly_spaced(entries: list[IndexEntry], count: int) -> list[IndexEntry]:
    """Return `count` entries at most, evenly over all."""
    return [entries[i] for i in np.unique(np.linspace(0, len(entries) - 1, min(count, len(entries))).astype(int))]


def write_shard(path: Path, clips: Iterable[Clip]) -> list[IndexEntry]:
    """Write a shard and its index, each at once or not at all; the index, written last, makes it count."""
    facts = {}
    with atomic_write(path) as draft, webdataset.TarWriter(str(draft), mtime=0) as writer:
        for clip in clips:
            writer.write({"__key__": clip.key, **clip.members()})
            facts[clip.key] = {
                "speaker": clip.speaker,
                "split": clip.split,
                "frames": len(clip.time),
                "sounds": len(clip.audio) > 0,
            }
    index: dict[str, Any] = {key: {**fact, "members": {}} for key, fact in facts.items()}
    with tarfile.open(path) as tar:
        for member in tar:
            key, suffix = member.name.split(".", 1)
            index[key]["members"][suffix] = (member.offset_data, member.size)
    write_json(path.with_suffix(".json"), index)
    return read_index(path)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file at once or not at all."""
    with atomic_write(path, fsync=True) as draft, draft.open("w") as file:
        json.dump(content, file, indent=1)


def read_index(shard: Path) -> list[IndexEntry]:
    """Return the entries of a shard.

    Raises:
        MediaError: The index is damaged, or not that of the shard.
    """
    index = shard.with_suffix(".json")
    try:
        size = shard.stat().st_size
        return [_entry(shard, key, size, **fact) for key, fact in json.loads(index.read_text()).items()]
    except DAMAGE_ERRORS as error:
        raise MediaError(f"{index}: damaged index of a shard ({error!r}); prepare the data set anew") from error


def _entry(
    shard: Path, key: str, shard_bytes: int, *, speaker: str, split: str, frames: int, sounds: bool, members: Any
) -> IndexEntry:
    kinds = [(speaker, str), (split, str), (frames, int), (sounds, bool), (members, dict)]
    if not all(isinstance(value, kind) for value, kind in kinds):
        raise TypeError(f"facts of {key} are of the wrong kind")
    places = {suffix: (start, size) for suffix, (start, size) in members.items()}
    for suffix, (start, size) in places.items():
        if not (isinstance(start, int) and isinstance(size, int) and 0 <= start <= start + size <= shard_bytes):
            raise ValueError(f"{suffix} of {key} lies outside the shard")
    return IndexEntry(shard, key, speaker, split, frames, sounds, places)


def read_datasets(folders: Iterable[Path | str], splits: Sequence[str], with_audio: bool = False) -> list[IndexEntry]:
    """Return the entries of several data sets together.

    Args:
        folders: The data sets.
        splits: The splits that are wanted.
        with_audio: Leave out mute clips.

    Raises:
        MediaError: One is no data set, is of another version, or none holds such a clip.
    """
    entries = [entry for folder in folders for entry in read_dataset(Path(folder))]
    entries = [e for e in entries if e.split in splits and (e.has_audio or not with_audio)]
    if not entries:
        wanted = "with audio " if with_audio else ""
        raise MediaError(f"no clip {wanted}of the split {' or '.join(splits)} in {', '.join(map(str, folders))}")
    return entries


def read_dataset(folder: Path) -> list[IndexEntry]:
    """Return the entries of a data set.

    Raises:
        MediaError: It is no data set, damaged, or of another version.
    """
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise MediaError(f"{folder}: no data set (it has no manifest.json); make one with 'personatalk data prepare'")
    try:
        content = json.loads(manifest.read_text())
        version, names = content.get("version"), content["shards"] if content.get("version") == FORMAT_VERSION else []
        if any(Path(name).name != name for name in names):
            raise ValueError("a shard is not in its folder")
    except DAMAGE_ERRORS as error:
        raise MediaError(f"{manifest}: damaged manifest ({error!r}); prepare the data set anew") from error
    if version != FORMAT_VERSION:
        raise MediaError(f"{folder}: data set of version {version}, {FORMAT_VERSION} is wanted; prepare it anew")
    return [entry for name in names for entry in read_index(folder / name)]
