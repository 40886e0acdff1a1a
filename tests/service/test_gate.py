"""The gate: foreign pages, foreign names, wrong tokens and endless bodies stay outside."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.service import Client, running

from personatalk.errors import PersonaTalkError
from personatalk.service import gate
from personatalk.service.options import Limits, ServiceOptions
from personatalk.service.tokens import Tokens

ANN, BOB = "ann-has-a-long-token", "bob-has-another-token"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A service with tokens; the client has Ann's."""
    folder = tmp_path_factory.mktemp("gate")
    (folder / "tokens").write_text(f"# ours\n{ANN}\n\n{BOB}\n")
    with running(
        folder / "data", token=ANN, tokens=folder / "tokens", names="dub.example", limits=Limits(upload_mb=0.1)
    ) as found:
        yield found


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:80"}, 200),
        ({"Host": "[::1]:9"}, 200),
        ({"Host": "192.168.0.9"}, 200),
        ({"Host": "dub.example"}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": ""}, 421),
        ({"Host": "[::1"}, 421),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://evil.example"}, 200),
    ],
)
def test_only_the_services_own_names_and_pages_are_answered(
    client: Client, headers: dict[str, str], status: int
) -> None:
    assert client.ask("GET", "/api/jobs", headers=headers)[0] == status


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_another_page_changes_nothing(client: Client, origin: str) -> None:
    assert client.ask("POST", "/api/jobs", b"", {"Origin": origin})[0] == 403
    assert client.ask("DELETE", f"/api/jobs/{'0' * 32}", None, {"Origin": origin})[0] == 403
    assert client.ask("DELETE", f"/api/jobs/{'0' * 32}", None, {"Origin": f"http://127.0.0.1:{client.port}"})[0] == 404


def test_a_token_is_needed_for_all_but_the_page(client: Client) -> None:
    nobody = Client(client.port)
    for path in ("/api/jobs", "/api/settings", "/metrics", "/openapi.json"):
        assert nobody.ask("GET", path)[0] == 401 and client.ask("GET", path)[0] == 200, path
    for path in ("/", "/main.js", "/healthz"):
        assert nobody.ask("GET", path)[0] == 200, path
    for wrong in (ANN[:-1], ANN + "x", "\u00e9", ""):
        assert nobody.ask("GET", "/api/jobs", headers={"Authorization": f"Bearer {wrong}"})[0] == 401


def test_a_job_is_there_for_its_token_alone(client: Client) -> None:
    job = client.over(client.create(kind="faces", video=("v.mp4", b"none")))
    other = Client(client.port, BOB)
    assert other.get("/api/jobs")["jobs"] == []
    path = f"/api/jobs/{job['id']}"
    for method, end in [("GET", ""), ("GET", "/events"), ("GET", "/video"), ("POST", "/cancel"), ("DELETE", "")]:
        assert other.ask(method, path + end)[0] == 404, end
    assert "there is no such job" in other.post(kind="faces", video_of=job["id"])[1]["detail"]
    assert client.ask("GET", path)[0] == 200


def test_the_page_comes_in_with_a_cookie_that_no_script_reads(client: Client) -> None:
    nobody, kind = Client(client.port), {"Content-Type": "application/json"}
    assert nobody.ask("POST", "/api/login", json.dumps({"token": "wrong" * 9}).encode(), kind)[0] == 401
    status, headers, _ = nobody.ask("POST", "/api/login", json.dumps({"token": ANN}).encode(), kind)
    cookie = headers["set-cookie"]
    assert status == 204 and "HttpOnly" in cookie and "SameSite=strict" in cookie
    assert nobody.ask("GET", "/api/jobs", headers={"Cookie": cookie.split(";")[0]})[0] == 200
    assert nobody.ask("GET", "/api/jobs", headers={"Cookie": "personatalk=wrong; a=\x01"})[0] == 401


def raw(client: Client, *parts: bytes) -> bytes:
    """Send bytes, and return the answer."""
    with socket.create_connection(("127.0.0.1", client.port), timeout=60) as connection:
        for part in parts:
            connection.sendall(part)
        found = b""
        while piece := connection.recv(4096):
            found += piece
        return found


HEAD = f"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ANN}\r\n".encode()
FORM = b"Content-Type: multipart/form-data; boundary=x\r\n"


def test_a_body_that_tells_no_size_ends_at_the_limit(client: Client) -> None:
    chunk = b"8000\r\n" + bytes(0x8000) + b"\r\n"
    part = b'--x\r\nContent-Disposition: form-data; name="video"; filename="a"\r\n\r\n'
    start = b"%x\r\n%s\r\n" % (len(part), part)
    answer = raw(client, HEAD, FORM, b"Transfer-Encoding: chunked\r\n\r\n", start, *[chunk] * 40, b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413") and b"at most 0.1 MB" in answer


@pytest.mark.slow
def test_a_body_that_stops_is_given_up(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "PATIENCE", 0.1)
    answer = raw(client, HEAD, FORM, b"Content-Length: 1000\r\n\r\n--x\r\n")
    assert answer.startswith(b"HTTP/1.1 408") and b"the upload stopped" in answer


def test_a_name_cannot_bring_headers(client: Client) -> None:
    job = client.create(kind="faces", video=("a%0d%0aSet-Cookie: b\u202e\x07\\..\\v.mp4", b"none"))
    assert job["video"] == "v.mp4"
    reference = client.create(kind="faces", video=("v.mp4", b"none"), reference="a\r\nSet-Cookie: b")
    assert reference["reference"] == "aSet-Cookie: b"


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "holds no token"), ("short\n", "line 1: a token has 16 characters"), ("\u00e9" * 20, "cannot be read")],
)
def test_tokens_that_will_not_do_are_said(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t").write_text(text, "utf-8")
    with pytest.raises(PersonaTalkError, match=said):
        Tokens.read(tmp_path / "t")


def test_a_service_of_the_network_needs_tokens(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.168.0.9", "dub.example"):
        with pytest.raises(PersonaTalkError, match="give --tokens FILE"):
            ServiceOptions(host=host)
        assert ServiceOptions(host=host, without_tokens=True).host == host
    assert ServiceOptions(host="::1").is_local and ServiceOptions(host="localhost").is_local
    for wrong in (
        {"webhook": "ftp://x", "webhook_secret": tmp_path},
        {"webhook": "http://x"},
        {"allow": tmp_path / "no"},
    ):
        with pytest.raises(PersonaTalkError):
            ServiceOptions(**wrong)
