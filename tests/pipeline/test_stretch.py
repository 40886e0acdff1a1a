"""A stretch of a long video is dubbed (`--start`, `--end`), and the rest stays as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import tiny
from helpers.sample_clips import decoded, frame_times

import personatalk
from personatalk import DubOptions, Models
from personatalk.errors import OptionError
from personatalk.geometry.mediapipe_mesh import NUM_LANDMARKS
from personatalk.media.audio import read_speech
from personatalk.pipeline import analyses
from personatalk.pipeline.request import DubRequest

pytestmark = pytest.mark.usefixtures("drawn_faces")

COUNT = 30


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.clip_of(tmp_path_factory.mktemp("clip") / "clip.mp4", tiny.talking(COUNT))


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.speech_of(tmp_path_factory.mktemp("speech") / "speech.wav", 0.4)


@pytest.mark.slow
def test_only_the_stretch_changes(tmp_path: Path, clip: Path, speech: Path, tiny_models: Models) -> None:
    options = DubOptions(start=0.4, end=0.6)
    report = personatalk.dub(clip, speech, tmp_path / "out.mp4", models=tiny_models, options=options)
    assert (report.frames, report.dubbed) == (COUNT, 5)
    assert report.generated == [pytest.approx([0.4, 0.6])]
    assert {span.reason for span in report.passed_through} == {"original mouth asked for"}
    assert frame_times(tmp_path / "out.mp4") == pytest.approx(frame_times(clip), abs=1e-4)
    pairs = zip(decoded(clip), decoded(tmp_path / "out.mp4"), strict=True)
    changes = [float(np.mean((a.astype(float) - b) ** 2)) for a, b in pairs]
    assert max(changes[:10] + changes[15:]) < min(changes[11:14]) / 2
    said = read_speech(tmp_path / "out.mp4")
    assert abs(said[: int(0.35 * 16000)]).max() < 0.01 < abs(said[int(0.42 * 16000) : int(0.58 * 16000)]).max()


def test_a_stretch_ends_with_the_speech_and_begins_with_the_video(clip: Path, speech: Path) -> None:
    output = clip.with_name("out.mp4")
    (cue,) = DubRequest.of_speech(clip, speech, output, DubOptions(start=0.5)).cues
    assert (cue.start, cue.end) == (0.5, pytest.approx(0.9, abs=1e-3))
    (cue,) = DubRequest.of_speech(clip, speech, output, DubOptions(end=0.3)).cues
    assert (cue.start, cue.end) == (0.0, 0.3)
    assert DubRequest.of_speech(clip, speech, output, DubOptions()).cues == ()


@pytest.mark.slow
def test_nobody_is_looked_for_far_from_the_stretch(
    tmp_path: Path, clip: Path, speech: Path, tiny_models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    detect = tiny.DrawnFaceTracker.detect

    def counted(self: tiny.DrawnFaceTracker, rgb: np.ndarray) -> list[np.ndarray]:
        seen.append(len(found := detect(self, rgb)))
        assert all(face.shape == (NUM_LANDMARKS, 3) for face in found)
        return found

    monkeypatch.setattr(analyses, "STRETCH_MARGIN", 0.15)
    monkeypatch.setattr(tiny.DrawnFaceTracker, "detect", counted)
    options = DubOptions(start=0.4, end=0.6)
    report = personatalk.dub(clip, speech, tmp_path / "out.mp4", models=tiny_models, options=options)
    assert len(seen) == report.faces == 3 + 5 + 4 and report.dubbed == 5


@pytest.mark.slow
def test_a_stretch_takes_a_face_a_style_and_a_persona(
    tmp_path: Path, clip: Path, speech: Path, tiny_models: Models
) -> None:
    personatalk.make_persona([clip], tiny_models).save(tmp_path / "a.persona")
    options = DubOptions(start=0.4, end=0.6, persona=tmp_path / "a.persona", style_strength=1.2)
    report = personatalk.dub(clip, speech, tmp_path / "out.mp4", models=tiny_models, options=options)
    assert report.dubbed == 5 and report.faces == COUNT and report.warnings == []
    chosen = replace(options, persona=None, face="left", style=clip)
    assert personatalk.dub(clip, speech, tmp_path / "out.mp4", models=tiny_models, options=chosen).dubbed == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"start": 1.2}, r"clip\.mp4 ends at 1\.2 s, before --start 1\.2"),
        ({"start": 0.1, "length": "loop"}, "give no length beside them"),
    ],
)
def test_a_stretch_that_cannot_be_is_refused_before_the_work(
    clip: Path, speech: Path, tmp_path: Path, options: dict[str, float], said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        DubRequest.of_speech(clip, speech, tmp_path / "out.mp4", DubOptions(**options)).check()  # type: ignore[arg-type]


def test_an_end_before_the_start_is_refused() -> None:
    with pytest.raises(OptionError, match=r"ends at 1 s, not after its start at 2 s"):
        DubOptions(start=2.0, end=1.0)
