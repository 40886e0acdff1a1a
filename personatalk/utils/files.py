"""File fingerprints and atomic writes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import MediaError, PersonaTalkError

# Folder of the package's own weights.
PACKAGED = Path(__file__).parents[1] / "weights"

# Bytes that are read at once.
BLOCK_SIZE = 1 << 20

# Name of the standard input.
STANDARD_INPUT = Path("-")

# Numbers of the system's errors where there is no room for more.
DISK_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}

# A glob pattern that the names of `temp_path` match.
TEMP_PATTERN = f".*.{'[0-9a-f]' * 32}*"


def is_file(path: Path) -> bool:
    """Return whether there is such a file; a name that no file can have names none."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_pipe(path: Path) -> bool:
    """Return whether a name is that of a pipe, or of the standard input, which can be read only once."""
    try:
        return path == STANDARD_INPUT or path.is_fifo()
    except (OSError, ValueError):
        return False


def same_file(one: Path, other: Path) -> bool:
    """Return whether two names mean one file: also through links, and when it does not exist yet."""
    with contextlib.suppress(OSError):
        if one.samefile(other):
            return True
    return one.resolve() == other.resolve()


def file_stamp(path: Path | str) -> str:
    """Return name, size and time of a file: they tell its states apart without reading all of it.

    Raises:
        OSError: It is not there.
    """
    state = Path(path).stat()
    return f"{Path(path).absolute()} {state.st_size} {state.st_mtime_ns}"


def sha256(path: Path | str) -> str:
    """Return the SHA-256 of a file's content, as hexadecimal digits.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(BLOCK_SIZE):
            digest.update(block)
    return digest.hexdigest()


def printable_name(path: Path | str) -> str:
    """Return a file's name without the folder, as text of whole characters: names may have bytes that are no UTF-8."""
    return os.fsencode(Path(path).name).decode("utf-8", "replace")


def link_target(path: Path) -> Path:
    """Return the file that is written under a name: where a symbolic link leads to, which need not exist yet.

    Links that lead in a circle lead nowhere.
    """
    try:
        return path.resolve() if path.is_symlink() else path
    except (OSError, RuntimeError):
        return path


@contextlib.contextmanager
def regular_file(path: Path) -> Iterator[Path]:
    """Make what comes out of a pipe a file that can be read more than once.

    Yields:
        The path itself, or for a pipe that of a temporary file, which is deleted afterwards.

    Raises:
        MediaError: Nothing comes out of the pipe, it cannot be read, or the disk is full.
    """
    if not is_pipe(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="personatalk-") as folder:
        kept = Path(folder) / "pipe"
        try:
            with _opened_pipe(path) as pipe, kept.open("wb") as file:
                shutil.copyfileobj(pipe, file)
        except OSError as error:
            raise MediaError(f"{path}: the pipe cannot be read into {folder} ({error.strerror or error})") from error
        if not kept.stat().st_size:
            raise MediaError(f"{path} is a pipe out of which nothing came; check the command that writes to it")
        with standing_in(path, kept):
            yield kept


def _opened_pipe(path: Path) -> BinaryIO:
    if path != STANDARD_INPUT:
        return path.open("rb")
    if sys.stdin is None or sys.stdin.isatty():
        raise MediaError("-: the standard input is no pipe; let a command write to it, or name a file")
    return os.fdopen(os.dup(sys.stdin.fileno()), "rb")


@contextlib.contextmanager
def standing_in(named: Path, read: Path) -> Iterator[None]:
    """Let errors of the block name the file that the user named, and not the one that is read in its place."""
    try:
        yield
    except PersonaTalkError as error:
        raise type(error)(str(error).replace(str(read), str(named))) from error


def temp_path(path: Path, suffix: str = "") -> Path:
    """Return a hidden name beside a file that no other process uses."""
    return path.with_name(f".{path.stem[:60]}.{uuid.uuid4().hex}{suffix}")


@contextlib.contextmanager
def atomic_write(path: Path, *, suffix: str = "", fsync: bool = False) -> Iterator[Path]:
    """Write a file whole or not at all.

    Args:
        path: The file; an existing one is replaced at the end, a symbolic link stays and its target is replaced.
        suffix: Suffix of the hidden file, for writers that look at it.
        fsync: Wait until the content is on the disk, which alone tells that some disks are full.

    Yields:
        The path of a hidden file to write, which gets its name when the block ends well and is deleted otherwise.
    """
    path = link_target(path)
    draft = temp_path(path, suffix)
    try:
        yield draft
        if fsync:
            with draft.open("rb+") as written:
                os.fsync(written.fileno())
        draft.replace(path)
    finally:
        with contextlib.suppress(OSError, ValueError):
            draft.unlink(missing_ok=True)
