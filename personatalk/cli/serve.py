"""The command `personatalk serve`."""

from __future__ import annotations

import argparse

from ..pipeline.options import DubOptions, WeightPaths
from ..service.options import ServiceOptions
from ..utils.options import with_options
from .dub import HEADINGS, add_dub_options
from .options import Commands, Groups, add_command, add_options, require

# Modules that the service needs, all in one extra.
MODULES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")


def add_serve(commands: Commands) -> None:
    """Add `personatalk serve`."""
    serve = add_command(
        commands,
        "serve",
        "dub in the browser and over HTTP",
        "Serve a page to dub with, and an API of jobs, at http://127.0.0.1:8000. Jobs go on after a kill. Options of"
        " dub are the defaults of all jobs; docs/service.md has the API.",
        [
            "personatalk serve",
            "personatalk serve --host 0.0.0.0 --tokens tokens.txt --allow /srv/videos --disk-gb 100",
        ],
    )
    groups = Groups(serve, "service", "limits", *HEADINGS)
    add_options(groups, ServiceOptions)
    add_dub_options(groups)
    serve.set_defaults(run=run_serve)


def run_serve(given: argparse.Namespace) -> int:
    """Run `personatalk serve`."""
    require("serve", *MODULES)
    from ..service.server import serve
    from ..service.service import Service

    options = with_options(ServiceOptions(), vars(given))
    defaults, weights = with_options(DubOptions(), vars(given)), with_options(WeightPaths(), vars(given))
    defaults.check()
    weights.check(options.ray is not None)
    with Service(options, defaults, weights) as service:
        serve(service, lambda address: print(f"PersonaTalk is at {address} (Ctrl-C ends it)", flush=True))
    return 0
