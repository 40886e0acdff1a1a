"""Jobs as clients see them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from .folders import JobFolders
from .jobs import Job, JobStore
from .progress import read_progress


class StageView(BaseModel):
    """Progress of one stage."""

    name: str = Field(description="shots, people, faces, geometry, dubbing, watermark...")
    done: int = Field(description="steps, mostly frames")
    total: int = Field(description="0: unknown")
    seconds: float = Field(description="that it took so far")
    left: float | None = Field(description="seconds that it will take yet, as far as can be told")


class JobView(BaseModel):
    """A job."""

    id: str
    kind: str
    state: str = Field(description="waiting, running, done, failed or cancelled")
    video: str = Field(description="name of the video")
    speech: str = Field(description="name of the speech; empty where there is none")
    options: dict[str, Any] = Field(description="options that were chosen")
    reference: str = Field(description="your own word for it")
    created: float = Field(description="seconds since 1970, as are the other times")
    started: float | None
    finished: float | None
    ahead: int = Field(description="jobs that wait before it")
    stages: list[StageView] = Field(description="so far; the last is being worked on")
    error: str = Field(description="what went wrong, in one line")
    result: str | None = Field(description="path of the dubbed video, once the job is done")
    report: str | None = Field(description="path of the report, once the job is done")


class JobList(BaseModel):
    """Jobs, the newest first."""

    jobs: list[JobView]
    before: int | None = Field(description="give it as `before` for the next ones; null where there are no more")


class Problem(BaseModel):
    """Reason why a request failed."""

    detail: str = Field(description="what is wrong, in one line")


def view(job: Job, store: JobStore, folders: JobFolders) -> JobView:
    """Return a job as clients see it."""
    progress = read_progress(folders.of(job.id))
    done, path = job.state == "done", f"/api/jobs/{job.id}"
    return JobView(
        id=job.id,
        kind=job.kind,
        state=job.state,
        video=job.request.video,
        speech=job.request.speech,
        options=job.request.options,
        reference=job.request.reference,
        created=job.created,
        started=job.started,
        finished=job.finished,
        ahead=store.position(job) if job.state == "waiting" else 0,
        stages=[StageView(**vars(stage)) for stage in progress.stages],
        error=job.error,
        result=f"{path}/result" if done and job.request.result_file else None,
        report=f"{path}/report" if done else None,
    )
