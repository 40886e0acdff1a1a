"""The gate before all routes: what is refused before a byte of a request's body is read.

Other pages in the user's browser must not use the service: a request from them has another origin, and a name of
theirs that leads to this machine is no name of the service. Tokens, size and disk are looked at here as well, since
the routes see a body only when all of it has come.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .folders import JobFolders
from .options import Limits
from .tokens import Tokens

# Cookie in which the page keeps a token.
COOKIE = "personatalk"

# Methods that change nothing.
SAFE = {"GET", "HEAD"}

# Largest body in bytes of anything but a new job.
SMALL = 1 << 16

# Seconds in which some more of a request's body must come.
PATIENCE = 60.0

# Seconds in which the rest of a refused body is dropped, and the header that ends the connection then.
LINGER, CLOSE = 2.0, (b"connection", b"close")

# Paths that need no token: the page itself has no secrets.
OPEN_PATHS = {"/healthz", "/api/login"}

# Headers of every answer.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; object-src 'none';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class RefusedError(Exception):
    """A refusal: status and reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Gate:
    """The outermost application.

    Args:
        app: The routes.
        tokens: Who may come in.
        names: Names of the service besides numbers and localhost.
        limits: Limits of uploads and disk.
        folders: The jobs' folders.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens, names: Iterable[str], limits: Limits, folders: JobFolders) -> None:
        self.app, self.tokens, self.limits, self.folders = app, tokens, limits, folders
        self.names = {"localhost", *names}
        # Bytes of bodies that are coming in at this moment.
        self.incoming = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or let it through."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        if scope["type"] != "http":
            return
        body = _Body(self, receive, scope)
        answer = _Answer(body, scope, receive, send)
        try:
            scope.setdefault("state", {})["owner"] = self._admit(scope)
            await body.admit()
            await self.app(scope, body, answer)
        except RefusedError as refused:
            await answer.refuse(refused)
        finally:
            self.incoming -= body.size

    def _admit(self, scope: Scope) -> str:
        """Return who asks.

        Raises:
            RefusedError: The request comes from another page, or without a token.
        """
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_own(host):
            raise RefusedError(421, "this service has another name; start it with --names to add one")
        origin = headers.get("origin")
        foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site") and scope["path"].startswith("/api/")
        if foreign or (origin is not None and scope["method"] not in SAFE and urlsplit(origin).netloc != host):
            raise RefusedError(403, "requests of other pages are refused")
        path = scope["path"]
        guarded = path.startswith("/api/") or path in ("/metrics", "/openapi.json")
        owner = self.tokens.owner(_token(headers))
        if owner is None and guarded and path not in OPEN_PATHS:
            raise RefusedError(401, "a token is needed: Authorization: Bearer TOKEN")
        return owner or ""

    def _is_own(self, host: str) -> bool:
        """Return whether a Host header names this service: by a number, which no foreign page has, or by its name."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(name)
            return True
        return name in self.names


class _Body:
    """The body of a request, which ends where it grows too large or nothing more comes.

    Args:
        gate: The gate.
        receive: Where the body comes from.
        scope: The request.
    """

    def __init__(self, gate: Gate, receive: Receive, scope: Scope) -> None:
        self.gate, self.receive = gate, receive
        self.is_job = scope["path"] == "/api/jobs" and scope["method"] == "POST"
        self.most = 1e6 * gate.limits.upload_mb if self.is_job else SMALL
        self.declared = Headers(scope=scope).get("content-length", "")
        self.size, self.used, self.ended = 0, 0, False
        self.refusal: RefusedError | None = None

    async def admit(self) -> None:
        """Look at the declared size.

        Raises:
            RefusedError: It is too large, or there is no room.
        """
        if self.is_job:
            self.used = await asyncio.to_thread(self.gate.folders.used)
        declared = int(self.declared) if self.declared.isascii() and self.declared.isdigit() else 0
        self._check(declared, self.gate.incoming + declared)

    def _check(self, size: int, incoming: int) -> None:
        if size > self.most:
            raise RefusedError(413, f"at most {self.most / 1e6:g} MB are taken")
        if self.is_job and self.used + incoming > 1e9 * self.gate.limits.disk_gb:
            raise RefusedError(507, "the disk space of the service is used up; delete jobs or come back later")

    async def __call__(self) -> Message:
        """Return the next part of the body.

        Raises:
            RefusedError: It is too large, there is no room, or nothing comes.
        """
        if self.ended:  # waits for the client to go
            return await self.receive()
        try:
            message = await asyncio.wait_for(self.receive(), PATIENCE)
            if message["type"] == "http.request":
                size = len(message.get("body", b""))
                self.size += size
                self.gate.incoming += size
                self.ended = not message.get("more_body", False)
                self._check(self.size, self.gate.incoming)
            return message
        except asyncio.TimeoutError:
            self.refusal = RefusedError(408, "the upload stopped")
        except RefusedError as refused:
            self.refusal = refused
        raise self.refusal


class _Answer:
    """The answer to a request, with the service's headers; a refusal of the body takes its place."""

    def __init__(self, body: _Body, scope: Scope, receive: Receive, send: Send) -> None:
        self.body, self.scope, self.receive, self.send = body, scope, receive, send
        self.started = False

    async def __call__(self, message: Message) -> None:
        """Send a part of the answer."""
        if self.body.refusal is not None:
            await self.refuse(self.body.refusal)
            return
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            headers.update(HEADERS)
            if self.scope["path"].startswith("/api/"):
                headers.setdefault("Cache-Control", "no-store")
        await self.send(message)

    async def refuse(self, refused: RefusedError) -> None:
        """Send a refusal, unless an answer has begun."""
        if self.started:
            return
        self.body.refusal = None
        content = json.dumps({"detail": refused.reason}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await self({"type": "http.response.start", "status": refused.status, "headers": [*headers, CLOSE]})
        await self.send({"type": "http.response.body", "body": content, "more_body": True})
        # A client that still sends would lose the answer if the connection were closed on it at once.
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._drain(), LINGER)
        await self.send({"type": "http.response.body", "body": b""})

    async def _drain(self) -> None:
        """Read what is left of the body, and drop it."""
        while not self.body.ended:
            message = await self.receive()
            self.body.ended = message["type"] != "http.request" or not message.get("more_body", False)


def _token(headers: Headers) -> str | None:
    """Return the token of a request, from its header or the page's cookie."""
    scheme, _, word = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return word.strip()
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return None
    return cookies[COOKIE].value if COOKIE in cookies else None
