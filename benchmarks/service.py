"""A load run of the service: several clients upload jobs, the server is killed in the middle and started again.

    python benchmarks/service.py [--jobs 20] [--clients 5] [--frames 10] [--kill-after 0.4] [--tiny]

The server listens on this machine alone. Every job must come back, in the order of its creation, with all its frames,
and `verify` must find in every result that it was generated: by manifest and tags, and, where there are as many frames
as it takes, by the watermark. Prints what came of it, and the times. `--tiny` takes the tests' tiny networks and drawn
faces: the same service where there is little time.
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from helpers import tiny
from helpers.sample_clips import sample_frames, sample_speech, write_video
from helpers.service import multipart

from personatalk.media.reader import VideoReader
from personatalk.provenance.verify import verify

TESTS = Path(__file__).resolve().parents[1] / "tests"
TOKENS = "client-{}-of-the-load-run"
PATIENCE = 600.0
"""Seconds after which a client gives up."""
MARKED = 75
"""Frames in which the watermark is found."""


@dataclass
class Run:
    """What the clients saw.

    Attributes:
        port: Where the server listens now.
        jobs: The jobs by client, in the order of their creation.
        created: Names of all jobs in the order in which the service took them.
        over: Jobs that are over, by name.
        retries: Requests that had to be sent again.
    """

    port: int
    jobs: dict[int, list[str]] = field(default_factory=dict)
    created: list[tuple[float, str]] = field(default_factory=list)
    over: dict[str, dict[str, Any]] = field(default_factory=dict)
    retries: int = 0


@contextmanager
def server(data: Path, tokens: Path, port: int, tiny: bool) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The server, and where it listens."""
    words = ["-m", "personatalk", "serve", "--port", str(port), "--data", str(data), "--tokens", str(tokens)]
    words += ["--preset", "veryfast"]
    if tiny:
        words = ["-m", "helpers.tiny_server", str(data), str(port), "5", "0.02", str(tokens)]
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True, cwd=TESTS)
    assert process.stdout is not None
    try:
        yield process, int(process.stdout.readline().partition("(")[0].rsplit(":", 1)[1])
    finally:
        process.terminate()
        process.wait()


def ask(run: Run, client: int, method: str, path: str, body: bytes | None = None, kind: str = "") -> tuple[int, bytes]:
    """Status and body of an answer; asks again while nobody answers."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        connection = http.client.HTTPConnection("127.0.0.1", run.port, timeout=60)
        try:
            headers = {"Authorization": f"Bearer {TOKENS.format(client)}", "Content-Type": kind}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            run.retries += 1
            time.sleep(0.5)
        finally:
            connection.close()
    raise TimeoutError(path)


def client(run: Run, number: int, count: int, video: Path, speech: Path) -> None:
    """Upload jobs, and wait for them."""
    run.jobs[number] = []
    for _ in range(count):
        body, kind = multipart({"video": video, "speech": speech, "consent": "true"})
        status, answer = ask(run, number, "POST", "/api/jobs", body, kind)
        assert status == 201, answer
        job = json.loads(answer)
        run.jobs[number].append(job["id"])
        run.created.append((job["created"], job["id"]))
    left = list(run.jobs[number])
    while left:
        job = json.loads(ask(run, number, "GET", f"/api/jobs/{left[0]}")[1])
        if job["state"] in ("done", "failed", "cancelled"):
            run.over[left.pop(0)] = job
        else:
            time.sleep(1)


def check(run: Run, frames: int, folder: Path, marked: bool) -> list[str]:
    """Return what is wrong with the results, which may have to show a watermark."""
    wrong = []
    for number, ids in run.jobs.items():
        for id in ids:
            if run.over[id]["state"] != "done":
                wrong.append(f"{id}: {run.over[id]['error']}")
                continue
            result = folder / f"{id}.mp4"
            result.write_bytes(ask(run, number, "GET", run.over[id]["result"])[1])
            with VideoReader(result) as reader:
                count = sum(1 for _ in reader.frames())
            found = verify(result)
            if count != frames:
                wrong.append(f"{id}: {count} frames")
            signs = (found.credentials.state == "valid", found.credentials.generated, found.tags)
            if not all(signs) or (marked and not found.watermark.found):
                wrong.append(f"{id}: {found.summary()}")
            others = [other for other in run.jobs if other != number]
            if ask(run, others[0], "GET", f"/api/jobs/{id}")[0] != 404:
                wrong.append(f"{id}: another token sees it")
    created = {id: time for time, id in run.created}
    order = [created[id] for id in sorted(created, key=lambda id: run.over[id]["finished"])]
    if order != sorted(order):
        wrong.append("the order was not kept")
    return wrong


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--clients", type=int, default=5)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--kill-after", type=float, default=0.4, help="share of the jobs that are over at the kill")
    parser.add_argument("--tiny", action="store_true", help="tiny networks and drawn faces")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frames = tiny.talking(given.frames) if given.tiny else sample_frames(given.frames)
        video, speech = write_video(folder / "v.mp4", frames), sample_speech(folder, given.frames)
        tokens = folder / "tokens"
        tokens.write_text("".join(TOKENS.format(n) + "\n" for n in range(given.clients)))
        start, each = time.monotonic(), given.jobs // given.clients
        with server(folder / "data", tokens, 0, given.tiny) as (process, port):
            run = Run(port)
            threads = [
                threading.Thread(target=client, args=(run, n, each, video, speech)) for n in range(given.clients)
            ]
            for thread in threads:
                thread.start()
            while (
                sum(map(len, run.jobs.values())) < each * given.clients or len(run.over) < given.kill_after * given.jobs
            ):
                time.sleep(0.2)
            uploaded = time.monotonic() - start
            process.kill()
            process.wait()
            running = len(run.created) - len(run.over)
        with server(folder / "data", tokens, port, given.tiny) as (process, run.port):
            for thread in threads:
                thread.join()
            seconds = time.monotonic() - start
            wrong = check(run, given.frames, folder, marked=not given.tiny and given.frames >= MARKED)
    print(f"{len(run.created)} jobs of {given.clients} clients, {given.frames} frames each, {seconds:.0f} s")
    print(f"killed after {uploaded:.0f} s with {running} jobs not known to be over; {run.retries} requests sent again")
    print(f"lost: {len(run.created) - len(run.over)}; wrong: {len(wrong)}")
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
