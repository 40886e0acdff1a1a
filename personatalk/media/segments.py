"""Long jobs: what a job has finished is kept beside its output, so that a killed run goes on where it was.

A job's folder holds the analysis of the video and the encoded video in stretches of `LENGTH` frames. Every run encodes
in these stretches, so a run that was cut off and one that was not give the same file. The folder goes when the output
has its name.
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

from ..errors import MediaError

LENGTH = 250
"""Frames of a segment: as often as x264 starts anew by itself, so that this costs no bits."""
HEADER = struct.Struct("<qqqII")
"""Of an encoded packet in a segment: presentation and decoding time, duration, flags, bytes that follow."""
MOST_NOTES = 1 << 20
"""Bytes that the notes of a segment may take."""
LONGEST_NAME = 200
"""Bytes of a name to which more can be added on any disk."""
KEY, LOCK = "job.json", "lock"
OWN = (
    *(KEY, "packets", "*.packets", "part-*", ".tmp*", "output.*"),
    *("analysis*.safetensors", "who.json", "sound.wav", "*.samples"),
)
"""Names of what a job keeps."""


def folder_of(output: Path | str) -> Path:
    """The hidden folder of the job that writes an output."""
    output = Path(output)
    name = output.name
    if len(name.encode()) > LONGEST_NAME:
        name = f"{name[:50]}.{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return output.with_name(f".{name}.personatalk")


class JobFolder:
    """A job's folder, held by one process at a time; use it in a `with` block.

    It is removed when the block ends well, or fails before anything is finished. It stays after a kill and after
    Ctrl-C, and where a full disk or the like ended a run that had come far.

    Args:
        output: The file that the job writes.
        key: What the job does, JSON-able. What another job left under the same name is dropped.
        length: Frames of a segment; `LENGTH` where None.

    Raises:
        MediaError: Another process writes the same output, or the folder cannot be made.
    """

    def __init__(self, output: Path | str, key: dict[str, Any], length: int | None = None) -> None:
        self.output, self.folder, self.length = Path(output), folder_of(output), length or LENGTH
        self.key = hashlib.sha256(json.dumps([key, self.length], sort_keys=True).encode()).hexdigest()
        self._lock: int | None = None

    def __enter__(self) -> JobFolder:
        if self.folder.is_symlink():
            raise MediaError(f"{self.folder}: is a link; the job needs a folder of its own under this name")
        try:
            self._lock = _locked(self.folder)
        except BlockingIOError:
            raise MediaError(f"{self.output}: another run is writing it; wait for it, or choose another name") from None
        except OSError as error:
            raise MediaError(f"{self.folder}: the job's folder cannot be made ({error.strerror})") from error
        try:
            if self._read_key() != self.key:
                self._clear()
                self.write(KEY, json.dumps({"key": self.key, "output": self.output.name}).encode())
        except BaseException:
            self._let_go()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None or (issubclass(kind, Exception) and self.path(self.segment(0)) is None):
            self._clear()
            with contextlib.suppress(OSError):
                (self.folder / LOCK).unlink()
                self.folder.rmdir()  # if nothing of somebody else's is in it
        self._let_go()

    def _let_go(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _read_key(self) -> str:
        try:
            return str(json.loads((self.folder / KEY).read_bytes())["key"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return ""

    def _clear(self) -> None:
        """Drop what is there, by the names that are ours."""
        for pattern in OWN:
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)

    def write(self, name: str, content: bytes) -> None:
        """Write a file that is there whole or not at all."""
        with self.writing(name) as path:
            path.write_bytes(content)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A path to write to; the file gets its name when the block ends well, and is on the disk then."""
        part = self.folder / f"part-{name}"
        try:
            yield part
            with part.open("rb") as written:
                os.fsync(written.fileno())
            part.replace(self.folder / name)
        except OSError as error:
            raise MediaError(f"{self.folder}: cannot be written ({error.strerror or error})") from error

    def path(self, name: str) -> Path | None:
        """A finished file, or None."""
        path = self.folder / name
        return path if path.is_file() else None

    def segment(self, number: int) -> str:
        """Name of a segment's file."""
        return f"{number:06d}.packets"

    def finished(self) -> int:
        """Segments that are finished, counted from the first without a gap."""
        number = 0
        while self.shown(number) is not None:
            number += 1
        return number

    def shown(self, number: int) -> list[int] | None:
        """Presentation times of a segment's frames, in order; None where it is not finished or cannot be read."""
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
            notes: What is to be known of its frames, JSON-able.
            packets: Its packets, as `write_packet` wrote them; the file is used up.
        """
        with self.writing(self.segment(number)) as path, path.open("wb") as file:
            head = json.dumps(notes).encode()
            file.write(len(head).to_bytes(8, "little") + head)
            with packets.open("rb") as body:
                shutil.copyfileobj(body, file)
        packets.unlink(missing_ok=True)

    def load(self, number: int) -> tuple[list[Any], Iterator[Any]]:
        """Notes and packets of a finished segment; the packets stream."""
        path = self.folder / self.segment(number)
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            notes = json.loads(file.read(min(size, MOST_NOTES)))
        return notes, read_packets(path, 8 + size)


def write_packet(file: BinaryIO, packet: Any) -> None:
    """Write an encoded packet with its times, in ticks of its encoder's clock."""
    content = bytes(packet)
    flags = int(packet.is_keyframe)
    file.write(HEADER.pack(packet.pts, packet.dts, packet.duration or 0, flags, len(content)))
    file.write(content)


def read_packets(path: Path, start: int = 0) -> Iterator[Any]:
    """Packets that `write_packet` wrote, from a place in the file on."""
    with path.open("rb") as file:
        file.seek(start)
        while head := file.read(HEADER.size):
            pts, dts, duration, flags, size = HEADER.unpack(head)
            content = file.read(size)
            if len(content) != size:
                raise ValueError(f"{path}: ends in the middle of a packet")
            packet = av.Packet(content)
            packet.pts, packet.dts, packet.duration, packet.is_keyframe = pts, dts, duration, bool(flags)
            yield packet


def _locked(folder: Path) -> int:
    """Make a folder and hold its lock for this process; the system lets go when the process ends, however it ends.

    Raises:
        BlockingIOError: Another process holds it.
        OSError: The folder cannot be made.
    """
    while True:
        folder.mkdir(exist_ok=True)
        path = folder / LOCK
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:  # another process has just removed the folder
            continue
        try:
            _hold(descriptor)
            # The file may have gone, with its folder, while this process waited for its turn.
            there = path.stat()
            if (there.st_dev, there.st_ino) == (os.fstat(descriptor).st_dev, os.fstat(descriptor).st_ino):
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _hold(descriptor: int) -> None:
    """Lock an open file.

    Raises:
        BlockingIOError: Another process holds it.
    """
    if os.name == "nt":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except PermissionError as error:
            raise BlockingIOError from error
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
