"""The command line: what goes wrong is said in one line, with an exit code, and leaves nothing behind."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from helpers import tiny
from helpers.sample_clips import sample_frames, write_sound, write_video

from personatalk.cli.main import main
from personatalk.cli.progress import ProgressBars
from personatalk.cli.verify import NOTHING_FOUND
from personatalk.media.audio import read_speech
from personatalk.pipeline import request
from personatalk.sample import sample_files
from personatalk.utils.interrupt import Interrupt

# Seconds that a process may take on a slow machine that others use as well.
PATIENCE = 300


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", sample_frames(6))


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sound(tmp_path_factory.mktemp("speech") / "speech.wav", read_speech(sample_files()[1])[:4000])


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *words: object, code: int = 10) -> str:
    """Run `dub`, and make sure that it fails with one line and an exit code, and leaves no file."""
    before = sorted(folder.iterdir())
    found = main(["dub", *map(str, words)])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("personatalk: ")]
    assert found == code
    assert len(lines) == 1
    assert sorted(folder.iterdir()) == before
    return lines[0]


def test_a_missing_video(capsys: pytest.CaptureFixture[str], tmp_path: Path, speech: Path) -> None:
    line = refused(capsys, tmp_path, tmp_path / "none.mp4", speech, "-o", tmp_path / "out.mp4")
    assert "none.mp4" in line


def test_a_missing_speech(capsys: pytest.CaptureFixture[str], tmp_path: Path, clip: Path) -> None:
    line = refused(capsys, tmp_path, clip, tmp_path / "none.wav", "-o", tmp_path / "out.mp4")
    assert "none.wav" in line


def test_a_file_that_is_no_video(capsys: pytest.CaptureFixture[str], tmp_path: Path, speech: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 100)
    line = refused(capsys, tmp_path, tmp_path / "text.mp4", speech, "-o", tmp_path / "out.mp4")
    assert "text.mp4" in line


def test_a_video_with_sound_only(capsys: pytest.CaptureFixture[str], tmp_path: Path, speech: Path) -> None:
    line = refused(capsys, tmp_path, speech, speech, "-o", tmp_path / "out.mp4")
    assert "speech.wav" in line and "sound" in line


@pytest.mark.slow
def test_a_truncated_video(capsys: pytest.CaptureFixture[str], tmp_path: Path, speech: Path) -> None:
    whole = sample_files()[0].read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 6 // 10])
    line = refused(capsys, tmp_path, tmp_path / "cut.mp4", speech, "-o", tmp_path / "out.mp4")
    assert "cut.mp4" in line


def test_a_speech_without_sound(capsys: pytest.CaptureFixture[str], tmp_path: Path, clip: Path) -> None:
    line = refused(capsys, tmp_path, clip, clip, "-o", tmp_path / "out.mp4")
    assert "no sound" in line


def test_an_empty_speech(capsys: pytest.CaptureFixture[str], tmp_path: Path, clip: Path) -> None:
    empty = write_sound(tmp_path / "empty.wav", np.zeros(0))
    line = refused(capsys, tmp_path, clip, empty, "-o", tmp_path / "out.mp4")
    assert "empty.wav" in line


@pytest.mark.slow
@pytest.mark.usefixtures("drawn_faces")
def test_no_face(capsys: pytest.CaptureFixture[str], tmp_path: Path, speech: Path) -> None:
    plain = write_video(tmp_path / "plain.mp4", [np.full((128, 128, 3), 80, np.uint8)] * 5)
    line = refused(capsys, tmp_path, plain, speech, "-o", tmp_path / "out.mp4", code=11)
    assert "no face" in line


def test_a_missing_output_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path, clip: Path, speech: Path) -> None:
    line = refused(capsys, tmp_path, clip, speech, "-o", tmp_path / "none" / "out.mp4", code=15)
    assert "none" in line


def test_an_output_equal_to_an_input(capsys: pytest.CaptureFixture[str], clip: Path, speech: Path) -> None:
    before = clip.read_bytes()
    refused(capsys, clip.parent, clip, speech, "-o", clip, code=15)
    assert clip.read_bytes() == before


def test_a_missing_report_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path, clip: Path, speech: Path) -> None:
    words = (clip, speech, "-o", tmp_path / "out.mp4", "--report", tmp_path / "none" / "report.json")
    assert "report" in refused(capsys, tmp_path, *words, code=15)


def test_weights_of_another_kind(capsys: pytest.CaptureFixture[str], tmp_path: Path, clip: Path, speech: Path) -> None:
    from personatalk.utils.serialization import packaged

    words = (clip, speech, "-o", tmp_path / "out.mp4", "--stage2", packaged("stage1.safetensors"))
    line = refused(capsys, tmp_path, *words, code=12)
    assert "geometry-generator" in line and "renderer" in line


def test_wrong_usage() -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["dub", "only-a-video.mp4"])
    assert stopped.value.code == 2
    assert main(["dub", "-o", "out.mp4"]) == 2


@pytest.mark.slow
def test_interrupting_leaves_nothing_under_the_outputs_name(tmp_path: Path) -> None:
    video, speech = sample_files()
    output = tmp_path / "out.mp4"
    output.write_bytes(b"an earlier result")
    command = [sys.executable, "-m", "personatalk", "dub", str(video), str(speech), "-o", str(output)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + PATIENCE
        begun = tmp_path / ".out.mp4.personatalk"
        while not begun.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert process.poll() is None, "it ended before it could be interrupted"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, errors
    assert "interrupted" in errors and "Traceback" not in errors
    # What is finished waits for the next run under a name of its own.
    assert sorted(p.name for p in tmp_path.iterdir()) == [".out.mp4.personatalk", "out.mp4"]
    assert output.read_bytes() == b"an earlier result"


def test_a_report_never_replaces_another_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, clip: Path, speech: Path
) -> None:
    copy = tmp_path / "clip.mp4"
    copy.write_bytes(clip.read_bytes())
    for name in (copy, speech, tmp_path / "out.mp4"):
        line = refused(capsys, tmp_path, copy, speech, "-o", tmp_path / "out.mp4", "--report", name, code=15)
        assert name.name in line
    assert copy.read_bytes() == clip.read_bytes()
    assert "folder" not in refused(
        capsys, tmp_path, copy, speech, "-o", tmp_path / "out.mp4", "--report", tmp_path, code=15
    )


def test_wrong_words(capsys: pytest.CaptureFixture[str], tmp_path: Path, clip: Path, speech: Path) -> None:
    assert main(["dub", str(clip), str(speech), "--sample", "-o", str(tmp_path / "out.mp4")]) == 2
    assert "--sample" in capsys.readouterr().err
    for count in ("0", "-3", "many"):
        with pytest.raises(SystemExit) as caught:
            main(["inspect", str(clip), "-o", str(tmp_path / "sheet.png"), "--frames", count])
        assert caught.value.code == 2


@pytest.mark.usefixtures("drawn_faces")
def test_dub_writes_video_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn, noise = tiny.clip_of(tmp_path / "in.mp4", tiny.talking(6)), tiny.speech_of(tmp_path / "speech.wav")
    output, report = tmp_path / "out.mkv", tmp_path / "report.json"
    assert main(["dub", str(drawn), str(noise), "-o", str(output), "--report", str(report)]) == 0
    assert output.stat().st_size > 1000 and report.stat().st_size > 300
    said = capsys.readouterr().out
    assert "6 frames, 6 dubbed" in said
    assert "no C2PA manifest goes into .mkv" in said
    assert json.loads(report.read_text())["provenance"]["manifest"] is None
    # The tags alone are something, too.
    assert main(["verify", str(output), "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "manifest: none" in said and "personatalk_version=" in said


@pytest.mark.slow
def test_verify_tells_a_dub_from_an_original(
    tmp_path: Path, clip: Path, speech: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, unmarked = tmp_path / "out.mp4", tmp_path / "unmarked.mp4"
    assert main(["dub", str(clip), str(speech), "-o", str(output), "--quiet"]) == 0
    assert main(["dub", str(clip), str(speech), "-o", str(unmarked), "--no-provenance", "--quiet"]) == 0
    found = {}
    for path, code in ((output, 0), (unmarked, 3), (clip, 3)):
        assert main(["verify", str(path), "--json", "--quiet"]) == code
        found[path] = json.loads(capsys.readouterr().out)
        assert found[path]["anything"] is (code == 0)
    assert found[output]["credentials"]["state"] == "valid"
    assert found[output]["credentials"]["inputs"][1]["name"] == "speech.wav"
    assert [found[path]["credentials"]["state"] for path in (unmarked, clip)] == ["none", "none"]


def test_verify_says_what_is_wrong(
    tmp_path: Path, clip: Path, speech: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(tmp_path / "none.mp4"), "--quiet"]) == 10
    assert "none.mp4 does not exist" in capsys.readouterr().err
    assert main(["verify", str(speech), "--quiet"]) == 10
    assert "no video stream" in capsys.readouterr().err
    assert main(["verify", str(clip), "--trust", str(clip), "--quiet"]) == 14
    assert "no certificate in PEM" in capsys.readouterr().err
    plain = write_video(tmp_path / "plain.mp4", [np.full((128, 128, 3), 80, np.uint8)] * 5)
    assert main(["verify", str(plain), "--quiet"]) == 3
    assert "no face to look at" in capsys.readouterr().out


@pytest.mark.usefixtures("drawn_faces")
@pytest.mark.parametrize(
    ("option", "codec"),
    [("--codec", "aac"), ("--codec", "libnothing"), ("--audio-codec", "libx264"), ("--audio-codec", "libnothing")],
)
def test_an_encoder_of_another_kind(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, clip: Path, speech: Path, option: str, codec: str
) -> None:
    drawn = tiny.clip_of(tmp_path / "in.mp4", tiny.talking(6))
    assert codec in refused(capsys, tmp_path, drawn, speech, "-o", tmp_path / "out.mp4", option, codec, code=15)


@pytest.mark.slow
@pytest.mark.usefixtures("drawn_faces")
def test_a_dub_takes_what_its_options_say(tmp_path: Path) -> None:
    drawn, noise = tiny.clip_of(tmp_path / "in.mp4", tiny.talking(6)), tiny.speech_of(tmp_path / "speech.wav")
    output = tmp_path / "out.mkv"
    words = [
        "--crf",
        "40",
        "--preset",
        "ultrafast",
        "--codec",
        "libx265",
        "--audio-codec",
        "libopus",
        "--no-provenance",
    ]
    assert main(["dub", str(drawn), str(noise), "-o", str(output), "--quiet", *words]) == 0
    with av.open(str(output)) as made:
        assert [stream.codec.canonical_name for stream in made.streams] == ["hevc", "opus"]
    assert main(["verify", str(output), "--quiet"]) == NOTHING_FOUND


@pytest.mark.usefixtures("drawn_faces")
def test_a_dub_is_rehearsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, noise = tiny.clip_of(tmp_path / "in.mp4", tiny.talking(4)), tiny.speech_of(tmp_path / "speech.wav", 0.2)
    tried: list[object] = []
    monkeypatch.setattr(request, "rehearse", lambda *settings: tried.append(settings))
    assert main(["dub", str(drawn), str(noise), "-o", str(tmp_path / "out.mp4"), "--quiet", "--no-provenance"]) == 0
    assert len(tried) == 1


@pytest.mark.slow
def test_half_a_certificate(capsys: pytest.CaptureFixture[str], tmp_path: Path, clip: Path, speech: Path) -> None:
    line = refused(
        capsys, tmp_path, clip, speech, "-o", tmp_path / "out.mp4", "--certificate", tmp_path / "a.pem", code=14
    )
    assert "private key is not given" in line


@pytest.mark.usefixtures("drawn_faces")
def test_inspect_draws_a_contact_sheet(tmp_path: Path) -> None:
    clip = tiny.clip_of(tmp_path / "in.mp4", tiny.talking(6))
    sheet = tmp_path / "sheet.png"
    assert main(["inspect", str(clip), "-o", str(sheet), "--frames", "4", "--quiet"]) == 0
    picture = cv2.imread(str(sheet))
    assert picture.shape[1] > 1000 and picture.std() > 20


@pytest.mark.usefixtures("drawn_faces")
def test_inspect_refuses_a_video_without_a_face(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = write_video(tmp_path / "plain.mp4", [np.full((128, 128, 3), 80, np.uint8)] * 5)
    assert main(["inspect", str(plain), "-o", str(tmp_path / "sheet.png"), "--quiet"]) == 11
    assert "no face" in capsys.readouterr().err
    assert not (tmp_path / "sheet.png").exists()


def test_an_interrupt_that_got_lost_comes_back() -> None:
    interrupt = Interrupt()
    bars = ProgressBars(interrupt, hidden=True)
    bars("faces", 1, 10)
    # As where compiled code called Python and ignores what it raised.
    with contextlib.suppress(KeyboardInterrupt):
        interrupt(signal.SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        bars("faces", 1, 10)


def test_an_interrupt_that_became_an_error_is_an_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def importing(given: argparse.Namespace) -> int:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt as error:
            raise ImportError("initialization failed") from error
        return 0

    monkeypatch.setattr("personatalk.cli.dub.dub_command", importing)
    assert main(["dub", "a.mp4", "b.wav", "-o", "out.mp4"]) == 130
    assert "interrupted" in capsys.readouterr().err
