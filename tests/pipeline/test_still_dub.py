"""A still image becomes a clip as long as the speech, with a head that moves a little if asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import tiny
from helpers.sample_clips import decoded, frame_times
from PIL import Image

import personatalk
from personatalk import DubOptions, Models
from personatalk.errors import FaceError, OptionError
from personatalk.media.probe import probe_speech
from personatalk.pipeline.head_motion import HIGHEST
from personatalk.provenance.c2pa_reader import read_credentials

pytestmark = pytest.mark.usefixtures("drawn_faces")

COUNT = 30


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("still") / "still.png"
    Image.fromarray(tiny.draw_faces([tiny.Face(x=80.0, y=70.0, scale=30.0)], 160, 160)).save(path)
    return path


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.speech_of(tmp_path_factory.mktemp("speech") / "speech.wav", COUNT / 25)


@pytest.mark.slow
def test_a_still_lasts_as_long_as_the_speech_with_a_word_of_warning(
    tmp_path: Path, still: Path, speech: Path, tiny_models: Models
) -> None:
    report = personatalk.dub(still, speech, tmp_path / "out.mp4", models=tiny_models)
    assert report.frames == report.dubbed == COUNT and report.source_frames == 1
    assert report.video == str(still) and report.lip_references == [0]
    assert any("a still image shows one mouth" in warning for warning in report.warnings)
    np.testing.assert_allclose(frame_times(tmp_path / "out.mp4"), np.arange(COUNT) / 25, atol=1e-3)
    assert probe_speech(tmp_path / "out.mp4").seconds == pytest.approx(COUNT / 25, abs=0.05)
    frames = np.stack([frame.astype(float) for frame in decoded(tmp_path / "out.mp4")])
    changed = np.abs(frames - np.asarray(Image.open(still))).max(axis=(0, 3)) > 24
    assert changed[80:110, 65:95].any() and not changed[:40].any() and not changed[:, :30].any()
    inputs = read_credentials(tmp_path / "out.mp4").inputs
    assert inputs[0].name == "still.png"


@pytest.mark.slow
def test_the_head_moves_smoothly_and_the_edges_do_not(
    tmp_path: Path, still: Path, speech: Path, tiny_models: Models
) -> None:
    def frames(**choices: object) -> np.ndarray:
        options = DubOptions(**choices)  # type: ignore[arg-type]
        personatalk.dub(still, speech, tmp_path / "out.mp4", models=tiny_models, options=options)
        return np.stack([frame[..., 1].astype(float) for frame in decoded(tmp_path / "out.mp4")])

    fixed, moving, again, other = frames(), *(frames(still="moving", still_seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(moving, again)
    assert np.abs(moving - other).max() > 20, "another seed is another motion"
    assert np.abs(moving[0] - fixed[0]).max() < 12, "it begins with the still"
    moved = np.abs(moving - fixed)
    assert moved[:, 30:70].max() > 25
    edges = np.ones(moved.shape[1:], bool)
    edges[4:-4, 4:-4] = False
    assert moved[:, edges].max() < 12
    # No jump: from one frame to the next no more than a fraction of the whole motion.
    steps = np.abs(np.diff(moving - fixed, axis=0)).mean(axis=(1, 2))
    assert steps.max() < 2 * np.pi * HIGHEST / 25 * 4 * moved.mean(axis=(1, 2)).max()


def test_a_still_without_a_face_is_named(tmp_path: Path, speech: Path, tiny_models: Models) -> None:
    Image.fromarray(tiny.nobody()).save(tmp_path / "empty.png")
    with pytest.raises(FaceError, match=rf"^{tmp_path}/empty\.png: no face"):
        personatalk.dub(tmp_path / "empty.png", speech, tmp_path / "out.mp4", models=tiny_models)
    assert [path.name for path in tmp_path.iterdir()] == ["empty.png"]


def test_a_still_has_no_stretch(tmp_path: Path, still: Path, speech: Path, tiny_models: Models) -> None:
    with pytest.raises(OptionError, match=r"still\.png is a still image: give no start"):
        personatalk.dub(still, speech, tmp_path / "out.mp4", models=tiny_models, options=DubOptions(start=1.0))
