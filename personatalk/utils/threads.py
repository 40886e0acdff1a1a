"""Parallel work on frames, in threads of one process."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")

# Most items that are worked on at once: each is held in memory.
MOST = 8


class _Cores:
    """Limits numeric libraries to one core per thread while a parallel map runs.

    Their settings belong to the process: the first map that starts changes them, the last that ends restores them.
    """

    def __init__(self) -> None:
        self._lock, self._users, self._cores = threading.Lock(), 0, 1
        self._limits: threadpool_limits | None = None

    @contextlib.contextmanager
    def shared(self) -> Iterator[int]:
        """Hold the limit for the time of the block; yields the number of cores that PyTorch had before."""
        with self._lock:
            if self._users == 0:
                self._cores = torch.get_num_threads()
                # Threads of BLAS, which a frame's small products would start, only wait for each other.
                self._limits = threadpool_limits(1, "blas")
            self._users += 1
        try:
            yield self._cores
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0 and self._limits is not None:
                    # torch.set_num_threads(1) in a worker thread also holds for threads that are started later.
                    torch.set_num_threads(self._cores)
                    self._limits.restore_original_limits()


_cores = _Cores()


def parallel_map(work: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
    """`map` that works on as many items at once as PyTorch may use cores, in threads with one core each.

    Items are drawn in the caller's thread, a few ahead of the results, which come in their order. Work that spends its
    time in PyTorch, NumPy or OpenCV, or in compiled code, leaves the interpreter to others meanwhile.

    Args:
        work: What to do with an item.
        items: Drawn in order.

    Raises:
        Exception: What `work` raised, where its result would have come; what `items` raises, at once.
    """
    with _cores.shared() as cores:
        count = min(cores, MOST)
        started: deque[Future[Result]] = deque()
        pool = ThreadPoolExecutor(count, "frames", lambda: torch.set_num_threads(1))
        try:
            for item in items:
                started.append(pool.submit(work, item))
                if len(started) > count:
                    yield started.popleft().result()
            while started:
                yield started.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
