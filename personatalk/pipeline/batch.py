"""Many dubs: the jobs of a list are run, and a table says what became of each.

Jobs run in processes of their own, as `utils.processes` does it: a job that fails, by bad input, a bug or a crash,
costs itself alone. Bugs and crashes are tried again after all other jobs, bad input is not.
"""

from __future__ import annotations

import functools
import os
import platform
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from ..errors import PersonaTalkError
from ..utils import processes
from .batch_list import BatchJob
from .batch_status import DONE, FAILED, WAITING, JobStatus, plan_jobs, read_status, write_status
from .dub import dub
from .options import WeightPaths
from .report import check_report
from .weights import Models


@dataclass(frozen=True)
class JobOutcome:
    """Result of one attempt at a job.

    Attributes:
        line: The job's line in the list.
        exit_code: 0 done.
        seconds: That it took.
        error: What went wrong, in one line.
        again: Whether another attempt may help.
        trace: Where a bug showed.
        worker: Machine and process.
    """

    line: int
    exit_code: int = 0
    seconds: float = 0.0
    error: str = ""
    again: bool = False
    trace: str = ""
    worker: str = ""


class Numbered(Protocol):
    """A job that has a number."""

    @property
    def line(self) -> int:
        """The number."""


Job = TypeVar("Job", bound=Numbered)

Attempt = Callable[[BatchJob], JobOutcome]

# Runs attempts at jobs somewhere; outcomes come in any order.
Executor = Callable[[Attempt, list[BatchJob]], Generator[JobOutcome, None, None]]


def run_batch(
    jobs: list[BatchJob],
    status: Path,
    *,
    weights: WeightPaths | None = None,
    run: Callable[[BatchJob], None] | None = None,
    executor: Executor | None = None,
    retries: int = 1,
    on_outcome: Callable[[BatchJob, JobStatus, JobOutcome], None] | None = None,
) -> list[JobStatus]:
    """Run all jobs that are not done already.

    Args:
        jobs: The jobs, checked by `check_jobs`.
        status: The table to write; one that is there says what is done already.
        weights: The trained parts; those of the package where None. Their change makes a done job undone.
        run: What is done with a job; a dub where None.
        executor: Where; one process besides this one where None.
        retries: Further attempts at a job that failed by a bug or a crash.
        on_outcome: Told about every attempt.

    Returns:
        The table, in the order of the list.

    Raises:
        PersonaTalkError: The table cannot be read or written.
    """
    weights, executor = weights or WeightPaths(), executor or on_processes(1)
    attempt = functools.partial(run_job, run or functools.partial(dub_job, weights))
    table, by_line = plan_jobs(jobs, read_status(status), weights), {job.line: job for job in jobs}
    write_status(status, table.values())
    left = [job for job in jobs if table[job.line].status == WAITING]
    for tries_left in range(retries, -1, -1):
        again: list[BatchJob] = []
        with closing(executor(attempt, left)) as outcomes:
            for outcome in outcomes:
                job, retried = by_line[outcome.line], outcome.again and tries_left > 0
                again += [job] if retried else []
                table[job.line] = _after(table[job.line], outcome, WAITING if retried else FAILED)
                write_status(status, table.values())
                if on_outcome is not None:
                    on_outcome(job, table[job.line], outcome)
        left = sorted(again, key=lambda job: job.line)
        if not left:
            break
    return list(table.values())


def _after(old: JobStatus, outcome: JobOutcome, otherwise: str) -> JobStatus:
    """Return the line of the table after another attempt."""
    return replace(
        old,
        status=otherwise if outcome.exit_code else DONE,
        attempts=old.attempts + 1,
        exit_code=outcome.exit_code,
        seconds=round(old.seconds + outcome.seconds, 2),
        error=outcome.error,
        worker=outcome.worker,
    )


def on_processes(workers: int) -> Executor:
    """Return the executor that shares this machine's cores among so many processes."""
    threads = max(1, (os.cpu_count() or 1) // workers)
    return lambda work, jobs: processes.local(work, jobs, workers, crashed, ordered=False, threads=threads)


def on_ray(address: str, workers: int | None = None) -> Executor:
    """Return the executor of a Ray cluster.

    Args:
        address: The cluster's address; "local" for a new one on this machine.
        workers: Processes of a local cluster; all cores where None.
    """
    return lambda work, jobs: processes.map_on_ray(
        work, jobs, address, crashed, ordered=False, restarts=0, workers=workers
    )


def run_job(run: Callable[[Job], None], job: Job) -> JobOutcome:
    """Run a job, and return what came of it."""
    start, outcome = time.perf_counter(), JobOutcome(job.line, worker=f"{platform.node()}/{os.getpid()}")
    try:
        run(job)
    except PersonaTalkError as error:
        outcome = replace(outcome, exit_code=1, error=_one_line(str(error)))
    except Exception as error:
        reason = _one_line(f"{type(error).__name__}: {error}")
        outcome = replace(outcome, exit_code=1, error=reason, again=True, trace=traceback.format_exc())
    return replace(outcome, seconds=time.perf_counter() - start)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def crashed(job: BatchJob, code: int | None) -> JobOutcome:
    """Return the outcome of a job whose process died; the exit code is that which a shell shows."""
    number = 1 if code is None else 128 - code if code < 0 else code
    return JobOutcome(job.line, number, error=f"{job.video}: the process that dubbed it crashed", again=True)


def dub_job(weights: WeightPaths, job: BatchJob) -> None:
    """Dub as `personatalk dub` does.

    Raises:
        PersonaTalkError: See `pipeline.dub`.
    """
    check_report(job.report, [job.video, job.speech, job.output])
    report = dub(
        job.video,
        job.speech,
        job.output,
        options=job.options,
        models=cached_models(weights),
        progress=lambda stage, steps, total: processes.interrupt.check(),
    )
    if job.report is not None:
        report.write(job.report)


@functools.lru_cache(maxsize=1)
def cached_models(weights: WeightPaths) -> Models:
    """Return the models of a process, loaded once for all its jobs."""
    return weights.load()
