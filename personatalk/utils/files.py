"""Files: what tells them apart, and writing them whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path

BLOCK = 1 << 20


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have names none."""
    try:
        return path.is_file()
    except OSError:
        return False


def file_stamp(path: Path | str) -> str:
    """Name, size and time: what tells one state of a file from another without reading all of it.

    Raises:
        OSError: It is not there.
    """
    state = Path(path).stat()
    return f"{Path(path).absolute()} {state.st_size} {state.st_mtime_ns}"


def sha256(path: Path | str) -> str:
    """Of a file's content, as hexadecimal digits.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def temp_path(path: Path, suffix: str = "") -> Path:
    """A name beside a file, for what is to become it, that no other process uses."""
    return path.with_name(f".{path.stem[:60]}.{uuid.uuid4().hex}{suffix}")


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A hidden file to write, which gets its name when the block ends well and is dropped otherwise."""
    draft = temp_path(path)
    try:
        yield draft
        draft.replace(path)
    finally:
        with contextlib.suppress(OSError, ValueError):
            draft.unlink(missing_ok=True)


DISK_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}


def same_file(output: Path, name: Path) -> bool:
    """Whether two names mean one file: also through links, and when it does not exist yet."""
    with contextlib.suppress(OSError):
        if output.samefile(name):
            return True
    return output.resolve() == name.resolve()
