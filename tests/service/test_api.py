"""The jobs API: what is created, told, returned, cancelled, deleted and refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import tiny
from helpers.sample_clips import decoded
from helpers.service import Client, running
from PIL import Image as PillowImage

from personatalk.pipeline.options import DubOptions
from personatalk.pipeline.weights import Models
from personatalk.service.form import PERSONAS
from personatalk.service.options import Limits
from personatalk.utils.options import options_of


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, tiny_models: Models) -> Iterator[Client]:
    with tiny.in_place(tiny_models), running(tmp_path_factory.mktemp("data")) as found:
        yield found


def broken(client: Client) -> dict[str, Any]:
    """A job that fails at once."""
    return client.over(client.create(kind="faces", video=("words.mp4", b"no video")))


@pytest.mark.slow
def test_a_dub_comes_back_with_report_curves_and_ranges(
    client: Client, clip: Path, speech: Path, tmp_path: Path
) -> None:
    job = client.over(client.dub(clip, speech, reference="mine"))
    assert (job["state"], job["video"], job["speech"], job["reference"]) == ("done", "clip.mp4", "speech.wav", "mine")
    assert [stage["name"] for stage in job["stages"]] == ["start", "shots", "faces", "geometry", "dubbing", "report"]
    status, headers, content = client.ask("GET", job["result"] + "?download=true")
    assert status == 200 and headers["content-disposition"] == 'attachment; filename="clip-dubbed.mp4"'
    (tmp_path / "back.mp4").write_bytes(content)
    assert len(decoded(tmp_path / "back.mp4")) == 10
    assert client.ask("GET", job["result"], headers={"Range": "bytes=0-9"})[::2] == (206, content[:10])
    report = client.get(job["report"])
    assert (report["video"], report["speech"], report["dubbed"]) == ("clip.mp4", "speech.wav", 10)
    assert report["provenance"]["on"] and str(tmp_path) not in json.dumps(report)
    curves = client.get(f"/api/jobs/{job['id']}/curves")
    assert len(curves["time"]) == len(curves["dubbed"]) == len(curves["mouth"]) == 10
    assert np.corrcoef(curves["source"], np.sin(np.arange(10)))[0, 1] > 0.9 and max(curves["loudness"]) > -40
    assert all(0.4 < x < 0.6 and 0.4 < y < 0.8 for x, y in curves["mouth"])
    assert client.ask("GET", f"/api/jobs/{job['id']}/video")[2] == clip.read_bytes()


@pytest.mark.slow
def test_events_tell_a_job_until_it_is_over(client: Client, clip: Path, speech: Path) -> None:
    job = client.dub(clip, speech)
    status, headers, stream = client.ask("GET", f"/api/jobs/{job['id']}/events")
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    told = [json.loads(line[6:]) for line in stream.decode().splitlines() if line.startswith("data: ")]
    assert told[-1]["state"] == "done" and {one["id"] for one in told} == {job["id"]}


@pytest.mark.slow
def test_people_are_listed_with_images_and_their_video_is_dubbed_without_another_upload(
    client: Client, speech: Path, tmp_path: Path
) -> None:
    pair = [tiny.Face(48), tiny.Face(144, green=140)]
    video = tiny.clip_of(tmp_path / "two.mp4", [tiny.draw_faces(pair, 192)] * 8)
    faces = client.over(client.create(kind="faces", video=video))
    people = client.get(faces["report"])["people"]
    assert [person["number"] for person in people] == [1, 2]
    status, headers, image = client.ask("GET", f"/api/jobs/{faces['id']}/people/2.jpg")
    assert (status, headers["content-type"], image[:2]) == (200, "image/jpeg", b"\xff\xd8")
    assert client.ask("GET", f"/api/jobs/{faces['id']}/people/3.jpg")[0] == 404
    job = client.over(client.create(video_of=faces["id"], speech=speech, consent="true", face="2", preset="ultrafast"))
    assert (job["state"], job["video"], job["options"]["face"]) == ("done", "two.mp4", "2")


@pytest.mark.slow
def test_a_still_is_looked_at_and_dubbed(client: Client, speech: Path, tmp_path: Path) -> None:
    still = tmp_path / "still.png"
    PillowImage.fromarray(tiny.talking(1)[0]).save(still)
    faces = client.over(client.create(kind="faces", video=still))
    assert [person["number"] for person in client.get(faces["report"])["people"]] == [1]
    job = client.over(client.create(video_of=faces["id"], speech=speech, consent="true", preset="ultrafast"))
    report = client.get(job["report"])
    assert report["video"] == "still.png" and report["frames"] == report["dubbed"] >= 10
    assert any("a still image shows one mouth" in warning for warning in report["warnings"])
    assert "personatalk-" not in json.dumps(report), "no name of a file that is read in its place"
    status, headers, content = client.ask("GET", f"/api/jobs/{job['id']}/video")
    assert (status, headers["content-type"], content) == (200, "image/png", still.read_bytes())
    stretch = client.over(client.dub(still, speech, start="0.1"))
    assert stretch["error"] == "still.png is a still image: give no start, end or persona beside it"


@pytest.mark.slow
def test_a_file_is_verified(client: Client, clip: Path) -> None:
    job = client.over(client.create(kind="verify", video=clip))
    found = client.get(job["report"])
    assert (job["state"], found["file"], found["anything"]) == ("done", "clip.mp4", False)
    assert found["summary"][1] == "manifest: none"


@pytest.mark.slow
def test_passed_through_frames_have_images(client: Client, speech: Path, tmp_path: Path) -> None:
    video = tiny.clip_of(tmp_path / "gone.mp4", [*tiny.talking(6), tiny.nobody(), tiny.nobody(), *tiny.talking(4)])
    job = client.over(client.dub(video, speech))
    assert client.get(job["report"])["passed_through"]
    status, headers, image = client.ask("GET", f"/api/jobs/{job['id']}/passed/0.jpg")
    assert (status, headers["content-type"], image[:2]) == (200, "image/jpeg", b"\xff\xd8")


@pytest.mark.slow
def test_jobs_are_listed_page_by_page_and_deleted(client: Client) -> None:
    made = [broken(client)["id"] for _ in range(3)]
    page = client.get("/api/jobs?most=2")
    rest = client.get(f"/api/jobs?most=1&before={page['before']}")
    assert [job["id"] for job in page["jobs"] + rest["jobs"]] == made[::-1]
    assert client.ask("DELETE", f"/api/jobs/{made[0]}")[0] == 204
    assert client.ask("GET", f"/api/jobs/{made[0]}")[0] == 404
    client.service.housekeeping.tidy(before=0)
    assert not client.service.folders.of(made[0]).exists() and client.service.folders.of(made[1]).exists()


def test_finished_jobs_are_thrown_away_after_their_time(client: Client) -> None:
    job = broken(client)
    client.service.housekeeping.tidy(before=job["finished"])
    assert client.service.folders.of(job["id"]).exists()
    client.service.housekeeping.tidy(before=job["finished"] + 1)
    assert client.ask("GET", f"/api/jobs/{job['id']}")[0] == 404 and client.service.folders.used() == 0


# ------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"consent": "false"}, "consent: say that"),
        ({"speech": ""}, "give the speech of a dub once"),
        ({"video_path": "a.mp4"}, "give the video once"),
        ({"kind": "faces"}, "give the speech of a dub once"),
        ({"crf": "99"}, "crf: Input should be less than or equal to 63"),
        ({"length": "forever"}, "length: Input should be 'video'"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"provenance": "false"}, "provenance: Extra inputs"),
        ({"codec": "libx265"}, "codec: Extra inputs"),
        ({"certificate": "/etc/passwd"}, "certificate: Extra inputs"),
        ({"face": "/etc/face.png"}, "an image of the person cannot be named here"),
        ({"face": "somebody"}, "'somebody' names no face"),
        ({"persona": "../anna"}, "there is no such persona"),
        ({"container": "exe"}, "container: Input should be 'mp4'"),
        ({"reference": "x" * 201}, "reference: String should have at most 200"),
        ({"speech": ("a.wav", b"")}, "a.wav is empty"),
    ],
)
def test_a_wrong_form_is_told_in_one_line(
    client: Client, clip: Path, speech: Path, fields: dict[str, object], said: str
) -> None:
    status, answer = client.post(**{"video": clip, "speech": speech, "consent": "true", **fields})
    assert status == 422 and said in answer["detail"] and "\n" not in answer["detail"]
    assert {path.name for path in client.service.folders.root.iterdir()} == client.service.store.ids()


@pytest.mark.slow
def test_paths_are_taken_only_below_the_allowed_folder(client: Client, tmp_path: Path, clip: Path) -> None:
    allowed = tmp_path / "allowed"
    (allowed / "in").mkdir(parents=True)
    (allowed / "in" / "v.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "secret.mp4").write_bytes(clip.read_bytes())
    (allowed / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    with running(tmp_path / "data", allow=allowed) as other:
        job = other.create(kind="faces", video_path="in/v.mp4")
        assert job["video"] == "v.mp4" and other.over(job)["state"] == "done"
        for path in ("../secret.mp4", "link.mp4", str(tmp_path / "secret.mp4"), "in", "in/../../secret.mp4", "n\0"):
            status, answer = other.post(kind="faces", video_path=path)
            assert (status, answer["detail"].split(": ", 1)[1][:24]) == (422, "there is no such file in"), path
    assert "takes no paths" in client.post(kind="faces", video_path="in/v.mp4")[1]["detail"]


@pytest.mark.slow
def test_a_playlist_cannot_name_other_files(client: Client, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "list.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nfile://{clip}\n#EXT-X-ENDLIST\n"
    )
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile {clip.name}\n")
    for name in ("list.m3u8", "list.mp4"):
        job = client.over(client.create(kind="faces", video=tmp_path / name))
        assert job["state"] == "failed" and f"{name} is not a media file" in job["error"]


@pytest.mark.slow
def test_bad_input_fails_with_one_line_and_no_path_of_the_server(client: Client, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "words.mp4").write_text("no video")
    job = client.over(client.create(kind="faces", video=tmp_path / "words.mp4"))
    assert job["state"] == "failed" and job["error"].startswith("words.mp4 is not a media file")
    empty = client.over(client.dub(clip, tmp_path / "words.mp4"))
    assert empty["state"] == "failed" and str(tmp_path) not in empty["error"] and "words.mp4" in empty["error"]
    assert client.ask("GET", f"/api/jobs/{job['id']}/result")[0] == 404


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limits", "said"),
    [(Limits(media_minutes=0.01), "minutes long"), (Limits(frame_megapixels=0.005), "frames of 96 x 96 pixels")],
)
def test_media_beyond_the_limits_fail(tmp_path: Path, limits: Limits, said: str) -> None:
    video = tiny.clip_of(tmp_path / "long.mp4", [tiny.nobody()] * 20)
    with running(tmp_path / "data", limits=limits) as client:
        job = client.over(client.create(kind="faces", video=video))
        assert job["state"] == "failed" and job["error"].startswith("long.mp4: ") and said in job["error"]


@pytest.mark.slow
def test_uploads_beyond_the_limits_are_refused(tmp_path: Path, clip: Path) -> None:
    with running(tmp_path / "data", limits=Limits(upload_mb=0.002)) as client:
        assert client.post(kind="verify", video=("v.mp4", bytes(9000))) == (
            413,
            {"detail": "at most 0.002 MB are taken"},
        )
    with running(tmp_path / "disk", limits=Limits(disk_gb=1e-5)) as client:
        status, answer = client.post(kind="verify", video=("v.mp4", bytes(20_000)))
        assert status == 507 and "disk space" in answer["detail"]


def test_the_form_has_every_option_but_those_of_the_operator(client: Client) -> None:
    schema = client.get("/openapi.json")["components"]["schemas"]["JobForm"]["properties"]
    sent = {option["name"]: option for option in client.get("/api/settings")["options"]}
    operators = {"identity", "certificate", "private_key", "provenance", "codec", "audio_codec"}
    for option in options_of(DubOptions):
        assert (option.name in schema) == (option.name in sent) == (option.name not in operators), option.name
        if option.name in sent and option.name not in PERSONAS:
            assert schema[option.name]["description"] == sent[option.name]["help"] == option.help


def test_health_and_figures_are_told(client: Client) -> None:
    broken(client)
    assert client.get("/healthz")["status"] == "ok"
    figures = client.ask("GET", "/metrics")[2].decode()
    assert 'personatalk_jobs{kind="faces",state="failed"}' in figures and "personatalk_disk_bytes" in figures


def test_a_service_that_hands_out_nothing_is_not_healthy(tmp_path: Path) -> None:
    with running(tmp_path) as client:
        client.service.dispatcher.stop()
        assert client.ask("GET", "/healthz")[0] == 503


def test_the_page_and_the_sample_are_served(client: Client) -> None:
    status, headers, page = client.ask("GET", "/")
    assert (
        status == 200
        and b"<title>PersonaTalk</title>" in page
        and "default-src 'self'" in headers["content-security-policy"]
    )
    assert client.ask("GET", "/main.js")[1]["content-type"].startswith("text/javascript")
    assert client.ask("GET", "/sample/face.mp4")[0] == 200
    for path in ("/sample/__init__.py", "/../app.py", "/..%2fapp.py", "/%2e%2e/app.py"):
        assert client.ask("GET", path)[0] == 404, path
