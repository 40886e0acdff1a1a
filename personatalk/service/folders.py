"""The jobs' folders on the disk, and the folder whose files clients may name."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import MediaError
from ..utils.files import printable_name

# Suffixes that a file keeps in a job's folder; others say nothing to anybody.
SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")

# Longest name that is kept to be shown.
LONGEST_NAME = 120


class JobFolders:
    """The folders of the jobs, one each, by the jobs' names.

    Args:
        root: The folder that holds them; it is made.

    Raises:
        MediaError: It cannot be made.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise MediaError(f"{root}: the folder cannot be made ({error.strerror})") from error

    def of(self, id: str) -> Path:
        """Return a job's folder."""
        return self.root / id

    def remove(self, id: str) -> None:
        """Delete a job's folder with all that is in it."""
        shutil.rmtree(self.of(id), ignore_errors=True)

    def sweep(self, known: set[str]) -> None:
        """Delete the folders of jobs that are not known: those whose upload a kill cut off."""
        for folder in self.root.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def used(self) -> int:
        """Return the bytes that all jobs take."""
        total = 0
        for folder, _, names in os.walk(self.root):
            for name in names:
                with contextlib.suppress(OSError):
                    total += Path(folder, name).lstat().st_size
        return total


def stored_name(stem: str, name: str) -> str:
    """Return the name of a client's file in a job's folder: nothing but a harmless suffix is the client's."""
    suffix = Path(name).suffix.lower()
    return stem + (suffix if SUFFIX.fullmatch(suffix) else "")


def shown_name(name: str) -> str:
    """Return the name of a client's file as it is shown: without folders, unprintable characters and excess length."""
    last = printable_name(name.replace("\\", "/").rsplit("/", 1)[-1])
    clean = "".join(c for c in last if c.isprintable()).strip()
    return clean[-LONGEST_NAME:] or "unnamed"


@contextlib.contextmanager
def open_below(root: Path, words: str) -> Iterator[BinaryIO]:
    """Open a file below a folder.

    Args:
        root: The folder.
        words: A path that is relative to it; links may not lead out of it.

    Raises:
        MediaError: There is no such file in it; the message does not say what there is outside.
    """
    refused = MediaError(f"{shown_name(words)}: there is no such file in the folder that may be used")
    try:
        path = (root / words).resolve(strict=True)
        if Path(words).is_absolute() or not path.is_relative_to(root.resolve(strict=True)) or not path.is_file():
            raise refused
        # No link is followed any more: the path has none, unless it was exchanged meanwhile.
        file = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb")
    except (OSError, ValueError, RuntimeError):
        raise refused from None
    with file:
        if path.resolve() != path or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
            raise refused
        yield file
