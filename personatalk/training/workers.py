"""Runs the preparation of many videos: on the cores of this machine, or on a Ray cluster.

Both yield outcomes in the order of the sources, so that the shards do not depend on who was faster.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from ..errors import PersonaTalkError
from .prepare import Outcome, Reason, stamp
from .sources import Source

Work = Callable[[Source], Outcome]


def local(work: Work, sources: Iterable[Source], workers: int) -> Iterator[Outcome]:
    """Run on this machine's cores.

    A video on which a decoder crashes takes its process with it; it is found by running those that were under way
    one by one, and rejected.

    Args:
        work: What is done with a source.
        sources: The sources.
        workers: Processes.
    """
    queue = deque(sources)
    while queue:
        # Fresh processes, not forks: the face tracker's and torch's threads do not survive a fork.
        pool = _pool(workers)
        pending: deque[tuple[Source, Future[Outcome]]] = deque()
        try:
            while queue or pending:
                while queue and len(pending) < 2 * workers:
                    pending.append((queue[0], pool.submit(work, queue[0])))
                    queue.popleft()
                outcome = pending[0][1].result()
                pending.popleft()
                yield outcome
        except BrokenProcessPool:
            for source, _ in pending:
                yield _alone(work, source)
        finally:
            # After Ctrl-C nobody waits for what was queued.
            pool.shutdown(wait=False, cancel_futures=True)


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_end_with, initargs=(os.getpid(),)
    )


def _end_with(master: int) -> None:
    """Set up a worker: one thread for each, and its end when its master is killed."""
    torch.set_num_threads(1)

    def watch() -> None:
        while os.getppid() == master:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _alone(work: Work, source: Source) -> Outcome:
    with _pool(1) as pool:
        try:
            return pool.submit(work, source).result()
        except BrokenProcessPool:
            return _crashed(source)


def _crashed(source: Source) -> Outcome:
    outcome = Outcome(source.key, stamp=stamp(source))
    outcome.reject(Reason.CRASHED, f"{source.video}: its decoder crashed")
    return outcome


def on_ray(work: Work, sources: Iterable[Source], address: str) -> Iterator[Outcome]:
    """Run on a Ray cluster; sources and data set lie in folders that all its nodes see.

    Args:
        work: What is done with a source.
        sources: The sources.
        address: As `ray.init` takes it: HOST:PORT, "auto", or "local" for a cluster of this machine alone.

    Raises:
        PersonaTalkError: Ray is not installed, or there is no such cluster.
    """
    try:
        import ray
    except ImportError as error:
        raise PersonaTalkError("--ray needs Ray; install it with: pip install 'personatalk[ray]'") from error
    try:
        _reach(address)
        ray.init(address, logging_level="error", log_to_driver=False, include_dashboard=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise PersonaTalkError(f"no Ray cluster at {address} ({error}); start one with: ray start --head") from error
    try:
        # A node that dies is no reason to lose a video: Ray starts the task again elsewhere.
        task = ray.remote(max_retries=3)(lambda source: work(source))
        yield from _windowed(ray, task, deque(sources))
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Fail at once where nobody listens: Ray itself tries for minutes and then ends the process."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        with socket.create_connection((host, int(port)), timeout=10):
            pass


def _windowed(ray: Any, task: Any, queue: deque[Source]) -> Iterator[Outcome]:
    ahead = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    pending: deque[tuple[Source, Any]] = deque()
    while queue or pending:
        while queue and len(pending) < ahead:
            source = queue.popleft()
            pending.append((source, task.remote(source)))
        source, reference = pending.popleft()
        try:
            yield ray.get(reference)
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError:
            yield _crashed(source)
