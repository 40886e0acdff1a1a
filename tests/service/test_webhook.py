"""The webhook: signed as the specification says, sent again, and never sent elsewhere."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from personatalk.errors import PersonaTalkError
from personatalk.service import webhook
from personatalk.service.jobs import JobRequest, JobStore, new_id
from personatalk.service.webhook import Webhook, read_secret, sign

SECRET = b"sixteen bytes ok"


class Receiver(BaseHTTPRequestHandler):
    """Answers with the statuses that it is given, and keeps what it is told."""

    statuses: list[int]
    told: list[tuple[str, dict[str, str], bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.told.append((self.path, dict(self.headers), body))
        self.send_response(self.statuses.pop(0))
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[HTTPServer]:
    Receiver.statuses, Receiver.told = [], []
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_messages_are_signed_and_sent_until_they_arrive(
    receiver: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "DELAYS", (0.0, 0.0))
    Receiver.statuses[:] = [500, 302, 204]
    store = JobStore(tmp_path / "jobs.sqlite")
    job = store.add(new_id(), "ann", "dub", JobRequest("v.mp4", "s.wav", "video.mp4", reference="mine"), 9)
    store.finish(job.id, "failed", "bad")
    hook = Webhook(f"http://127.0.0.1:{receiver.server_port}/hook", SECRET)
    for _ in range(4):
        hook.deliver(store)
    store.close()
    assert [path for path, _, _ in Receiver.told] == ["/hook"] * 3, "a redirection is not followed"
    assert len({headers["Webhook-Id"] for _, headers, _ in Receiver.told}) == 1
    _, headers, body = Receiver.told[-1]
    content = f"{headers['Webhook-Id']}.{headers['Webhook-Timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.new(SECRET, content, hashlib.sha256).digest()).decode()
    assert headers["Webhook-Signature"] == f"v1,{wanted}"
    told = json.loads(body)
    assert told["type"] == "job.failed"
    assert {key: told["data"][key] for key in ("id", "error", "reference")} == {
        "id": job.id,
        "error": "bad",
        "reference": "mine",
    }


def test_the_signature_is_that_of_the_specification() -> None:
    # The example of https://github.com/standard-webhooks/standard-webhooks
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("text", "said"), [("short", "too short"), ("whsec_!!", "cannot be read"), ("\u00e9" * 20, "cannot be read")]
)
def test_secrets_that_will_not_do_are_said(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "s").write_text(text, "utf-8")
    with pytest.raises(PersonaTalkError, match=said):
        read_secret(tmp_path / "s")
    (tmp_path / "s").write_text("whsec_" + base64.b64encode(SECRET).decode() + "\n")
    assert read_secret(tmp_path / "s") == SECRET
