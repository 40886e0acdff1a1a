"""The rehearsal of the writing: what it lets pass is written, and what it refuses is named before the work."""

from __future__ import annotations

import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from helpers.media_clips import Clip, make, write_wav

from personatalk.errors import MediaError
from personatalk.media import rehearsal
from personatalk.media.audio import read_speech
from personatalk.media.frame_rate import counting_rate
from personatalk.media.options import EncodeOptions
from personatalk.media.probe import probe_speech, probe_video
from personatalk.media.reader import VideoReader
from personatalk.media.rehearsal import rehearse
from personatalk.media.writer import VideoWriter

FAST = EncodeOptions(preset="ultrafast")

# Frame numbers at 25 frames per second of a recording that stood still for a while.
STOOD_STILL = [0, 1, 2, 3, 4, 12, 13, 14]


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "speech.wav", 0.3 * np.sin(np.arange(12000) / 9), 24000)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm", ".avi", ".wmv", ".flv", ".3gp", ".ts"])
@pytest.mark.parametrize("limit", [None, 0.3])
def test_what_passes_is_written(suffix: str, limit: float | None, tmp_path: Path, out: Path, speech: Path) -> None:
    source = make(Clip(tmp_path / "a.mp4", count=6))
    output = out / f"o{suffix}"
    rehearse(output, probe_video(source), speech, FAST, limit)
    assert not list(out.iterdir())
    write(source, output, speech, FAST)
    assert (probe_video(output).width, probe_video(output).height) == (128, 96)
    assert probe_speech(output).channels == 1


def write_float_wav(path: Path, samples: np.ndarray, rate: int) -> Path:
    """One channel of floats."""
    bits, content = 8 * samples.itemsize, samples.tobytes()
    form = struct.pack("<HHIIHH", 3, 1, rate, rate * samples.itemsize, samples.itemsize, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(content)) + content
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def write(source: Path, output: Path, speech: Path, options: EncodeOptions) -> None:
    with VideoReader(source) as reader, VideoWriter(output, reader.info, speech, options) as writer:
        for frame in reader.frames():
            writer.write(frame)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("o.mkv", {"codec": "mjpeg"}, r"o\.mkv \(.*\): --codec mjpeg is refused; give another value or leave it out"),
        ("o.mp4", {"codec": "aac"}, "no video encoder 'aac'; use libx264"),
        ("o.mp4", {"codec": "nothing"}, "no video encoder 'nothing'; use libx264"),
        ("o.mp4", {"crf": 60}, "--crf 60 is too much for libx264; give one from 0 to 51"),
        ("o.webm", {"audio_codec": "aac"}, "--audio-codec aac is refused"),
        ("o.mpg", {"audio_bitrate": 10_000_000}, "--audio-bitrate 10000000 is refused"),
        ("o.ts", {"audio_codec": "pcm_s16le"}, r"o\.ts \(what is written cannot be read\): --audio-codec pcm_s16le"),
        ("o.mxf", {}, r"o\.mxf has a suffix that cannot hold this video; use \.mp4"),
        ("o.roq", {}, r"o\.roq has a suffix that cannot hold this video; use \.mp4"),
        ("o.h264", {}, r"h264 cannot hold sound; use \.mp4"),
    ],
)
def test_what_is_to_blame_is_named_and_nothing_is_left(
    name: str, options: dict[str, object], said: str, tmp_path: Path, out: Path, speech: Path
) -> None:
    source = make(Clip(tmp_path / "a.mp4", count=3))
    with pytest.raises(MediaError, match=said):
        rehearse(out / name, probe_video(source), speech, EncodeOptions(**options), None)  # type: ignore[arg-type]
    assert not list(out.iterdir())


def test_a_refusal_that_does_not_repeat_is_none(
    tmp_path: Path, out: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, left = rehearsal.resumable_writer, [1]

    def short_of_threads(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise MediaError("cannot write") from av.error.BlockingIOError(11, "Resource temporarily unavailable")
        return writer(*arguments, **named)

    monkeypatch.setattr(rehearsal, "resumable_writer", short_of_threads)
    source = make(Clip(tmp_path / "a.mp4", count=3))
    rehearse(out / "o.mp4", probe_video(source), speech, FAST, None)
    left[0] = 99
    with pytest.raises(MediaError, match="Resource temporarily unavailable"):
        rehearse(out / "o.mp4", probe_video(source), speech, FAST, None)


def test_sound_that_cannot_be_decoded_again_is_refused(tmp_path: Path, out: Path) -> None:
    # NUT keeps no channels for some codecs: the packets are there, and nobody can decode them.
    speech = write_wav(tmp_path / "speech.wav", 0.3 * np.sin(np.arange(4000) / 3).reshape(-1, 2), 4000)
    source, options = make(Clip(tmp_path / "a.mp4", count=3)), EncodeOptions(audio_codec="wmav2")
    with pytest.raises(MediaError, match=r"what is written cannot be read\): --audio-codec wmav2 is refused"):
        rehearse(out / "o.nut", probe_video(source), speech, options, None)


def test_a_speech_that_the_container_refuses_is_named(tmp_path: Path, out: Path) -> None:
    source = make(Clip(tmp_path / "a.mp4", count=3))
    speech = write_wav(tmp_path / "speech.wav", np.zeros(500), 1000)
    with pytest.raises(MediaError, match=r"\.wmv does not take the speech .*speech\.wav; use \.mp4"):
        rehearse(out / "o.wmv", probe_video(source), speech, EncodeOptions(), None)
    assert not list(out.iterdir())


@pytest.mark.parametrize("wild", [np.nan, np.inf, -1e30])
@pytest.mark.parametrize("kind", ["<f4", "<f8"])
def test_samples_that_are_no_numbers_are_silent(wild: float, kind: str, tmp_path: Path, out: Path) -> None:
    samples = 0.3 * np.sin(np.arange(12000) / 9)
    samples[6000:6100] = wild
    path = write_float_wav(tmp_path / "speech.wav", samples.astype(kind), 16000)
    heard = read_speech(path)
    np.testing.assert_allclose(heard[:5900], samples[:5900], atol=1e-6)
    assert np.isfinite(heard).all() and not heard[6020:6080].any()
    source = make(Clip(tmp_path / "a.mp4", count=25))
    write(source, out / "o.mp4", path, FAST)
    assert probe_speech(out / "o.mp4").seconds == pytest.approx(0.75, abs=0.1)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mpeg2video", "ffv1", "prores_ks", "libsvtav1"])
def test_odd_sizes_and_ten_bits_pass_or_are_refused_as_the_writer_does(
    codec: str, tmp_path: Path, out: Path, speech: Path
) -> None:
    source = make(Clip(tmp_path / "a.mkv", count=3, size=(129, 97), pix_fmt="yuv444p10le"))
    try:
        rehearse(out / "o.mkv", probe_video(source), speech, EncodeOptions(codec=codec), None)
    except MediaError:
        with pytest.raises(MediaError):
            write(source, out / "o.mkv", speech, EncodeOptions(codec=codec))
    else:
        write(source, out / "o.mkv", speech, EncodeOptions(codec=codec))
        assert (probe_video(out / "o.mkv").width, probe_video(out / "o.mkv").height) == (129, 97)


def test_a_job_under_way_is_left_alone(tmp_path: Path, out: Path, speech: Path) -> None:
    source = make(Clip(tmp_path / "a.mp4", count=3))
    job = out / ".o.mp4.personatalk"
    job.mkdir()
    (job / "job.json").write_text("of a run before")
    rehearse(out / "o.mp4", probe_video(source), speech, FAST, None)
    assert [path.name for path in out.iterdir()] == [job.name]
    assert (job / "job.json").read_text() == "of a run before"


@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_a_recording_that_stood_still_keeps_its_times_where_frames_are_counted(
    suffix: str, codec: str, tmp_path: Path, out: Path, speech: Path
) -> None:
    pts = [number * 512 for number in STOOD_STILL]
    source = make(Clip(tmp_path / "a.mp4", count=len(pts), pts=pts, time_base=Fraction(1, 12800)))
    assert counting_rate(probe_video(source)) == 25
    output = out / f"o{suffix}"
    write(source, output, speech, EncodeOptions(codec=codec, preset="ultrafast"))
    with VideoReader(output) as reader:
        times = np.array([frame.time for frame in reader.frames()])
    np.testing.assert_allclose(times - times[0], np.array(STOOD_STILL) / 25, atol=1e-3)


def test_frames_at_uneven_times_are_refused_where_frames_are_counted(tmp_path: Path, out: Path, speech: Path) -> None:
    pts = [0, 20, 23, 140, 300, 301, 330, 700]
    source = make(Clip(tmp_path / "a.mp4", count=len(pts), pts=pts, time_base=Fraction(1, 1000)))
    with pytest.raises(MediaError, match=r"a\.mp4 has frames at uneven times.*use \.mp4 or \.mkv"):
        rehearse(out / "o.avi", probe_video(source), speech, FAST, None)
    rehearse(out / "o.mp4", probe_video(source), speech, FAST, None)


def test_a_slow_video_is_whole_in_a_container_that_stores_no_durations(tmp_path: Path, out: Path, speech: Path) -> None:
    source = make(Clip(tmp_path / "a.mkv", count=8, fps=Fraction(1)))
    write(source, out / "o.wmv", speech, FAST)
    with VideoReader(out / "o.wmv") as reader:
        assert sum(1 for _ in reader.frames()) == 8


@pytest.mark.slow
def test_the_command_line_refuses_before_it_loads_the_networks(tmp_path: Path, out: Path, speech: Path) -> None:
    source = make(Clip(tmp_path / "a.mp4", count=3))
    words = ["dub", str(source), str(speech), "-o", str(out / "o.mkv"), "--codec", "mjpeg"]
    code = (
        "import sys; from personatalk.cli.main import main; code = main(sys.argv[1:]);"
        " print({'torch', 'onnxruntime'} & set(sys.modules)); sys.exit(code)"
    )
    run = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (15, "set()\n")
    assert len(run.stderr.splitlines()) == 1 and "--codec mjpeg is refused" in run.stderr
