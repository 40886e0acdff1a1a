"""The scripts of examples/ run: the dubs on drawn faces with tiny networks."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import pytest
from helpers import tiny
from helpers.sample_clips import sample_frames, write_sound, write_video
from helpers.synthetic import speech_like

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> Callable[[Sequence[Any]], None]:
    """Import an example and return its `main`."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Callable[[Sequence[Any]], None] = module.main
    return main


@pytest.mark.usefixtures("drawn_faces")
def test_a_dub_tells_its_progress(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = [*tiny.talking(6), *[tiny.nobody()] * 4]
    source, speech = tiny.clip_of(tmp_path / "in.mp4", frames), tiny.speech_of(tmp_path / "speech.wav")
    example("dub_with_progress")([source, speech, tmp_path / "out.mp4"])
    shown = capsys.readouterr()
    assert "6 of 10 frames" in shown.out and "no face" in shown.out
    assert "10 of 10" in shown.err


@pytest.mark.slow
@pytest.mark.usefixtures("drawn_faces")
def test_two_speakers_get_new_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = [tiny.draw_faces([tiny.Face(x=50), tiny.Face(x=150, green=80)], width=200) for _ in range(20)]
    source = tiny.clip_of(tmp_path / "in.mp4", pair)
    speeches = [write_sound(tmp_path / f"{side}.wav", speech_like(0.4)) for side in ("left", "right")]
    example("two_speakers")([source, *speeches, tmp_path / "out.mp4"])
    assert "20 of 20 frames" in capsys.readouterr().out


@pytest.mark.slow
def test_another_system_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = sample_frames(30)
    for folder in ("real", "generated"):
        (tmp_path / folder).mkdir()
    write_video(tmp_path / "real" / "clip.mp4", frames)
    write_video(tmp_path / "generated" / "clip.mp4", [cv2.GaussianBlur(frame, (0, 0), 2) for frame in frames])
    example("measure_another_system")([tmp_path / "real", tmp_path / "generated", tmp_path / "report"])
    assert "ssim: 0." in capsys.readouterr().out
    assert (tmp_path / "report" / "report.html").is_file()
