"""The routes of the jobs API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field

from ..sample import sample_files
from ..utils.options import option_values
from ..version import __version__
from .events import job_events
from .form import JobForm, page_fields, persona_files
from .gate import COOKIE
from .intake import Upload
from .jobs import Job
from .metrics import CONTENT_TYPE, Metrics
from .pictures import passed_picture, person_picture
from .service import Service
from .tasks import CURVES, REPORT
from .views import JobList, JobView, Problem, view

# Media types of files that clients get back, still images that browsers show among them; anything else is only bytes.
MEDIA_TYPES = {
    ".json": "application/json",
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}

# Most jobs in an answer.
MOST = 100

api = APIRouter(
    prefix="/api",
    responses={status: {"model": Problem} for status in (401, 404, 422)},
    # For the description alone: the gate has asked for the token already.
    dependencies=[Depends(HTTPBearer(auto_error=False))],
)
outside = APIRouter()


def service_of(request: Request) -> Service:
    """Return the service."""
    service: Service = request.app.state.service
    return service


def owner_of(request: Request) -> str:
    """Return whose jobs a request may see."""
    return str(request.state.owner)


def job_of(id: str, request: Request) -> Job:
    """Return the client's job of a path.

    Raises:
        NotFoundError: There is none.
    """
    return service_of(request).get(id, owner_of(request))


TheService = Annotated[Service, Depends(service_of)]
Owner = Annotated[str, Depends(owner_of)]
TheJob = Annotated[Job, Depends(job_of)]


@api.post(
    "/jobs", status_code=201, responses={413: {"model": Problem}, 429: {"model": Problem}, 507: {"model": Problem}}
)
def create_job(
    form: Annotated[JobForm, Form(media_type="multipart/form-data")], service: TheService, owner: Owner
) -> JobView:
    """Create a job: upload video and speech, or name them below the folder that the service allows."""
    video, speech = (
        None if file is None else Upload(file.filename or "", file.file) for file in (form.video, form.speech)
    )
    return view(service.create(owner, form, video, speech), service.store, service.folders)


@api.get("/jobs")
def list_jobs(
    service: TheService,
    owner: Owner,
    most: Annotated[int, Query(ge=1, le=MOST)] = MOST,
    before: Annotated[int | None, Query(ge=0, lt=1 << 62)] = None,
) -> JobList:
    """List your jobs, the newest first."""
    jobs = service.store.owned(owner, most, before)
    more = jobs[-1].number if len(jobs) == most else None
    return JobList(jobs=[view(job, service.store, service.folders) for job in jobs], before=more)


@api.get("/jobs/{id}")
def get_job(job: TheJob, service: TheService) -> JobView:
    """Tell a job's state, with stage and progress."""
    return view(job, service.store, service.folders)


@api.get("/jobs/{id}/events", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
def get_events(job: TheJob, service: TheService) -> StreamingResponse:
    """Tell a job's state whenever it changes, as server-sent events named `job`, until it is over."""

    def look() -> JobView | None:
        found = service.store.get(job.id)
        return None if found is None else view(found, service.store, service.folders)

    return StreamingResponse(job_events(look), media_type="text/event-stream")


@api.post("/jobs/{id}/cancel")
def cancel_job(job: TheJob, service: TheService, owner: Owner) -> JobView:
    """Cancel a job; one that runs is cancelled within seconds."""
    return view(service.cancel(job.id, owner), service.store, service.folders)


@api.delete("/jobs/{id}", status_code=204)
def delete_job(job: TheJob, service: TheService, owner: Owner) -> None:
    """Delete a job with its files; one that runs is cancelled before."""
    service.delete(job.id, owner)


@api.get("/jobs/{id}/result", response_class=FileResponse)
def get_result(job: TheJob, service: TheService, download: bool = False) -> FileResponse:
    """Return the dubbed video; parts of it as well."""
    name = f"{Path(job.request.video).stem}-dubbed{Path(job.request.result_file).suffix}"
    return _file(service, job, job.request.result_file, name if download else None)


@api.get("/jobs/{id}/video", response_class=FileResponse)
def get_video(job: TheJob, service: TheService) -> FileResponse:
    """Return the source: a video, or a still image."""
    return _file(service, job, job.request.video_file, needs_end=False)


@api.get("/jobs/{id}/report")
def get_report(job: TheJob, service: TheService) -> FileResponse:
    """Return the report as JSON: of a dub what was done, of faces the people, of verify what was found."""
    return _file(service, job, REPORT)


@api.get("/jobs/{id}/curves")
def get_curves(job: TheJob, service: TheService) -> FileResponse:
    """Return the curves of a dub as JSON: mouth openings and loudness over time, and where the mouth is."""
    return _file(service, job, CURVES)


@api.get("/jobs/{id}/people/{number}.jpg", response_class=FileResponse)
def get_person(job: TheJob, number: int, service: TheService) -> FileResponse:
    """Return the image of a person's face, found by a job of the kind `faces`."""
    return _file(service, job, person_picture(Path(), number).name)


@api.get("/jobs/{id}/passed/{number}.jpg", response_class=FileResponse)
def get_passed(job: TheJob, number: int, service: TheService) -> FileResponse:
    """Return the first frame of a stretch that was passed through, counted from 0."""
    return _file(service, job, passed_picture(Path(), number).name)


def _file(service: Service, job: Job, name: str, download: str | None = None, needs_end: bool = True) -> FileResponse:
    """Return a file of a job's folder.

    Raises:
        HTTPException: It is not there.
    """
    path = service.folders.of(job.id) / name
    if not name or not path.is_file() or (needs_end and job.state != "done"):
        raise HTTPException(404, "the job has no such file, or not yet")
    kind = MEDIA_TYPES.get(path.suffix, "application/octet-stream")
    return FileResponse(path, media_type=kind, filename=download)


# ------------------------------------------------------------------------------------------ the rest


class Login(BaseModel):
    """A token."""

    token: str = Field(max_length=4096)


@api.post("/login", status_code=204)
def login(given: Login, request: Request, response: Response, service: TheService) -> None:
    """Keep a token in a cookie, for the page alone: no script can read it, and no other page can use it."""
    if service.tokens.owner(given.token) is None:
        raise HTTPException(401, "this token is not known")
    secure = request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
    if service.tokens.needed:
        response.set_cookie(COOKIE, given.token, httponly=True, samesite="strict", secure=secure, path="/api")


@api.get("/settings")
def get_settings(service: TheService) -> dict[str, Any]:
    """Tell what may be chosen: the options of a dub with meaning and range, the personas, and the limits."""
    return {
        "version": __version__,
        "marked": service.defaults.provenance.on,
        "options": page_fields(option_values(service.defaults)),
        "personas": [path.stem for path in persona_files(service.options.personas)],
        "paths": service.options.allow is not None,
        "limits": vars(service.options.limits),
    }


@outside.get("/healthz", responses={503: {"model": Problem}})
def health(service: TheService) -> dict[str, str]:
    """Tell whether the service works."""
    if not service.is_healthy:
        raise HTTPException(503, "jobs are no longer handed out; start the service again")
    return {"status": "ok", "version": __version__}


@outside.get("/sample/{name}", response_class=FileResponse)
def get_sample(name: str) -> FileResponse:
    """Return the video or the speech of the embedded sample."""
    for path in sample_files():
        if path.name == name:
            return FileResponse(path)
    raise HTTPException(404, "the sample has no such file")


@outside.get("/metrics", response_class=Response)
def metrics(request: Request) -> Response:
    """Return figures for Prometheus."""
    figures: Metrics = request.app.state.metrics
    return Response(figures.text(), media_type=CONTENT_TYPE)
