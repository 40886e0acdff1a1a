"""The server as a process: killed in the middle of a dub, it goes on where it was when it is started again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers import tiny
from helpers.sample_clips import decoded
from helpers.service import Client

from personatalk.cli.main import main
from personatalk.errors import PersonaTalkError
from personatalk.pipeline.options import WeightPaths
from personatalk.service.options import ServiceOptions
from personatalk.service.service import Service
from personatalk.utils import devices

TESTS = Path(__file__).parents[1]
FRAMES, SEGMENT = 40, 5


@contextmanager
def server(data: Path, pause: float = 0.0) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    """A server process, which is killed at the end, and a client of it."""
    words = [sys.executable, "-m", "helpers.tiny_server", str(data), "0", str(SEGMENT), str(pause)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=TESTS)
    assert process.stdout is not None
    try:
        yield process, Client(int(process.stdout.readline().rsplit(":", 1)[1]))
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_killed_server_goes_on_frame_for_frame(tmp_path: Path) -> None:
    clip = tiny.clip_of(tmp_path / "clip.mp4", tiny.talking(FRAMES))
    speech = tiny.speech_of(tmp_path / "speech.wav", FRAMES / 25)
    with server(tmp_path / "data", pause=0.03) as (process, client):
        job = client.dub(clip, speech)
        after = client.dub(clip, speech)
        middle = lambda now: now["stages"] and now["stages"][-1]["name"] == "dubbing" and now["stages"][-1]["done"] > 20  # noqa: E731
        client.wait(job, middle)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with server(tmp_path / "data") as (process, client):
        done = [client.over(one) for one in (job, after)]
        assert [one["state"] for one in done] == ["done", "done"], [one["error"] for one in done]
        assert done[0]["finished"] <= done[1]["started"]
        resumed, fresh = (client.get(one["report"])["resumed"] for one in done)
        assert SEGMENT <= resumed < FRAMES and fresh == 0
        videos = []
        for number, one in enumerate(done):
            path = tmp_path / f"{number}.mp4"
            path.write_bytes(client.ask("GET", one["result"])[2])
            videos.append(decoded(path))
        assert len(videos[0]) == FRAMES
        assert all((a == b).all() for a, b in zip(*videos, strict=True))
        process.terminate()
        process.wait()
    assert not json.loads((tmp_path / "data/jobs" / job["id"] / "report.json").read_text())["passed_through"]


def test_two_servers_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        Service(ServiceOptions(data=tmp_path)),
        pytest.raises(PersonaTalkError, match="another server uses this folder"),
        Service(ServiceOptions(data=tmp_path)),
    ):
        pass


def test_a_device_that_is_not_there_is_said_before_any_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(devices, "available_devices", lambda: frozenset({"cpu"}))
    assert main(["serve", "--data", str(tmp_path / "data"), "--device", "cuda"]) != 0
    assert "device cuda: not here" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
    WeightPaths(device="cuda").check(on_cluster=True)


def test_an_address_that_is_taken_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--data", str(tmp_path), "--host", "192.0.2.1", "--without-tokens"]) == 1
    assert "192.0.2.1 port 8000: cannot listen there" in capsys.readouterr().err
    assert main(["serve", "--data", str(tmp_path), "--host", "192.0.2.1"]) == 1
    assert "give --tokens FILE" in capsys.readouterr().err
