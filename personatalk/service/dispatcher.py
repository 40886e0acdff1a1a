"""Hands the jobs of the queue to processes, and takes back what comes of them."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..errors import PersonaTalkError
from ..pipeline.batch import JobOutcome
from ..utils.processes import GRACE
from .jobs import Job, JobStore, Kind, State
from .tasks import Task, crashed

# Seconds between two looks at the processes.
PERIOD = 0.2

# Attempts at a job that fails by a crash or a bug.
ATTEMPTS = 2

log = logging.getLogger("personatalk.service")


class Worker(Protocol):
    """Something that works on one task at a time: `processes.WorkerProcess` or `processes.RayWorker`."""

    def give(self, item: Task) -> None:
        """Hand over the next task."""

    def ready(self) -> bool:
        """Return whether the outcome is there, or the process died."""

    def result(self) -> JobOutcome:
        """Wait for the outcome; EOFError where the process died."""

    def exit_code(self) -> int | None:
        """Return the exit code of a dead process."""

    def terminate(self) -> None:
        """Ask it to clean up and end."""

    def kill(self) -> None:
        """End it at once."""


@dataclass
class RunningJob:
    """A job in work.

    Attributes:
        job: The job.
        task: The same for the process.
        worker: The process.
        since: When it was handed over, by the monotonic clock.
        verdict: State and error that it gets because it was ended; None while nobody ended it.
        ended: When that was.
    """

    job: Job
    task: Task
    worker: Worker
    since: float
    verdict: tuple[State, str] | None = None
    ended: float = 0.0


class Lane:
    """Jobs of some kinds, and the processes that take them in the order of the queue.

    Args:
        store: The jobs.
        kinds: Kinds of jobs that it takes.
        slots: Jobs that run side by side.
        new_worker: Starts a process.
        task_of: Returns the task of a job.
        seconds: Longest time for a job.
    """

    def __init__(
        self,
        store: JobStore,
        kinds: Sequence[Kind],
        slots: int,
        new_worker: Callable[[], Worker],
        task_of: Callable[[Job], Task],
        seconds: float,
    ) -> None:
        self.store, self.kinds, self.slots, self.seconds = store, kinds, slots, seconds
        self.new_worker, self.task_of = new_worker, task_of
        self.idle: list[Worker] = []
        self.running: list[RunningJob] = []

    def step(self) -> None:
        """Take back what is done, end what must end, and hand out what waits."""
        for running in list(self.running):
            if running.worker.ready():
                self.running.remove(running)
                self._take_back(running)
            else:
                self._end_if_due(running)
        while len(self.running) < self.slots and (job := self.store.claim(self.kinds)) is not None:
            self._hand_out(job)

    def _hand_out(self, job: Job) -> None:
        try:
            task = self.task_of(job)
        except PersonaTalkError as error:  # a persona that is gone
            self.store.finish(job.id, "failed", str(error))
            return
        worker = self.idle.pop() if self.idle else self.new_worker()
        worker.give(task)
        self.running.append(RunningJob(job, task, worker, time.monotonic()))

    def _end_if_due(self, running: RunningJob) -> None:
        """End a job that was cancelled or takes too long; at last by force."""
        now = time.monotonic()
        if running.verdict is not None:
            if now - running.ended > GRACE:
                running.worker.kill()
            return
        if not self.store.is_wanted(running.job.id):
            running.verdict = ("cancelled", "")
        elif now - running.since > self.seconds:
            running.verdict = ("failed", f"took longer than the {self.seconds / 60:g} minutes that a job may take here")
        if running.verdict is not None:
            running.ended = now
            running.worker.terminate()

    def _take_back(self, running: RunningJob) -> None:
        """Say what became of a job whose process answered or died."""
        try:
            outcome = running.worker.result()
            self.idle.append(running.worker)
        except EOFError:
            outcome = crashed(running.task, running.worker.exit_code())
        if outcome.trace:
            log.error("job %s: %s", running.job.id, outcome.trace)
        if outcome.exit_code == 0:
            self.store.finish(running.job.id, "done")
        elif running.verdict is not None:
            self.store.finish(running.job.id, *running.verdict)
        elif outcome.again and running.job.attempts + 1 < ATTEMPTS:
            self.store.again(running.job)
        else:
            self.store.finish(running.job.id, "failed", outcome.error)

    def close(self) -> None:
        """End all processes; what they work on goes on when a server starts again."""
        workers = [*self.idle, *(running.worker for running in self.running)]
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.exit_code()
            worker.kill()


class Dispatcher(threading.Thread):
    """The thread that keeps the lanes moving.

    Args:
        lanes: The lanes.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        super().__init__(name="dispatcher", daemon=True)
        self.lanes = lanes
        self._changed = threading.Event()
        self._stopped = False

    def wake(self) -> None:
        """Look at the queue at once."""
        self._changed.set()

    def run(self) -> None:
        """Run until `stop` is called."""
        while not self._stopped:
            for lane in self.lanes:
                try:
                    lane.step()
                except Exception:  # a job's trouble is not that of all others
                    log.exception("dispatcher")
            self._changed.wait(PERIOD)
            self._changed.clear()

    def stop(self) -> None:
        """Stop handing out jobs, and end the processes."""
        self._stopped = True
        self.wake()
        if self.is_alive():
            self.join()
        for lane in self.lanes:
            with contextlib.suppress(OSError, ValueError):
                lane.close()
