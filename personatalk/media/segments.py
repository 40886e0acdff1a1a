"""Long jobs: what a job has finished is kept beside its output, so that a killed run goes on where it was.

A job's folder holds the analysis of the video and the encoded video in segments of some hundred frames. Every run
encodes in these segments, so a run that was cut off and one that was not give the same file. The folder goes when the
output has its name.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import av
from filelock import FileLock, Timeout

from ..errors import OutputError
from ..utils.files import TEMP_PATTERN, atomic_write, link_target

# Frames of a segment: as often as x264 starts anew by itself, so that this costs no bits.
SEGMENT_FRAMES = 250

# An encoded packet in a segment: presentation and decoding time, duration, flags, number of bytes that follow.
PACKET_HEADER = struct.Struct("<qqqII")

# Most bytes that the notes of a segment may take.
MOST_NOTES = 1 << 20

# Bytes of a name to which more can be added on any disk.
LONGEST_NAME = 200

# Name of the file that says what the job does.
JOB_FILE = "job.json"

# Names of what a job keeps.
OWN = (
    JOB_FILE,
    "packets",
    "*.packets",
    TEMP_PATTERN,
    ".tmp*",
    "output.*",
    "analysis*.safetensors",
    "who.json",
    "sound.wav",
    "*.samples",
)


def folder_of(output: Path | str) -> Path:
    """Return the hidden folder of the job that writes an output, beside the file that it becomes."""
    output = link_target(Path(output))
    name = output.name
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = f"{name[:50]}.{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}"
    return output.with_name(f".{name}.personatalk")


class JobFolder:
    """A job's folder, held by one process at a time; use it in a `with` block.

    It is removed when the block ends well, or fails before anything is finished. It stays after a kill and after
    Ctrl-C, and where a full disk or the like ended a run that had come far.

    Attributes:
        output: The file that the job writes.
        folder: The folder.
        segment_frames: Frames of a segment.
    """

    def __init__(self, output: Path | str, key: dict[str, Any], segment_frames: int | None = None) -> None:
        """Name the folder; it is made when the `with` block is entered.

        Args:
            output: The file that the job writes.
            key: What the job does, JSON-able. What another job left under the same name is dropped.
            segment_frames: Frames of a segment; `SEGMENT_FRAMES` where None.
        """
        self.output, self.folder, self.segment_frames = (
            Path(output),
            folder_of(output),
            segment_frames or SEGMENT_FRAMES,
        )
        self.key = hashlib.sha256(json.dumps([key, self.segment_frames], sort_keys=True).encode()).hexdigest()
        # Beside the folder, which is removed while the lock is held. The system lets go when a process ends.
        self._lock = FileLock(self.folder.with_name(f"{self.folder.name}.lock"), blocking=False)

    @property
    def draft(self) -> Path:
        """Name of the output while it is written."""
        return self.folder / f"output{self.output.suffix}"

    def __enter__(self) -> JobFolder:
        """Lock the folder, make it, and drop what another job left in it.

        Raises:
            OutputError: Another process writes the same output, or the folder cannot be made.
        """
        if self.folder.is_symlink():
            raise OutputError(f"{self.folder}: is a link; the job needs a folder of its own under this name")
        try:
            with self._explained():
                self._lock.acquire()
                self.folder.mkdir(exist_ok=True)
            if self._read_key() != self.key:
                self._clear()
                self.write(JOB_FILE, json.dumps({"key": self.key, "output": self.output.name}).encode())
        except BaseException:
            self._release()
            raise
        return self

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the errors of a folder that cannot be made or held into OutputError."""
        try:
            yield
        except Timeout:
            raise OutputError(
                f"{self.output}: another run is writing it; wait for it, or choose another name"
            ) from None
        except OSError as error:
            raise OutputError(f"{self.folder}: the job's folder cannot be made ({error.strerror})") from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if kind is None or (issubclass(kind, Exception) and self.path(self.segment(0)) is None):
                self._clear()
                with contextlib.suppress(OSError):
                    self.folder.rmdir()  # if nothing of somebody else's is in it
        finally:
            self._release()

    def _release(self) -> None:
        """Let go of the lock, if it is held; its file is removed before, so that nobody else's is."""
        if self._lock.is_locked:
            with contextlib.suppress(OSError):
                Path(self._lock.lock_file).unlink()
            self._lock.release()

    def _read_key(self) -> str:
        try:
            return str(json.loads((self.folder / JOB_FILE).read_bytes())["key"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return ""

    def _clear(self) -> None:
        """Delete what is there under the names of a job's own files."""
        for pattern in OWN:
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all."""
        with self.writing(name) as path:
            path.write_bytes(content)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a path to write to; the file gets its name when the block ends well, and is on the disk then."""
        try:
            with atomic_write(self.folder / name, fsync=True) as draft:
                yield draft
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written ({error.strerror or error})") from error

    def path(self, name: str) -> Path | None:
        """Return the path of a finished file, or None."""
        path = self.folder / name
        return path if path.is_file() else None

    def segment(self, number: int) -> str:
        """Return the name of a segment's file."""
        return f"{number:06d}.packets"

    def shown(self, number: int) -> list[int] | None:
        """Return the presentation times of a segment's frames, in order.

        None stands for a segment that is not finished or cannot be read.
        """
        if self.path(self.segment(number)) is None:
            return None
        try:
            notes, packets = self.load(number)
            times = sorted(packet.pts for packet in packets)
            return times if isinstance(notes, list) and len(times) == len(notes) else None
        except (OSError, ValueError, TypeError, RecursionError, struct.error, MemoryError, OverflowError):
            return None  # disks fail, and people delete files

    def store(self, number: int, notes: list[Any], packets: Path) -> None:
        """Declare a segment finished.

        Args:
            number: Counted from 0.
            notes: A note on each of its frames, JSON-able.
            packets: Its packets, as `write_packet` wrote them; the file is used up.
        """
        with self.writing(self.segment(number)) as path, path.open("wb") as file:
            head = json.dumps(notes).encode()
            file.write(len(head).to_bytes(8, "little") + head)
            with packets.open("rb") as body:
                shutil.copyfileobj(body, file)
        packets.unlink(missing_ok=True)

    def load(self, number: int) -> tuple[list[Any], Iterator[av.Packet]]:
        """Return the notes and the packets of a finished segment; the packets stream."""
        path = self.folder / self.segment(number)
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            notes = json.loads(file.read(min(size, MOST_NOTES)))
        return notes, read_packets(path, 8 + size)


def write_packet(file: BinaryIO, packet: av.Packet) -> None:
    """Write an encoded packet with its times, in ticks of its encoder's clock."""
    content = bytes(packet)
    flags = int(packet.is_keyframe)
    file.write(PACKET_HEADER.pack(packet.pts, packet.dts, packet.duration or 0, flags, len(content)))
    file.write(content)


def read_packets(path: Path, start: int = 0) -> Iterator[av.Packet]:
    """Yield packets that `write_packet` wrote, from a place in the file on."""
    with path.open("rb") as file:
        file.seek(start)
        while head := file.read(PACKET_HEADER.size):
            pts, dts, duration, flags, size = PACKET_HEADER.unpack(head)
            content = file.read(size)
            if len(content) != size:
                raise ValueError(f"{path}: ends in the middle of a packet")
            packet = av.Packet(content)
            packet.pts, packet.dts, packet.duration, packet.is_keyframe = pts, dts, duration, bool(flags)
            yield packet
