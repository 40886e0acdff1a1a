"""Requests at random to a service: paths, sizes, headers, half uploads, bombs as media; see "requests" in `fuzz.py`.

Whatever comes, the service answers or hangs up; it does not fail, reads and writes nothing outside its folders, and
shows no job of another token. Workers are threads here, so that a crash is the fuzzed process's own.
"""

from __future__ import annotations

import functools
import gzip
import json
import socket
import struct
import tempfile
import time
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import cv2
from helpers import tiny
from helpers.service import Client, multipart, running
from mutations import NAMES, VALUES, mutated

from personatalk.errors import PersonaTalkError
from personatalk.service import gate
from personatalk.service.options import Limits

OURS, THEIRS = "token-of-the-attacker", "token-of-the-victim"
MARK = b"nobody-may-read-this"
PATIENCE = 30.0
"""Seconds in which what is wanted must happen."""
SILENCE = 1.0
"""Seconds without an answer after which the client hangs up."""
SEED = b"case 7 of requests"
"""The case that is a whole upload."""
METHODS = ["GET", "POST", "DELETE", "PUT", "HEAD", "OPTIONS", "PATCH", "TRACE", "get", "\x00", "POST /x HTTP/1.1\r\nA:"]
ENDS = ["", "/", "/events", "/cancel", "/result", "/result?download=1", "/video", "/report", "/curves"]
ENDS += ["/people/1.jpg", "/people/../report.json", "/passed/0.jpg", "/passed/-1.jpg", "/%2e%2e/", "/..%2f..%2f"]
PARTS = ["..", "%2e%2e", "%2e%2e%2f", "..%5c", "%00", "%0d%0aX: y", "api", "jobs", "sample", "page", "etc", "passwd"]
PARTS += ["secret", "secret.mp4", "jobs.sqlite", "main.js", "", ".", "~", "\u00e9", "%ff", "?" * 50, "a" * 3000]
PATHS = ["../secret.mp4", "link.mp4", "link/secret.mp4", "clip.mp4/..", "/etc/passwd", "clip.mp4", ".", "\u00e9"]
HEADERS = ["Host", "Origin", "Authorization", "Cookie", "Content-Length", "Transfer-Encoding", "Content-Type", "Range"]
HEADERS += ["Expect", "Connection", "Upgrade", "Content-Encoding", "X-Forwarded-For", "Sec-Fetch-Site", "If-Range"]
WORDS = ["", "0", "-1", "9" * 40, "1, 1", "chunked", "gzip, chunked", "identity", "bytes=0-", "bytes=-1", "bytes=9-1"]
WORDS += [
    "bytes=" + ",".join(f"{n}-{n}" for n in range(900)),
    "evil.example",
    "[::1",
]
WORDS += ["localhost", "null", "100-continue"]
WORDS += ["Bearer", "Bearer " + THEIRS[:-1], "Basic eDp5", "personatalk=" + THEIRS[:-1], "websocket", "cross-site"]
WORDS += ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "x" * 300]
WORDS += ["application/json", "text/plain; charset=\u00ff", "a" * 70000, "b\tc", "\u00e9", "\x01"]


@dataclass(frozen=True)
class Target:
    """The service that is asked.

    Attributes:
        base: Folder of all that belongs to it.
        client: The attacker.
        victim: Somebody else.
        job: The victim's job.
        clip: A video.
        still: A still image.
    """

    base: Path
    client: Client
    victim: Client
    job: dict[str, Any]
    clip: bytes
    still: bytes


@functools.cache
def target() -> Target:
    """Start the service of this process."""
    base, left = Path(tempfile.mkdtemp(prefix="personatalk-requests-")), ExitStack()
    (base / "allowed").mkdir()
    clip = tiny.clip_of(base / "allowed" / "clip.mp4").read_bytes()
    still = cv2.imencode(".png", tiny.nobody())[1].tobytes()
    (base / "secret.mp4").write_bytes(clip + MARK)
    (base / "allowed" / "link.mp4").symlink_to(base / "secret.mp4")
    (base / "allowed" / "link").symlink_to(base)
    (base / "tokens").write_text(f"{OURS}\n{THEIRS}\n")
    gate.PATIENCE, gate.LINGER = 0.5, 0.2
    left.enter_context(tiny.in_place(tiny.tiny_models()))
    limits = Limits(upload_mb=0.5, disk_gb=0.05, media_minutes=0.1, frame_megapixels=1, queue=50)
    options: dict[str, Any] = {"tokens": base / "tokens", "allow": base / "allowed", "limits": limits}
    client = left.enter_context(running(base / "data", token=OURS, **options))
    victim = Client(client.port, THEIRS)
    job = victim.over(victim.create(kind="faces", video=("v.mp4", clip + MARK), reference=MARK.decode()))
    target.left = left  # type: ignore[attr-defined]  # it runs until the process ends
    return Target(base, client, victim, job, clip, still)


# ---------------------------------------------------------------------------------------------- requests


def head(method: str, path: str, headers: dict[str, str]) -> bytes:
    """The head of a request."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogatepass")


def usual(**headers: str) -> dict[str, str]:
    """Headers that let a request in."""
    return {"Host": "localhost", "Authorization": f"Bearer {OURS}", "Connection": "close", **headers}


def upload(fields: dict[str, object]) -> bytes:
    """A new job."""
    body, kind = multipart(fields)
    return head("POST", "/api/jobs", usual(**{"Content-Type": kind, "Content-Length": str(len(body))})) + body


def a_path(random: Random, to: Target) -> bytes:
    """Any path."""
    path = "/" + "/".join(random.choice([*PARTS, to.job["id"]]) for _ in range(random.randrange(6)))
    return head(random.choice(METHODS[:7]), path.replace(" ", "%20"), usual())


def a_head(random: Random, to: Target) -> bytes:
    """Any headers."""
    headers = usual()
    for _ in range(random.randrange(1, 4)):
        headers[random.choice(HEADERS)] = random.choice(WORDS)
    path = random.choice(["/", "/api/jobs", "/api/settings", "/main.js", "/healthz", "/metrics", "/api/login"])
    body = random.choice([b"", b"{}", b"5\r\nhello\r\n0\r\n\r\n", bytes(900)])
    return head(random.choice(METHODS), path, headers) + body


def anothers_job(random: Random, to: Target) -> bytes:
    """A job of the victim's, under any of its names."""
    return head(random.choice(METHODS[:7]), f"/api/jobs/{to.job['id']}{random.choice(ENDS)}", usual())


def a_form(random: Random, to: Target) -> bytes:
    """Any values in a form."""
    fields: dict[str, object] = {"kind": random.choice(["faces", "dub", "verify", "x"]), "consent": "true"}
    names = ["video_path", "speech_path", "video_of", "face", "persona", "style", "crf", "length", "reference", "x"]
    for _ in range(random.randrange(1, 5)):
        values = [random.choice(VALUES), random.choice(NAMES), random.choice(PATHS), to.job["id"]]
        fields[random.choice(names)] = random.choice(values)
    if random.random() < 0.5:
        fields["video"] = (random.choice(NAMES).replace('"', ""), random.choice([b"", to.clip[:3000]]))
    return upload(fields)


def an_upload(random: Random, to: Target) -> bytes:
    """An upload as it should be."""
    return upload({"kind": "faces", "video": ("v.mp4", to.clip)})


def half_an_upload(random: Random, to: Target) -> bytes:
    """An upload that ends early."""
    whole = an_upload(random, to)
    return whole[: random.randrange(len(whole))]


def wrong_size(random: Random, to: Target) -> bytes:
    """An upload that is not as long as it says, or too long."""
    body, kind = multipart({"kind": "faces", "video": ("v.mp4", bytes(random.choice([0, 10, 9000, 700_000])))})
    said = random.choice([len(body), len(body) - 5, len(body) + 5, 0, 10**12, 700_000])
    return head("POST", "/api/jobs", usual(**{"Content-Type": kind, "Content-Length": str(said)})) + body


def damaged(random: Random, to: Target) -> bytes:
    """An upload with damage to its body."""
    body, kind = multipart({"kind": "faces", "video": ("v.mp4", to.clip[:500])})
    body = mutated(body, "body.txt", random)[:300_000]
    return head("POST", "/api/jobs", usual(**{"Content-Type": kind, "Content-Length": str(len(body))})) + body


def media(random: Random, to: Target) -> bytes:
    """A damaged video, a list of other files, or a bomb: a small file that says that it is huge."""
    secret = to.base / "secret.mp4"
    content = random.choice(
        [
            lambda: mutated(to.clip, "v.mp4", random),
            lambda: mutated(to.still, "v.png", random),
            lambda: f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode(),
            lambda: f"ffconcat version 1.0\nfile {secret}\n".encode(),
            lambda: b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nc=IN IP4 127.0.0.1\r\nm=video 9 RTP/AVP 96\r\n",
            lambda: gzip.compress(bytes(1 << 26)),
            lambda: png_bomb(random.choice([20_000, 60_000])),
            lambda: gif_bomb(random.choice([8_000, 65_535])),
            lambda: b"YUV4MPEG2 W30000 H30000 F25:1 Ip A1:1 C420\nFRAME\n" + bytes(1000),
            lambda: b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 65535, 1 << 31, 0, 65535, 16),
        ]
    )()
    name = random.choice(["v.mp4", "v.mkv", "v.m3u8", "v", "v.wav", "v.txt", "v.png", "v.gif"])
    return upload({"kind": "faces", "video": (name, content[:400_000])})


def png_bomb(side: int) -> bytes:
    """An image of zeros."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    size = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    packed = zlib.compress(bytes(1 << 22))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def gif_bomb(side: int) -> bytes:
    """An animation of one pixel on a huge canvas."""
    frame = b"!\xf9\x04\0\x05\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0"
    return b"GIF89a" + struct.pack("<HH", side, side) + b"\x80\0\0\0\0\0\xff\xff\xff" + 3 * frame + b";"


KINDS: list[Callable[[Random, Target], bytes]] = [
    a_path,
    a_head,
    anothers_job,
    a_form,
    an_upload,
    half_an_upload,
    wrong_size,
    damaged,
    media,
]


# ---------------------------------------------------------------------------------------------- one case


def load(path: Path, out: Path) -> None:
    """Send the request of a case, and look at what came of it.

    Raises:
        PersonaTalkError: It was refused.
    """
    random, to = Random(path.read_bytes()), target()
    before = outside(to.base)
    kind = an_upload if path.read_bytes() == SEED else random.choice(KINDS)
    request = kind(random, to)
    answer = send(to.client.port, request, hang_up=kind is half_an_upload and random.random() < 0.5)
    status = int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0
    assert status == 507 or status < 500, answer[:300]
    assert MARK not in answer, answer[:300]
    assert to.job["id"].encode() in request or to.job["id"].encode() not in answer, answer[:300]
    assert kind is not anothers_job or not 200 <= status < 300, answer[:300]
    _settle(to, kind)
    assert to.victim.get(f"/api/jobs/{to.job['id']}") == to.job
    assert to.victim.get("/healthz")["status"] == "ok"
    assert outside(to.base) == before, "something was written outside"
    if not 200 <= status < 300:
        raise PersonaTalkError(f"{path.name}: refused with {status}")


def send(port: int, request: bytes, hang_up: bool) -> bytes:
    """Send a request, and return the answer, if there is one."""
    with socket.create_connection(("127.0.0.1", port), timeout=SILENCE) as connection:
        answer = b""
        try:
            connection.sendall(request)
            if hang_up:
                return b""
            while piece := connection.recv(65536):
                answer += piece
        except (ConnectionError, TimeoutError):
            pass  # it may hang up, or wait for the rest
        return answer


def outside(base: Path) -> set[tuple[str, int]]:
    """Every file of the service's surroundings with its time: none may change."""
    return {
        (str(path), path.lstat().st_mtime_ns)
        for path in [*base.iterdir(), *(base / "allowed").iterdir()]
        if path.name != "data"
    }


def _settle(to: Target, kind: Callable[[Random, Target], bytes]) -> None:
    """Let jobs that were created end, and delete them: only the victim's may have a row and a folder then."""
    service, end = to.client.service, time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for job in to.client.get("/api/jobs")["jobs"]:
            done = to.client.over(job) if kind is media else job
            error = str(done["error"])
            assert "crashed" not in error and str(to.base) not in error and "Error:" not in error, error
            assert MARK.decode() not in json.dumps(done)
            assert to.client.ask("DELETE", f"/api/jobs/{job['id']}")[0] in (204, 404)
        service.housekeeping.tidy(0)
        folders = {folder.name for folder in service.folders.root.iterdir()}
        if folders == {to.job["id"]} == service.store.ids():
            return
        time.sleep(0.01)
    raise AssertionError(f"left behind: {folders}")
