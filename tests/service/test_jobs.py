"""The table of jobs: their order, their owners, and what a restart finds."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from personatalk.errors import PersonaTalkError
from personatalk.service.jobs import Job, JobRequest, JobStore, QueueFullError, new_id


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    made = JobStore(tmp_path / "jobs.sqlite")
    yield made
    made.close()


def added(store: JobStore, owner: str = "ann", kind: str = "dub", most: int = 100) -> Job:
    return store.add(new_id(), owner, kind, JobRequest("v.mp4", "s.wav", "video.mp4"), most)  # type: ignore[arg-type]


def test_jobs_run_in_the_order_of_their_creation_by_kind(store: JobStore) -> None:
    first, look, second = added(store), added(store, kind="verify"), added(store)
    assert store.position(second) == 1
    claimed = [store.claim(["dub"]), store.claim(["faces", "verify"]), store.claim(["dub"]), store.claim(["dub"])]
    assert [job and job.id for job in claimed] == [first.id, look.id, second.id, None]


def test_a_job_that_ran_when_its_server_was_killed_is_first_again(store: JobStore, tmp_path: Path) -> None:
    first, second = added(store), added(store)
    store.claim(["dub"])
    again = JobStore(tmp_path / "jobs.sqlite")
    again.requeue()
    claimed = again.claim(["dub"])
    assert claimed is not None and claimed.id == first.id and claimed.request == first.request
    assert again.get(second.id) == second
    again.close()


def test_a_job_is_shown_to_its_owner_alone(store: JobStore) -> None:
    job, _ = added(store, "ann"), added(store, "bob")
    assert store.get(job.id, "ann") == job and store.get(job.id, "bob") is None
    assert [found.id for found in store.owned("ann", 10)] == [job.id]


def test_a_queue_has_an_end(store: JobStore) -> None:
    added(store, most=1)
    with pytest.raises(QueueFullError, match="1 jobs wait"):
        added(store, most=1)


def test_cancelled_jobs_do_not_run_and_a_finished_one_stays_as_it_is(store: JobStore) -> None:
    waiting, running = added(store), added(store)
    store.ask_cancel(waiting.id)
    claimed = store.claim(["dub"])
    assert claimed is not None and claimed.id == running.id
    store.ask_cancel(running.id)
    assert not store.is_wanted(running.id)
    store.finish(running.id, "cancelled")
    store.finish(running.id, "done")
    found = [store.get(job.id) for job in (waiting, running)]
    assert [job and job.state for job in found] == ["cancelled", "cancelled"]


def test_deleted_jobs_go_when_they_no_longer_run(store: JobStore) -> None:
    job = added(store)
    store.claim(["dub"])
    store.doom(job.id)
    assert store.get(job.id) is None and list(store.disposable(0)) == []
    store.finish(job.id, "cancelled")
    assert [found.id for found in store.disposable(0)] == [job.id]
    store.remove(job.id)
    assert store.ids() == set()


def test_a_message_is_due_until_it_arrived(store: JobStore) -> None:
    job = added(store)
    store.finish(job.id, "failed", "why")
    (due,) = store.undelivered(time.time())
    assert (due.id, due.deliveries, due.error) == (job.id, 0, "why")
    store.delivered(job.id, time.time() + 100)
    assert list(store.undelivered(time.time())) == [] and len(list(store.undelivered(time.time() + 200))) == 1
    store.delivered(job.id, None)
    assert list(store.undelivered(time.time() + 1e9)) == []


def test_a_table_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_text("no table" * 200)
    with pytest.raises(PersonaTalkError, match=r"a\.sqlite: the table of jobs cannot be opened"):
        JobStore(tmp_path / "a.sqlite")
    with sqlite3.connect(tmp_path / "b.sqlite") as base:
        base.execute("PRAGMA user_version = 99")
    with pytest.raises(PersonaTalkError, match="made by another version"):
        JobStore(tmp_path / "b.sqlite")
