"""The jobs in SQLite: what was asked for, by whom, and what became of it."""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import PersonaTalkError

State = Literal["waiting", "running", "done", "failed", "cancelled"]
Kind = Literal["dub", "faces", "verify"]

# Jobs in these states are over.
ENDED = ("done", "failed", "cancelled")

# Seconds since 1970 in SQL: read under the lock of the table, so that times are in the order of numbers.
NOW = "(julianday('now') - 2440587.5) * 86400.0"

# Version of the tables.
VERSION = 1

SCHEMA = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    request TEXT NOT NULL,
    created REAL NOT NULL,
    started REAL,
    finished REAL,
    attempts INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '',
    cancel INTEGER NOT NULL DEFAULT 0,
    doomed INTEGER NOT NULL DEFAULT 0,
    deliveries INTEGER NOT NULL DEFAULT 0,
    delivery_due REAL
);
CREATE INDEX jobs_by_state ON jobs (state, number);
CREATE INDEX jobs_by_owner ON jobs (owner, number);
"""


class QueueFullError(PersonaTalkError):
    """As many jobs as are allowed wait already."""


@dataclass(frozen=True)
class JobRequest:
    """Wishes of a client.

    Attributes:
        video: Name of the video, as the client knows it.
        speech: Name of the speech likewise; "" where there is none.
        video_file: Name of the video in the job's folder.
        speech_file: Name of the speech there; "" where there is none.
        result_file: Name of the result there; "" where there is none.
        reference: The client's own word for the job.
        options: Options that the client chose, by name.
    """

    video: str
    speech: str
    video_file: str
    speech_file: str = ""
    result_file: str = ""
    reference: str = ""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """A job.

    Attributes:
        number: From 1, in the order in which jobs were created.
        id: Its name, 32 hexadecimal digits that cannot be guessed.
        owner: Who may see it; see `tokens.Tokens`.
        kind: "dub"; "faces", which lists the people of a video; or "verify".
        state: "waiting", "running", "done", "failed" or "cancelled".
        request: Wishes of the client.
        created: Seconds since 1970, as are the other times.
        started: When it began to run, the last time.
        finished: When it was over.
        attempts: How often it was tried and failed by a crash or a bug.
        error: What went wrong, in one line.
        cancel: Whether it is to be cancelled.
        doomed: Whether it is to be deleted as soon as it no longer runs.
        deliveries: How often the webhook was told.
    """

    number: int
    id: str
    owner: str
    kind: Kind
    state: State
    request: JobRequest
    created: float
    started: float | None = None
    finished: float | None = None
    attempts: int = 0
    error: str = ""
    cancel: bool = False
    doomed: bool = False
    deliveries: int = 0

    @classmethod
    def of_row(cls, row: sqlite3.Row) -> Job:
        """Return the job of a row of the table."""
        values = {key: row[key] for key in row.keys() if key != "delivery_due"}  # noqa: SIM118
        values |= {key: bool(values[key]) for key in ("cancel", "doomed")}
        return cls(**{**values, "request": JobRequest(**json.loads(values["request"]))})


def new_id() -> str:
    """Return the name of a new job."""
    return secrets.token_hex(16)


class JobStore:
    """The table of jobs; threads may use it at once.

    Args:
        path: The file.

    Raises:
        PersonaTalkError: It cannot be opened or is of another version.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._base = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._base.row_factory = sqlite3.Row
            self._base.execute("PRAGMA journal_mode = WAL")
            version = int(self._base.execute("PRAGMA user_version").fetchone()[0])
            if version == 0:
                self._base.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        except sqlite3.Error as error:
            raise PersonaTalkError(
                f"{path}: the table of jobs cannot be opened ({error}); name another folder"
            ) from error
        if version not in (0, VERSION):
            raise PersonaTalkError(f"{path}: made by another version of PersonaTalk; name another folder")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._base.close()

    def _rows(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._base.execute(statement, values).fetchall()

    def _jobs(self, statement: str, *values: Any) -> list[Job]:
        return [Job.of_row(row) for row in self._rows(statement, *values)]

    def add(self, id: str, owner: str, kind: Kind, request: JobRequest, most: int) -> Job:
        """Put a new job at the end of the queue.

        Raises:
            QueueFullError: So many jobs wait or run already.
        """
        rows = self._jobs(
            f"INSERT INTO jobs (id, owner, kind, state, request, created) SELECT ?, ?, ?, 'waiting', ?, {NOW}"
            " WHERE (SELECT count(*) FROM jobs WHERE state IN ('waiting', 'running')) < ? RETURNING *",
            *(id, owner, kind, json.dumps(asdict(request)), most),
        )
        if not rows:
            raise QueueFullError(f"{most} jobs wait or run already; come back later")
        return rows[0]

    def get(self, id: str, owner: str | None = None) -> Job | None:
        """Return a job that is not to be deleted; None where there is none, or somebody else owns it."""
        found = self._jobs("SELECT * FROM jobs WHERE id = ? AND NOT doomed", id)
        return found[0] if found and owner in (None, found[0].owner) else None

    def is_wanted(self, id: str) -> bool:
        """Return whether a job is neither cancelled nor deleted meanwhile."""
        return bool(self._rows("SELECT 1 FROM jobs WHERE id = ? AND NOT cancel", id))

    def owned(self, owner: str, most: int, before: int | None = None) -> list[Job]:
        """Return an owner's jobs, the newest first, where given only those with a smaller number."""
        return self._jobs(
            "SELECT * FROM jobs WHERE owner = ? AND NOT doomed AND number < ? ORDER BY number DESC LIMIT ?",
            *(owner, (1 << 62) if before is None else before, most),
        )

    def position(self, job: Job) -> int:
        """Return how many jobs of the same kind are ahead of a waiting one."""
        (row,) = self._rows(
            "SELECT count(*) FROM jobs WHERE state = 'waiting' AND kind = ? AND number < ?", job.kind, job.number
        )
        return int(row[0])

    def claim(self, kinds: Sequence[Kind]) -> Job | None:
        """Take the first waiting job of some kinds, which runs from now on."""
        marks = ", ".join("?" * len(kinds))
        found = self._jobs(
            "UPDATE jobs SET state = 'running', started = ? WHERE number = (SELECT min(number) FROM jobs"
            f" WHERE state = 'waiting' AND kind IN ({marks})) RETURNING *",
            *(time.time(), *kinds),
        )
        return found[0] if found else None

    def again(self, job: Job) -> None:
        """Let a job that crashed wait for another attempt, at its old place in the queue."""
        self._rows("UPDATE jobs SET state = 'waiting', attempts = attempts + 1 WHERE id = ?", job.id)

    def requeue(self) -> None:
        """Let the jobs wait that a server ran which is gone."""
        self._rows("UPDATE jobs SET state = 'waiting' WHERE state = 'running'")
        self._rows("UPDATE jobs SET state = 'cancelled', finished = ? WHERE state = 'waiting' AND cancel", time.time())

    def finish(self, id: str, state: State, error: str = "") -> None:
        """Say that a job is over, unless it is already."""
        now = time.time()
        self._rows(
            "UPDATE jobs SET state = ?, error = ?, finished = ?, delivery_due = ?"
            " WHERE id = ? AND state IN ('waiting', 'running')",
            *(state, error, now, now, id),
        )

    def ask_cancel(self, id: str) -> None:
        """Cancel a waiting job; a running one is marked to be."""
        self._rows("UPDATE jobs SET cancel = 1 WHERE id = ? AND state IN ('waiting', 'running')", id)
        now = time.time()
        self._rows(
            "UPDATE jobs SET state = 'cancelled', finished = ?, delivery_due = ? WHERE id = ? AND state = 'waiting'",
            *(now, now, id),
        )

    def doom(self, id: str) -> None:
        """Mark a job to be deleted."""
        self.ask_cancel(id)
        self._rows("UPDATE jobs SET doomed = 1 WHERE id = ?", id)

    def disposable(self, before: float) -> Iterable[Job]:
        """Return the jobs whose files can go: marked ones that do not run, and those that were over before a time."""
        return self._jobs(
            "SELECT * FROM jobs WHERE state NOT IN ('waiting', 'running') AND (doomed OR finished < ?)", before
        )

    def remove(self, id: str) -> None:
        """Delete a job's row."""
        self._rows("DELETE FROM jobs WHERE id = ?", id)

    def ids(self) -> set[str]:
        """Return the names of all jobs."""
        return {str(row[0]) for row in self._rows("SELECT id FROM jobs")}

    def counts(self) -> dict[tuple[str, str], int]:
        """Return how many jobs there are, by kind and state."""
        return {(r[0], r[1]): int(r[2]) for r in self._rows("SELECT kind, state, count(*) FROM jobs GROUP BY 1, 2")}

    def seconds(self) -> dict[str, float]:
        """Return how long the jobs that are done took together, by kind."""
        rows = self._rows("SELECT kind, sum(finished - started) FROM jobs WHERE state = 'done' GROUP BY 1")
        return {str(row[0]): float(row[1]) for row in rows}

    def undelivered(self, now: float) -> Iterable[Job]:
        """Return the jobs that are over and of which the webhook is due to be told, the oldest first."""
        return self._jobs("SELECT * FROM jobs WHERE delivery_due <= ? AND NOT doomed ORDER BY finished", now)

    def delivered(self, id: str, due: float | None) -> None:
        """Note that the webhook was told or not, and when it is to be told again; None for never."""
        self._rows("UPDATE jobs SET deliveries = deliveries + 1, delivery_due = ? WHERE id = ?", due, id)
