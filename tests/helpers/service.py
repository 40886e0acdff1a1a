"""A service in this process: real sockets, tiny networks, workers that are threads."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from personatalk.pipeline.batch import JobOutcome
from personatalk.pipeline.options import DubOptions, WeightPaths
from personatalk.service.app import make_app
from personatalk.service.dispatcher import Worker
from personatalk.service.options import ServiceOptions
from personatalk.service.service import Service
from personatalk.service.tasks import Task, run_task
from personatalk.utils import processes

# Seconds that a test waits for anything.
PATIENCE = 300.0


class ThreadWorker:
    """A worker that is a thread; it is asked to end as a process is, by what its work checks."""

    def give(self, item: Task) -> None:
        self.outcome: JobOutcome | None = None
        self.thread = threading.Thread(target=self._work, args=(item,), daemon=True)
        self.thread.start()

    def _work(self, item: Task) -> None:
        try:
            self.outcome = run_task(WeightPaths(), item)
        except KeyboardInterrupt:
            processes.interrupt.asked = False

    def ready(self) -> bool:
        return not self.thread.is_alive()

    def result(self) -> JobOutcome:
        self.thread.join()
        if self.outcome is None:
            raise EOFError
        return self.outcome

    def exit_code(self) -> int | None:
        self.thread.join()
        return None

    def terminate(self) -> None:
        if self.thread.is_alive():
            processes.interrupt.asked = True

    def kill(self) -> None:
        """A thread cannot be killed."""


class Client:
    """A client of a service.

    Args:
        port: Where it listens, on this machine.
        token: Bearer token.
    """

    def __init__(self, port: int, token: str = "") -> None:
        self.port, self.token = port, token
        self.service: Service

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of an answer."""
        sent = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, {**sent, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """The JSON of a path that is there."""
        status, _, body = self.ask("GET", path)
        assert status == 200, body
        return json.loads(body)

    def post(self, **fields: object) -> tuple[int, Any]:
        """Status and JSON of a new job."""
        body, kind = multipart(fields)
        status, _, answer = self.ask("POST", "/api/jobs", body, {"Content-Type": kind})
        return status, json.loads(answer)

    def create(self, **fields: object) -> dict[str, Any]:
        """A new job."""
        status, job = self.post(**fields)
        assert status == 201, job
        return job

    def dub(self, video: Path, speech: Path, **fields: object) -> dict[str, Any]:
        """A new dub."""
        return self.create(video=video, speech=speech, consent="true", preset="ultrafast", **fields)

    def over(self, job: dict[str, Any]) -> dict[str, Any]:
        """The job when it is over."""
        return self.wait(job, lambda now: now["state"] in ("done", "failed", "cancelled"))

    def wait(self, job: dict[str, Any], until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The job when something holds."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            now: dict[str, Any] = self.get(f"/api/jobs/{job['id']}")
            if until(now):
                return now
            time.sleep(0.05)
        raise AssertionError(f"nothing happened to {now}")


def multipart(fields: Mapping[str, object]) -> tuple[bytes, str]:
    """Body and content type of a form; paths are uploaded, pairs are a name and content."""
    edge, parts = uuid.uuid4().hex, []
    for name, value in fields.items():
        if isinstance(value, Path):
            value = (value.name, value.read_bytes())
        head = f'--{edge}\r\nContent-Disposition: form-data; name="{name}"'
        if isinstance(value, tuple):
            head += f'; filename="{value[0]}"\r\nContent-Type: application/octet-stream'
            content = value[1]
        else:
            content = str(value).encode("utf-8", "surrogatepass")
        parts.append(head.encode("utf-8", "surrogatepass") + b"\r\n\r\n" + content + b"\r\n")
    return b"".join(parts) + f"--{edge}--\r\n".encode(), f"multipart/form-data; boundary={edge}"


@contextmanager
def running(
    data: Path,
    new_worker: Callable[[], Worker] = ThreadWorker,
    *,
    token: str = "",
    port: int = 0,
    defaults: DubOptions | None = None,
    **options: Any,
) -> Iterator[Client]:
    """A service that listens, and a client of it."""
    with (
        Service(ServiceOptions(data=data, **options), defaults, new_worker=new_worker) as service,
        socket.create_server(("127.0.0.1", port)) as listener,
    ):
        server = uvicorn.Server(
            uvicorn.Config(make_app(service), log_level="error", ws="none", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        client = Client(listener.getsockname()[1], token)
        client.service = service
        try:
            yield client
        finally:
            server.should_exit = True
            thread.join()
