"""Parallel work on frames, in threads of one process."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")

# Most items that are worked on at once: each is held in memory.
MOST = 8


class _Cores:
    """The cores that this process may use, and the limit of BLAS to one core per thread while a parallel map runs.

    Settings of BLAS belong to the process: the first map that starts changes them, the last that ends restores them.
    """

    def __init__(self) -> None:
        self._lock, self._users = threading.Lock(), 0
        self._blas: threadpool_limits | None = None
        self.count = _available()

    @contextlib.contextmanager
    def shared(self) -> Iterator[int]:
        """Hold the limit for the time of the block; yields the number of cores."""
        with self._lock:
            if self._users == 0:
                # Threads of BLAS, which a frame's small products would start, only wait for each other.
                self._blas = threadpool_limits(1, "blas")
            self._users += 1
        try:
            yield self.count
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0 and self._blas is not None:
                    self._blas.restore_original_limits()


def _available() -> int:
    """Return the number of cores of the process; as everywhere, `OMP_NUM_THREADS` lowers it."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    wish = os.environ.get("OMP_NUM_THREADS", "")
    return min(count, int(wish)) if wish.isdigit() and int(wish) > 0 else count


_cores = _Cores()


def cores() -> int:
    """Return the number of cores that this process may use."""
    return _cores.count


def limit_cores(count: int) -> None:
    """Let this process use so many cores; networks that are opened from now on, and PyTorch where it is loaded."""
    _cores.count = count
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def parallel_map(work: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
    """`map` that works on as many items at once as the process may use cores, in threads with one core each.

    Items are drawn in the caller's thread, a few ahead of the results, which come in their order. Work that spends its
    time in networks, NumPy or OpenCV, or in compiled code, leaves the interpreter to others meanwhile.

    Args:
        work: What to do with an item.
        items: Drawn in order.

    Raises:
        Exception: What `work` raised, where its result would have come; what `items` raises, at once.
    """
    with _cores.shared() as cores:
        count = min(cores, MOST)
        started: deque[Future[Result]] = deque()
        pool = ThreadPoolExecutor(count, "frames")
        try:
            for item in items:
                started.append(pool.submit(work, item))
                if len(started) > count:
                    yield started.popleft().result()
            while started:
                yield started.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
