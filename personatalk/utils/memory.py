"""What the C library keeps of memory that was freed: left alone, it is more than all that a dub needs."""

from __future__ import annotations

import ctypes
import os
import sys

from .threads import cores

# The number of glibc's option for the most arenas, areas from which threads take memory.
_ARENA_MAX = -8


def share_arenas() -> None:
    """Let the threads of this process share as many areas of memory as there are cores.

    Each keeps what was freed in it, and glibc makes eight for each core otherwise. A user's own setting stays.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        _call("mallopt", _ARENA_MAX, cores())


def give_back() -> None:
    """Give memory that was freed back to the system."""
    _call("malloc_trim", 0)


def _call(function: str, *arguments: int) -> None:
    """Call a function of glibc where that is the C library."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), function):
        getattr(library, function)(*arguments)
