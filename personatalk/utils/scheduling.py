"""Ordinary scheduling of this process's threads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

# The threads of this process, where the system shows them.
TASKS = Path("/proc/self/task")


@contextlib.contextmanager
def ordinary_scheduling() -> Iterator[None]:
    """Make threads that become real-time threads within the block ordinary ones again.

    SVT-AV1 makes its own threads and the one that opens it real-time threads of the highest priority where the system
    lets it, as it lets root: in most containers, all other work would stand still. Does nothing on systems other than
    Linux, which do not let it.
    """
    before = _real_time_threads()
    try:
        yield
    finally:
        for thread in _real_time_threads() - before:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def _real_time_threads() -> set[int]:
    """Return the numbers of this process's threads that are not scheduled as others are."""
    found = set()
    for path in TASKS.glob("*"):
        with contextlib.suppress(OSError):
            if os.sched_getscheduler(int(path.name)) in (os.SCHED_FIFO, os.SCHED_RR):
                found.add(int(path.name))
    return found
