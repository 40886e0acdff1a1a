"""Frames side by side on the cores of one machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 8
"""Most frames in work: each is held in memory."""


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map` that works on as many items at once as PyTorch may use cores, in threads with one core each.

    Items are drawn in the caller's thread, a few ahead of the results, which come in their order. Work that spends its
    time in PyTorch, NumPy or OpenCV, or in compiled code, leaves the interpreter to others meanwhile.

    Args:
        work: What to do with an item.
        items: Drawn in order.

    Raises:
        Exception: What `work` raised, where its result would have come.
    """
    cores = torch.get_num_threads()
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
        # The threads' word for one core each would hold for threads that others start later.
        torch.set_num_threads(cores)
