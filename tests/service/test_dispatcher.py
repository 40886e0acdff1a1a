"""The dispatcher: crashes, bugs, time limits and cancelled jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from personatalk.errors import PersonaTalkError
from personatalk.pipeline.batch import JobOutcome
from personatalk.service import dispatcher
from personatalk.service.dispatcher import Lane
from personatalk.service.jobs import Job, JobRequest, JobStore, new_id
from personatalk.service.tasks import Task


class ScriptedWorker:
    """A worker that does what a test says: an outcome, a crash (None), or "hang"."""

    started: list[ScriptedWorker]

    def __init__(self, script: list[JobOutcome | str | None]) -> None:
        self.script, self.ended, self.killed = script, False, False
        self.items: list[Task] = []
        self.started.append(self)

    def give(self, item: Task) -> None:
        self.items.append(item)
        self.next = self.script.pop(0)

    def ready(self) -> bool:
        return self.next != "hang" or self.killed or self.ended

    def result(self) -> JobOutcome:
        if not isinstance(self.next, JobOutcome):
            raise EOFError
        return self.next

    def exit_code(self) -> int | None:
        return -11

    def terminate(self) -> None:
        self.ended = self.next != "stubborn"

    def kill(self) -> None:
        self.killed = True


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    made = JobStore(tmp_path / "jobs.sqlite")
    ScriptedWorker.started = []
    yield made
    made.close()


def task_of(job: Job) -> Task:
    if job.request.video == "gone":
        raise PersonaTalkError("persona: there is no such persona")
    return Task(job.number, job.kind, Path("/x"), Path("/x/v"), {"/x/v": "v.mp4"})


def lane_of(store: JobStore, *script: JobOutcome | str | None, slots: int = 1, seconds: float = 60) -> Lane:
    steps = list(script)
    return Lane(store, ["dub"], slots, lambda: ScriptedWorker(steps), task_of, seconds)


def added(store: JobStore, video: str = "v.mp4") -> Job:
    return store.add(new_id(), "ann", "dub", JobRequest(video, "s.wav", "video.mp4"), 100)


def state(store: JobStore, job: Job) -> tuple[str, str]:
    found = store.get(job.id)
    assert found is not None
    return found.state, found.error


DONE, BAD, BUG = JobOutcome(1), JobOutcome(1, 1, error="bad"), JobOutcome(1, 1, error="bug", again=True)


def test_a_process_does_one_job_after_the_other_in_order(store: JobStore) -> None:
    jobs, lane = [added(store) for _ in range(3)], lane_of(store, DONE, BAD, DONE)
    for _ in range(4):
        lane.step()
    assert [state(store, job) for job in jobs] == [("done", ""), ("failed", "bad"), ("done", "")]
    (worker,) = ScriptedWorker.started
    assert [item.line for item in worker.items] == [1, 2, 3]


def test_a_crash_is_tried_again_once_in_a_new_process(store: JobStore) -> None:
    once, twice, lane = added(store), added(store), lane_of(store, None, DONE, None, BUG)
    for _ in range(5):
        lane.step()
    assert [state(store, job) for job in (once, twice)] == [("done", ""), ("failed", "bug")]
    assert len(ScriptedWorker.started) == 3


def test_a_crash_that_comes_again_is_said(store: JobStore) -> None:
    job, lane = added(store), lane_of(store, None, None)
    for _ in range(3):
        lane.step()
    assert state(store, job) == ("failed", "v.mp4: the process that worked on it crashed")


def test_a_cancelled_job_is_ended_and_the_next_one_runs(store: JobStore) -> None:
    job, after, lane = added(store), added(store), lane_of(store, "hang", DONE)
    lane.step()
    store.ask_cancel(job.id)
    for _ in range(3):
        lane.step()
    assert [state(store, one) for one in (job, after)] == [("cancelled", ""), ("done", "")]


def test_a_job_that_takes_too_long_is_ended_by_force_if_need_be(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "GRACE", -1.0)
    job, lane = added(store), lane_of(store, "hang", seconds=0)
    monkeypatch.setattr(ScriptedWorker, "terminate", lambda self: None)
    for _ in range(4):
        lane.step()
    assert state(store, job) == ("failed", "took longer than the 0 minutes that a job may take here")
    assert ScriptedWorker.started[0].killed


def test_a_job_whose_persona_is_gone_fails(store: JobStore) -> None:
    job, lane = added(store, "gone"), lane_of(store)
    lane.step()
    assert state(store, job) == ("failed", "persona: there is no such persona")


def test_jobs_run_side_by_side_up_to_the_number_of_processes(store: JobStore) -> None:
    jobs, lane = [added(store) for _ in range(3)], lane_of(store, "hang", "hang", slots=2)
    lane.step()
    assert [state(store, job)[0] for job in jobs] == ["running", "running", "waiting"]
    lane.close()
    assert all(worker.ended for worker in ScriptedWorker.started)
