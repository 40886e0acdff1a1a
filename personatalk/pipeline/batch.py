"""Many dubs: a list of jobs in, a table of what became of each out.

The list is a CSV file with the columns `video`, `speech` and `output`, and if wanted others of `COLUMNS`, one job a
line; an empty cell takes the command's own option. Paths are relative to the list's folder. The table is written anew
after every job, at once or not at all, so that a batch that was killed goes on where it was: a job is done already if
its inputs (by size and time) and its options are the same and what it wrote is still there.

Jobs run in processes of their own, as `workers` does it: a job that fails, by bad input, a bug or a crash, costs
itself alone. Bugs and crashes are tried again after all other jobs, bad input is not.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import json
import math
import os
import platform
import time
import traceback
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from ..errors import FaceError, PersonaTalkError
from ..faces.choice import FacePicture, parse_choice
from ..media.options import LengthPolicy
from ..utils import files, processes
from .dub import dub
from .options import DubOptions, Silence
from .report import check_report
from .weights import Models

WeightPaths = tuple[Path | None, Path | None, Path | None, Path | None]
"""Arguments of `Models.load`."""


@dataclass(frozen=True)
class BatchJob:
    """One dub.

    Attributes:
        line: Its line in the list.
        video: A video of a person speaking.
        speech: An audio file, or a video whose sound is taken.
        output: The file to write.
        report: Where to write what was done, as JSON; None for nowhere.
        options: Choices.
    """

    line: int
    video: Path
    speech: Path
    output: Path
    report: Path | None = None
    options: DubOptions = field(default_factory=DubOptions)

    def written(self) -> dict[str, Path]:
        """The files that it writes, by name."""
        return {"output": self.output} | ({"report": self.report} if self.report is not None else {})

    def read(self) -> dict[str, Path]:
        """The files that it reads, by name."""
        found = {"video": self.video, "speech": self.speech}
        choice = None if self.options.face is None else parse_choice(self.options.face)
        found |= {"face": choice.path} if isinstance(choice, FacePicture) else {}
        return found | {f.name: p for f in fields(self.options) if isinstance(p := getattr(self.options, f.name), Path)}


# ---------------------------------------------------------------------------------------------- the list


def _file(cell: str, folder: Path) -> Path:
    if "\0" in cell:
        raise ValueError("is no name of a file")
    return folder / cell


def _word(cell: str, folder: Path) -> str:
    return cell


def _number(cell: str, folder: Path) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("is no number")
    return number


def _length(cell: str, folder: Path) -> str:
    if cell not in get_args(LengthPolicy):
        raise ValueError(f"is none of {', '.join(get_args(LengthPolicy))}")
    return cell


def _silence(cell: str, folder: Path) -> str:
    if cell not in get_args(Silence):
        raise ValueError(f"is none of {', '.join(get_args(Silence))}")
    return cell


def _face(cell: str, folder: Path) -> str:
    """What `--face` takes; a picture's path is relative to the list like all others."""
    try:
        choice = parse_choice(cell)
    except FaceError as error:
        raise ValueError(f"is no face ({error})") from error
    return str(folder / cell) if isinstance(choice, FacePicture) else cell


COLUMNS: dict[str, tuple[str, Callable[[str, Path], Any]]] = {
    "video": ("video", _file),
    "speech": ("speech", _file),
    "output": ("output", _file),
    "report": ("report", _file),
    "length": ("options.length", _length),
    "codec": ("options.encode.codec", _word),
    "crf": ("options.encode.crf", _number),
    "preset": ("options.encode.preset", _word),
    "face_model": ("options.face_model", _file),
    "face": ("options.face", _face),
    "identity": ("options.identity", _file),
    "silence": ("options.silence", _silence),
    "persona": ("options.persona", _file),
    "style": ("options.style", _file),
    "style_strength": ("options.style_strength", _number),
}
"""Columns of a list: the field of a `BatchJob` that each sets, and how its cells are read (ValueError: not so)."""
REQUIRED = ("video", "speech", "output")


def read_jobs(path: Path, options: DubOptions | None = None) -> list[BatchJob]:
    """Read a list of jobs.

    Args:
        path: The list.
        options: Choices where the list makes none.

    Raises:
        PersonaTalkError: The list cannot be read, has an unknown column or lacks one, or a line is not a job.
    """
    rows = _rows(path)
    if not rows:
        raise PersonaTalkError(f"{path}: is empty; it needs the columns {', '.join(REQUIRED)}, and a job a line")
    (line, header), *cells = rows
    columns = [name.strip().lower().replace("-", "_") for name in header]
    if unknown := [repr(name) for name in columns if name not in COLUMNS]:
        known = ", ".join(COLUMNS)
        raise PersonaTalkError(f"{path}, line {line}: unknown column {', '.join(unknown)}; known are {known}")
    if lacking := [name for name in REQUIRED if name not in columns]:
        raise PersonaTalkError(f"{path}, line {line}: lacks the column {', '.join(lacking)}")
    if len(set(columns)) < len(columns):
        raise PersonaTalkError(f"{path}, line {line}: names a column twice")
    if not cells:
        raise PersonaTalkError(f"{path}: names no job; write one in each line under the columns' names")
    if too_long := [number for number, row in cells if len(row) > len(columns)]:
        raise PersonaTalkError(
            f"{path}, line {too_long[0]}: has more cells than columns; put a name with a comma in quotes"
        )
    return [_job(path, number, dict(zip(columns, row, strict=False)), options or DubOptions()) for number, row in cells]


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """The lines of a CSV file that are not empty, each with its number."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (OSError, ValueError, csv.Error) as error:
        raise PersonaTalkError(f"{path}: not a readable list ({error})") from error


def _job(path: Path, line: int, cells: dict[str, str], options: DubOptions) -> BatchJob:
    job = BatchJob(line, Path(), Path(), Path(), options=options)
    for name, (target, read) in COLUMNS.items():
        cell = cells.get(name, "").strip()
        if not cell and name in REQUIRED:
            raise PersonaTalkError(f"{path}, line {line}: {name} is empty")
        try:
            job = _with(job, target, read(cell, path.absolute().parent)) if cell else job
        except ValueError as error:
            raise PersonaTalkError(f"{path}, line {line}: {name} {cell[:100]!r} {error}") from None
    return job


def _with(thing: Any, name: str, value: Any) -> Any:
    """A copy of a dataclass with a field changed, whose name may lead through others: "options.encode.crf"."""
    first, _, rest = name.partition(".")
    return replace(thing, **{first: _with(getattr(thing, first), rest, value) if rest else value})


def check_jobs(path: Path, jobs: list[BatchJob], status: Path) -> None:
    """Make sure, before any work, that no job destroys what another one reads or writes.

    Args:
        path: The list.
        jobs: Its jobs.
        status: Where the table of what became of them is written.

    Raises:
        PersonaTalkError: Two files that are written are one, or one that is written is one that is read.
    """
    written = {_identity(status): "the status file"}
    for job in jobs:
        for name, file in job.written().items():
            what = f"the {name} of line {job.line}"
            if (other := written.setdefault(_identity(file), what)) != what:
                raise PersonaTalkError(f"{path}, line {job.line}: the {name} {file} is {other} as well; name another")
    for line, name, file in [(1, "list", path), *((j.line, n, f) for j in jobs for n, f in j.read().items())]:
        if (what := written.get(_identity(file), "")) != "":
            raise PersonaTalkError(f"{path}, line {line}: the {name} {file} would be replaced by {what}; name another")


def _identity(path: Path) -> str:
    """The same for all names of a file: also through links, and when it does not exist yet."""
    with suppress(OSError):
        found = path.stat()
        return f"{found.st_dev} {found.st_ino}"
    return os.path.realpath(path)


# ---------------------------------------------------------------------------------------------- the table

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


_NAMES = [f.name for f in fields(JobStatus)]


def read_status(path: Path) -> list[JobStatus]:
    """Read a table; an empty one where there is none.

    Raises:
        PersonaTalkError: The file is no such table.
    """
    if not os.path.lexists(path):
        return []
    try:
        (_, header), *rows = _rows(path)
        if header != _NAMES:
            raise ValueError(f"its columns are not {', '.join(_NAMES)}")
        return [_status(dict(zip(_NAMES, row, strict=True))) for _, row in rows]
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
        with files.atomic_write(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, _NAMES)
            writer.writeheader()
            writer.writerows(asdict(status) for status in table)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, ValueError) as error:
        raise PersonaTalkError(f"{path}: the status cannot be written ({error}); name another with -o") from error


def signature(job: BatchJob, weights: Iterable[Path | None] = ()) -> str:
    """Tells jobs apart by their inputs (name, size and time), what they write, their options and their weights."""
    read = {name: _stamp(file) for name, file in job.read().items()}
    written = {name: str(file) for name, file in job.written().items()}
    facts = [read, written, asdict(job.options), [_stamp(file) for file in weights if file is not None]]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _stamp(path: Path) -> str:
    with suppress(OSError):
        return files.file_stamp(path)
    return f"{path} is not there"


def plan_jobs(
    jobs: list[BatchJob], before: Iterable[JobStatus], weights: Iterable[Path | None] = ()
) -> dict[int, JobStatus]:
    """The table before the work, by line of the list: jobs that are done already, and jobs that wait."""
    weights, known = list(weights), {status.output: status for status in before}
    table = {}
    for job in jobs:
        output, sign = str(job.output), signature(job, weights)
        old = known.get(output)
        done = old is not None and old.status in (DONE, SKIPPED) and old.job == sign
        if old is not None and done and all(os.access(file, os.F_OK) for file in job.written().values()):
            table[job.line] = replace(old, line=job.line, status=SKIPPED)
        else:
            table[job.line] = JobStatus(output, job.line, job=sign)
    return table


# ---------------------------------------------------------------------------------------------- the work


@dataclass(frozen=True)
class JobOutcome:
    """What one attempt at a job came to.

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


Run = Callable[[BatchJob], None]
Engine = Callable[[Callable[[BatchJob], JobOutcome], list[BatchJob]], Generator[JobOutcome, None, None]]
"""Runs jobs somewhere; outcomes come in any order."""


def run_job(run: Run, job: BatchJob) -> JobOutcome:
    """Run a job, and say what came of it."""
    start, outcome = time.perf_counter(), JobOutcome(job.line, worker=f"{platform.node()}/{os.getpid()}")
    try:
        run(job)
    except PersonaTalkError as error:
        outcome = replace(outcome, exit_code=1, error=_one_line(str(error)))
    except Exception as error:
        reason = _one_line(f"{type(error).__name__}: {error}")
        outcome = replace(outcome, exit_code=1, error=reason, again=True, trace=traceback.format_exc())
    return replace(outcome, seconds=time.perf_counter() - start)


def crashed(job: BatchJob, code: int | None) -> JobOutcome:
    """The outcome of a job whose process died; the exit code is that which a shell shows."""
    number = 1 if code is None else 128 - code if code < 0 else code
    return JobOutcome(job.line, number, error=f"{job.video}: the process that dubbed it crashed", again=True)


def run_dub(weights: WeightPaths, job: BatchJob) -> None:
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
        models=_models(weights),
        progress=lambda stage, steps, total: processes.interrupt.check(),
    )
    if job.report is not None:
        report.write(job.report)


@functools.lru_cache(maxsize=1)
def _models(weights: WeightPaths) -> Models:
    """The models of a process, loaded once for all its jobs."""
    return Models.load(*weights)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def run_batch(
    jobs: list[BatchJob],
    status: Path,
    run: Run,
    engine: Engine,
    *,
    retries: int = 1,
    weights: Iterable[Path | None] = (),
    tell: Callable[[BatchJob, JobStatus, JobOutcome], None] = lambda job, status, outcome: None,
) -> list[JobStatus]:
    """Run all jobs that are not done already.

    Args:
        jobs: The jobs, checked by `check_jobs`.
        status: The table to write; one that is there says what is done already.
        run: What is done with a job.
        engine: Where.
        retries: Further attempts at a job that failed by a bug or a crash.
        weights: Files whose change makes a done job undone.
        tell: Told about every attempt.

    Returns:
        The table, in the order of the list.

    Raises:
        PersonaTalkError: The table cannot be read or written.
    """
    table, by_line = plan_jobs(jobs, read_status(status), weights), {job.line: job for job in jobs}
    write_status(status, table.values())
    left = [job for job in jobs if table[job.line].status == WAITING]
    for attempt in range(1, retries + 2):
        again: list[BatchJob] = []
        with closing(engine(functools.partial(run_job, run), left)) as outcomes:
            for outcome in outcomes:
                job, old = by_line[outcome.line], table[outcome.line]
                retried = outcome.again and attempt <= retries
                again += [job] if retried else []
                table[job.line] = _noted(old, outcome, WAITING if retried else FAILED)
                write_status(status, table.values())
                tell(job, table[job.line], outcome)
        left = sorted(again, key=lambda job: job.line)
        if not left:
            break
    return list(table.values())


def _noted(old: JobStatus, outcome: JobOutcome, otherwise: str) -> JobStatus:
    """The line of the table after another attempt."""
    return replace(
        old,
        status=otherwise if outcome.exit_code else DONE,
        attempts=old.attempts + 1,
        exit_code=outcome.exit_code,
        seconds=round(old.seconds + outcome.seconds, 2),
        error=outcome.error,
        worker=outcome.worker,
    )
