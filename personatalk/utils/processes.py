"""Parallel work on many items: in processes of this machine, or on a Ray cluster.

An item on which a decoder crashes costs its process, and nothing else: the process is replaced, and a result of the
caller's making says what happened. Results come in the order of the items, so that the outcome does not depend on
which process was faster, or, where that does not matter, as they are done.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from ..errors import PersonaTalkError
from .interrupt import Interrupt
from .threads import limit_cores

Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[Item], Result]

# Makes the result of an item whose process died, from the item and the exit code (None: not known).
Crashed = Callable[[Item, "int | None"], Result]

# Seconds that work has to clean up in when it is asked to end.
GRACE = 10.0

# In a process of `local`: the request to end. Work in long loops of compiled code checks it now and then.
interrupt = Interrupt()


def local(
    work: Work[Item, Result],
    items: Iterable[Item],
    workers: int,
    crashed: Crashed[Item, Result],
    *,
    ordered: bool = True,
    threads: int = 1,
) -> Generator[Result, None, None]:
    """Run work on items in processes of this machine.

    Args:
        work: The work on an item; what it raises is raised here, and ends the run.
        items: The items.
        workers: Processes.
        crashed: Makes the result of an item whose process died.
        ordered: Results in the order of the items, instead of as they are done.
        threads: Cores that each process may use.
    """
    return _results(_in_processes(work, deque(enumerate(items)), workers, crashed, threads), ordered)


def map_on_ray(
    work: Work[Item, Result],
    items: Iterable[Item],
    address: str,
    crashed: Crashed[Item, Result],
    *,
    ordered: bool = True,
    restarts: int = 3,
    workers: int | None = None,
) -> Generator[Result, None, None]:
    """Run work on items on a Ray cluster; files lie in folders that all its nodes see.

    Args:
        work: The work on an item.
        items: The items.
        address: As `ray.init` takes it: HOST:PORT, "auto", or "local" for a cluster of this machine alone.
        crashed: Makes the result of an item whose process died.
        ordered: Results in the order of the items, instead of as they are done.
        restarts: How often Ray starts an item again whose process or node died.
        workers: Processes of a "local" cluster; None: as many as cores.

    Raises:
        PersonaTalkError: Ray is not installed, or there is no such cluster.
    """
    with ray_cluster(address, workers) as ray:
        task = ray.remote(max_retries=restarts)(lambda item: work(item))
        yield from _results(_on_cluster(ray, task, deque(enumerate(items)), crashed), ordered)


def _results(numbered: Generator[tuple[int, Result], None, None], ordered: bool) -> Generator[Result, None, None]:
    """Yield results without their numbers, in the order of these if wanted."""
    early: dict[int, Result] = {}
    wanted = 0
    with contextlib.closing(numbered):
        for number, result in numbered:
            if not ordered:
                yield result
                continue
            early[number] = result
            while wanted in early:
                yield early.pop(wanted)
                wanted += 1


# ---------------------------------------------------------------------------------------------- this machine


def _in_processes(
    work: Work[Item, Result],
    queue: deque[tuple[int, Item]],
    workers: int,
    crashed: Crashed[Item, Result],
    threads: int,
) -> Generator[tuple[int, Result], None, None]:
    """Yield numbered results as they are done; a process that died is replaced."""
    idle: list[WorkerProcess[Item, Result]] = []
    busy: dict[Connection, tuple[WorkerProcess[Item, Result], int, Item]] = {}
    try:
        while queue or busy:
            while queue and len(busy) < workers:
                process = idle.pop() if idle else WorkerProcess(work, threads)
                number, item = queue.popleft()
                busy[process.pipe] = (process, number, item)
                process.give(item)
            ready = set(wait(list(busy)))
            for pipe in [pipe for pipe in busy if pipe in ready]:
                process, number, item = busy.pop(pipe)
                idle.append(process)
                try:
                    result = process.result()
                except EOFError:
                    result = crashed(item, idle.pop().exit_code())
                yield number, result
    finally:
        _end([*idle, *(process for process, _, _ in busy.values())])


class WorkerProcess(Generic[Item, Result]):
    """A process that works on one item at a time.

    Not one of a pool: a pool does not tell on which item a process died, nor how.

    Args:
        work: The work on an item.
        threads: Threads of torch.
    """

    def __init__(self, work: Work[Item, Result], threads: int) -> None:
        # A fresh process, not a fork: the networks' threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(work, theirs, threads), daemon=True)
        with _interrupts_blocked():
            self.process.start()
        theirs.close()

    def give(self, item: Item) -> None:
        """Hand over the next item."""
        with contextlib.suppress(BrokenPipeError):  # it died meanwhile, as `result` will say
            self.pipe.send(item)

    def ready(self) -> bool:
        """Return whether the result is there, or the process died."""
        return self.pipe.poll()

    def result(self) -> Result:
        """Wait for the result.

        Raises:
            EOFError: The process died.
        """
        try:
            done, answer = self.pipe.recv()
        except ConnectionResetError:
            raise EOFError from None
        if not done:
            raise answer
        return answer

    def exit_code(self) -> int | None:
        """Return the exit code of a dead process, negative for a signal."""
        self.process.join(GRACE)
        return self.process.exitcode

    def terminate(self) -> None:
        """Ask the process to clean up and end."""
        self.process.terminate()

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start processes that ignore Ctrl-C, which a terminal sends to all: their master ends them itself."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(processes: list[WorkerProcess[Item, Result]]) -> None:
    """Ask processes to end, and wait until they have."""
    for process in processes:
        process.process.terminate()
    for process in processes:
        process.process.join(GRACE)
        if process.process.is_alive():
            process.process.kill()
            process.process.join()


def _serve(work: Work[Item, Result], pipe: Connection, threads: int) -> None:
    """Serve as a process: items in, results or errors out, until it is asked to end or its master is gone."""
    limit_cores(threads)
    signal.signal(signal.SIGTERM, interrupt)
    threading.Thread(target=_end_with_master, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt, EOFError, OSError):
        while True:
            item = pipe.recv()
            answer: tuple[bool, object]
            try:
                answer = (True, work(item))
            except Exception as error:
                answer = (False, error)
            pipe.send(answer)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending already


def _end_with_master() -> None:
    """End this process as soon as its master is gone: what it would finish then, nobody takes back."""
    master = multiprocessing.parent_process()
    assert master is not None
    master.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)


# ---------------------------------------------------------------------------------------------- Ray


def _reach(address: str) -> None:
    """Fail at once where no server listens: Ray itself tries for minutes and then ends the process."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        with socket.create_connection((host, int(port)), timeout=10):
            pass


@contextlib.contextmanager
def ray_cluster(address: str, workers: int | None = None) -> Iterator[Any]:
    """Connect to a Ray cluster, as `map_on_ray` takes its address, and yield the module `ray`.

    Raises:
        PersonaTalkError: Ray is not installed, or there is no such cluster.
    """
    try:
        import ray
    except ImportError as error:
        raise PersonaTalkError("--ray needs Ray; install it with: pip install 'personatalk[ray]'") from error
    cores = {"num_cpus": workers} if address == "local" and workers else {}
    try:
        _reach(address)
        ray.init(address, logging_level="error", log_to_driver=False, include_dashboard=False, **cores)
    except (OSError, ValueError, RuntimeError) as error:
        raise PersonaTalkError(f"no Ray cluster at {address} ({error}); start one with: ray start --head") from error
    try:
        yield ray
    finally:
        ray.shutdown()


class RayWorker(Generic[Item, Result]):
    """A place on a Ray cluster that works on one item at a time; it has the methods of `WorkerProcess`.

    Args:
        ray: As `ray_cluster` yields it.
        work: The work on an item.
    """

    def __init__(self, ray: Any, work: Work[Item, Result]) -> None:
        self._ray = ray
        self._task = ray.remote(max_retries=0)(lambda item: work(item))
        self._reference: Any = None

    def give(self, item: Item) -> None:
        """Hand over the next item."""
        self._reference = self._task.remote(item)

    def ready(self) -> bool:
        """Return whether the result is there, or the process died."""
        return bool(self._ray.wait([self._reference], timeout=0)[0])

    def result(self) -> Result:
        """Wait for the result.

        Raises:
            EOFError: The process died or was ended.
        """
        try:
            result: Result = self._ray.get(self._reference)
            return result
        except self._ray.exceptions.RayError as error:
            raise EOFError from error

    def exit_code(self) -> int | None:
        """Return None: Ray does not tell how a process died."""
        return None

    def terminate(self) -> None:
        """Ask the work to clean up and end."""
        self._ray.cancel(self._reference)

    def kill(self) -> None:
        """End the work at once."""
        self._ray.cancel(self._reference, force=True)


def _on_cluster(
    ray: Any, task: Any, queue: deque[tuple[int, Item]], crashed: Crashed[Item, Result]
) -> Generator[tuple[int, Result], None, None]:
    """Yield numbered results as they are done; Ray gets some items more than it has cores."""
    ahead = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    pending: dict[Any, tuple[int, Item]] = {}
    try:
        while queue or pending:
            while queue and len(pending) < ahead:
                number, item = queue.popleft()
                pending[task.remote(item)] = (number, item)
            (done,), _ = ray.wait(list(pending))
            number, item = pending.pop(done)
            try:
                yield number, ray.get(done)
            except ray.exceptions.RayTaskError:
                raise
            except ray.exceptions.RayError:
                yield number, crashed(item, None)
    finally:
        # Work that is cut off by Ctrl-C cleans up after itself, if it is told before its process is ended.
        for reference in pending:
            ray.cancel(reference)
        if pending:
            ray.wait(list(pending), num_returns=len(pending), timeout=GRACE)
