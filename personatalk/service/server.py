"""The server: `personatalk serve`."""

from __future__ import annotations

import contextlib
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn

from ..errors import PersonaTalkError
from .app import make_app
from .service import Service

# Most connections at once.
CONNECTIONS = 200

# Seconds that open connections get to end in.
FAREWELL = 3


def serve(service: Service, announce: Callable[[str], None]) -> None:
    """Run a service until the process is asked to end.

    Args:
        service: The service, which is running.
        announce: Told the address when the server listens.

    Raises:
        PersonaTalkError: The address cannot be used.
    """
    with _listening(service.options.host, service.options.port) as listener, _spool(service.options.data_folder):
        host = f"[{service.options.host}]" if ":" in service.options.host else service.options.host
        announce(f"http://{host}:{listener.getsockname()[1]}")
        config = uvicorn.Config(
            make_app(service),
            log_level="warning",
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=FAREWELL,
            server_header=False,
            ws="none",
        )
        uvicorn.Server(config).run(sockets=[listener])


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a socket that listens at an address.

    Raises:
        PersonaTalkError: The address cannot be used.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise PersonaTalkError(f"{host} port {port}: cannot listen there ({error}); choose another --port") from error
    with listener:
        yield listener


@contextlib.contextmanager
def _spool(data: Path) -> Iterator[None]:
    """Let uploads come in on the disk of the jobs: they have no names, and a kill leaves nothing of them."""
    before = tempfile.tempdir
    tempfile.tempdir = str(data)
    try:
        yield
    finally:
        tempfile.tempdir = before
