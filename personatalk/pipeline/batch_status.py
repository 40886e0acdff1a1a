"""The status of a batch: a table of what became of each job.

It is written anew after every job, at once or not at all, so that a batch that was killed goes on where it was: a job
is done already if its inputs (by size and time), options and weights are the same and what it wrote is still there.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..errors import PersonaTalkError
from ..utils.files import atomic_write, file_stamp
from .batch_list import BatchJob, read_rows
from .options import WeightPaths

WAITING, DONE, SKIPPED, FAILED = "waiting", "done", "skipped", "failed"


@dataclass(frozen=True)
class JobStatus:
    """A line of the table.

    Attributes:
        output: The job's output; by it jobs are known again.
        line: Line of the list.
        status: "waiting"; "done"; "skipped", for it was done before; or "failed".
        attempts: How often it was tried in the run that did it.
        exit_code: That of `personatalk dub` with this job, or of a process that crashed; 0 done, -1 not yet known.
        seconds: That all attempts took.
        error: What went wrong last, in one line.
        worker: Machine and process that did it.
        job: Tells inputs and options apart.
    """

    output: str
    line: int
    status: str = WAITING
    attempts: int = 0
    exit_code: int = -1
    seconds: float = 0.0
    error: str = ""
    worker: str = ""
    job: str = ""


STATUS_COLUMNS = [f.name for f in fields(JobStatus)]


def read_status(path: Path) -> list[JobStatus]:
    """Read a table; an empty one where there is none.

    Raises:
        PersonaTalkError: The file is no such table.
    """
    if not os.path.lexists(path):
        return []
    try:
        (_, header), *rows = read_rows(path)
        if header != STATUS_COLUMNS:
            raise ValueError(f"its columns are not {', '.join(STATUS_COLUMNS)}")
        return [_status(dict(zip(STATUS_COLUMNS, row, strict=True))) for _, row in rows]
    except (PersonaTalkError, ValueError) as error:
        raise PersonaTalkError(f"{path}: no status of a batch ({error}); move it away or name another") from error


def _status(cells: dict[str, Any]) -> JobStatus:
    kinds = {"line": int, "attempts": int, "exit_code": int, "seconds": float}
    status = JobStatus(**{name: kinds.get(name, str)(cell) for name, cell in cells.items()})
    if status.status not in (WAITING, DONE, SKIPPED, FAILED):
        raise ValueError(f"line {status.line} is {status.status!r}")
    return status


def write_status(path: Path, table: Iterable[JobStatus]) -> None:
    """Write a table at once or not at all.

    Raises:
        PersonaTalkError: It cannot be written.
    """
    try:
        with (
            atomic_write(path, fsync=True) as draft,
            draft.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
        ):
            writer = csv.DictWriter(file, STATUS_COLUMNS)
            writer.writeheader()
            writer.writerows(asdict(status) for status in table)
    except (OSError, ValueError) as error:
        raise PersonaTalkError(f"{path}: the status cannot be written ({error}); name another with -o") from error


def plan_jobs(
    jobs: list[BatchJob], before: Iterable[JobStatus], weights: WeightPaths | None = None
) -> dict[int, JobStatus]:
    """Return the table before the work, by line of the list: jobs that are done already, and jobs that wait.

    Args:
        jobs: The jobs.
        before: The table of an earlier run.
        weights: Files whose change makes a done job undone.
    """
    known = {status.output: status for status in before}
    table = {}
    for job in jobs:
        output, digest = str(job.output), job_digest(job, weights or WeightPaths())
        old = known.get(output)
        done = old is not None and old.status in (DONE, SKIPPED) and old.job == digest
        if old is not None and done and all(os.access(file, os.F_OK) for file in job.outputs().values()):
            table[job.line] = replace(old, line=job.line, status=SKIPPED)
        else:
            table[job.line] = JobStatus(output, job.line, job=digest)
    return table


def job_digest(job: BatchJob, weights: WeightPaths) -> str:
    """Return what tells jobs apart: inputs (name, size and time), outputs, options and weights."""
    inputs = {name: _stamp(file) for name, file in job.inputs().items()}
    outputs = {name: str(file) for name, file in job.outputs().items()}
    files = {name: file for name, file in asdict(weights).items() if name != "device"}
    networks = [_stamp(Path(file)) for file in files.values() if file is not None]
    facts = [inputs, outputs, asdict(job.options), networks]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _stamp(path: Path) -> str:
    with suppress(OSError):
        return file_stamp(path)
    return f"{path} is not there"
