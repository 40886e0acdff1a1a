"""The offset between a video's audio and its image."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.sample_clips import sample_frames, write_video

from personatalk.cli import main
from personatalk.pipeline.sync import VideoSync, measure_sync
from personatalk.pipeline.weights import Models
from personatalk.sample import sample_files
from personatalk.stage1.agreement import compare_openings


def shifted(target: Path, seconds: float) -> Path:
    """Copy the sample's video with its own speech, the image late by some seconds."""
    video, _ = sample_files()
    with av.open(str(video)) as source, av.open(str(target), "w") as output:
        streams = {s: output.add_stream_from_template(s) for s in (source.streams.video[0], source.streams.audio[0])}
        for packet in source.demux(*streams):
            if packet.dts is None:
                continue
            if packet.stream.type == "video":
                ticks = round(seconds / packet.time_base)
                packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            packet.stream = streams[packet.stream]
            output.mux(packet)
    return target


@pytest.mark.parametrize("late", [-9.0, 0.0, 3.4])
def test_a_fraction_of_a_frame_is_told(late: float) -> None:
    time = np.arange(400) / 25
    waves = [(2.3, 0.2), (3.7, 1.0), (0.9, 2.0), (5.1, 0.3)]
    got, real = (
        sum(np.sin(2 * np.pi * f * (time - shift / 25) + phase) for f, phase in waves).astype(np.float32)  # type: ignore[union-attr]
        for shift in (0.0, late)
    )
    found = VideoSync.of(compare_openings(got, real, 25))
    assert found.offset_seconds == pytest.approx(late / 25, abs=0.004)
    assert found.confidence > 2
    assert found.r > 0.9


def test_mouths_that_have_nothing_in_common_give_no_confidence() -> None:
    random = np.random.default_rng(0)
    got, real = (np.convolve(random.standard_normal(303), np.ones(4) / 4, "valid").astype(np.float32) for _ in "ab")
    assert VideoSync.of(compare_openings(got, real, 25)).confidence < 2


@pytest.mark.slow
def test_a_known_shift_of_the_sample_is_told(tmp_path: Path, models: Models) -> None:
    plain, late = (measure_sync(shifted(tmp_path / f"{s}.mkv", s), models=models) for s in (0.0, 0.2))
    assert late.offset_seconds - plain.offset_seconds == pytest.approx(0.2, abs=0.02)


@pytest.mark.slow
def test_the_command_prints_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["sync", str(sample_files()[0]), "--json", "--quiet"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {
        "offset_seconds",
        "r",
        "r_unshifted",
        "confidence",
        "seconds",
    }
    short = write_video(tmp_path / "short.mp4", sample_frames(20))
    assert main.main(["sync", str(short), "--quiet"]) == 10
