"""The webhook: an address of the operator's that is told of every job that ended.

Messages are signed as the Standard Webhooks specification says (https://www.standardwebhooks.com), for which there are
libraries in most languages.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import logging
import time
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO

from ..errors import PersonaTalkError
from .jobs import Job, JobStore

# Seconds after which a message that did not arrive is sent again; after the last it is given up.
DELAYS = (5.0, 30.0, 300.0, 3600.0)

# Seconds that the receiver has to answer in.
PATIENCE = 15.0

# Prefix of a secret, and the fewest bytes that it stands for.
PREFIX, SHORTEST = "whsec_", 16

log = logging.getLogger("personatalk.service")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Takes a redirection for an error: signed messages go where the operator said, and nowhere else."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Follow no redirection."""


class Webhook:
    """Tells an address of jobs that ended.

    Args:
        url: The address.
        secret: Bytes that sign the messages.
    """

    def __init__(self, url: str, secret: bytes) -> None:
        self.url, self.secret = url, secret
        self._opener = urllib.request.build_opener(_NoRedirects)

    def send(self, job: Job) -> bool:
        """Send the message of a job, and return whether it arrived."""
        body = json.dumps(message(job)).encode()
        headers = sign(self.secret, f"{job.id}.{job.state}", int(time.time()), body)
        headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self.url, data=body, headers=headers, method="POST")
        try:
            with self._opener.open(request, timeout=PATIENCE):
                return True
        except (OSError, HTTPException, urllib.error.URLError) as error:
            log.warning("webhook of job %s: %s", job.id, error)
            return False

    def deliver(self, store: JobStore) -> None:
        """Send all messages that are due."""
        for job in store.undelivered(time.time()):
            arrived = self.send(job)
            last = job.deliveries >= len(DELAYS)
            store.delivered(job.id, None if arrived or last else time.time() + DELAYS[job.deliveries])


def message(job: Job) -> dict[str, object]:
    """Return what is told of a job, JSON-able."""
    data = {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "error": job.error or None,
        "reference": job.request.reference or None,
        "created": job.created,
        "finished": job.finished,
    }
    return {"type": f"job.{job.state}", "timestamp": job.finished, "data": data}


def sign(secret: bytes, id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers that sign a message.

    Args:
        secret: Bytes that sender and receiver share.
        id: Name of the message, the same when it is sent again.
        timestamp: Seconds since 1970.
        body: The message.
    """
    content = f"{id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()
    return {"webhook-id": id, "webhook-timestamp": str(timestamp), "webhook-signature": f"v1,{signature}"}


def read_secret(path: Path) -> bytes:
    """Read the secret of a file, as `whsec_` and Base64, or as plain text.

    Raises:
        PersonaTalkError: It cannot be read or is too short.
    """
    try:
        words = path.read_text("ascii").strip()
        encoded = words.removeprefix(PREFIX)
        secret = base64.b64decode(encoded, validate=True) if words.startswith(PREFIX) else words.encode()
    except (OSError, ValueError, binascii.Error) as error:
        raise PersonaTalkError(f"{path}: the secret cannot be read ({error})") from None
    if len(secret) < SHORTEST:
        raise PersonaTalkError(f"{path}: the secret is too short; {SHORTEST} bytes or more are needed")
    return secret
