"""Standard streams of the process: what nobody reads any more is dropped, and does not stop the work."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer


class _Lossy(io.FileIO):
    """A stream whose reader may go away, as `head` does."""

    def write(self, data: Buffer) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


@contextlib.contextmanager
def robust_streams() -> Iterator[None]:
    """Make the standard streams robust within the block.

    Readers may close them, or the caller may have closed them before; and file names may have bytes that the terminal's
    encoding does not know, which are shown as escapes.
    """
    # A file that is opened later must not get the number of a stream: libraries write to those by number.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _robust(1, sys.stdout), _robust(2, sys.stderr)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _robust(number: int, given: TextIO | None) -> TextIO:
    encoding = "utf-8" if given is None else given.encoding
    raw = io.BufferedWriter(_Lossy(number, "w", closefd=False))
    direct = number == 2 or raw.isatty()
    return io.TextIOWrapper(raw, encoding, errors="backslashreplace", line_buffering=direct, write_through=number == 2)
