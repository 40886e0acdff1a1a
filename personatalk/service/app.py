"""The application that a server runs: gate, routes and page."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp

from ..errors import PersonaTalkError
from ..version import __version__
from .gate import Gate
from .jobs import QueueFullError
from .metrics import Metrics
from .routes import api, outside
from .service import NotFoundError, Service

# Folder of the page: plain HTML, CSS and JavaScript.
PAGE = Path(__file__).parent / "page"

# Status of an error by its class; 422 for any other that a client can cause.
STATUS: dict[type[Exception], int] = {NotFoundError: 404, QueueFullError: 429}


def make_app(service: Service) -> ASGIApp:
    """Return the application of a service that is running."""
    app = FastAPI(
        title="PersonaTalk",
        version=__version__,
        description="Visual dubbing: jobs that give a video a new speech. Results say that they were generated.",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
    )
    app.state.service, app.state.metrics = service, Metrics(service)
    app.include_router(api)
    app.include_router(outside)
    app.mount("/", StaticFiles(directory=PAGE, html=True))

    @app.exception_handler(PersonaTalkError)
    def explain(request: Request, error: PersonaTalkError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, STATUS.get(type(error), 422))

    @app.exception_handler(RequestValidationError)
    def explain_form(request: Request, error: RequestValidationError) -> JSONResponse:
        wrong = [f"{'.'.join(str(part) for part in e['loc'][1:])}: {e['msg']}" for e in error.errors()]
        return JSONResponse({"detail": str(PersonaTalkError("; ".join(wrong)))}, 422)

    names = [name.strip().lower() for name in (service.options.names or "").split(",") if name.strip()]
    return Gate(app, service.tokens, names, service.options.limits, service.folders)
