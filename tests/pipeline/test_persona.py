"""Personas: made once, used again, safe to read."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import tiny
from helpers.sample_clips import decoded

import personatalk
from personatalk import DubOptions, Models
from personatalk.cli import main
from personatalk.errors import MediaError, WeightsError
from personatalk.faces.analysis import FRAME_ARRAYS, Analysis
from personatalk.faces.selection import FaceSearch
from personatalk.media.reader import VideoReader
from personatalk.pipeline.persona import Persona, check_persona_path
from personatalk.pipeline.persona_making import make_persona
from personatalk.utils import serialization

pytestmark = pytest.mark.usefixtures("drawn_faces")

COUNT = 10


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.clip_of(tmp_path_factory.mktemp("clip") / "clip.mp4", tiny.talking(COUNT))


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.speech_of(tmp_path_factory.mktemp("speech") / "speech.wav", COUNT / 25)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, clip: Path, tiny_models: Models) -> Path:
    path = tmp_path_factory.mktemp("persona") / "anna.persona"
    with tiny.in_place(tiny_models):
        make_persona([clip], tiny_models).save(path)
    return path


@pytest.mark.slow
def test_a_known_video_is_not_analysed_again_and_looks_the_same(
    tmp_path: Path, tiny_models: Models, clip: Path, speech: Path, kept: Path
) -> None:
    told: list[str] = []
    personatalk.dub(clip, speech, tmp_path / "without.mp4", models=tiny_models)
    report = personatalk.dub(
        clip,
        speech,
        tmp_path / "with.mp4",
        models=tiny_models,
        options=DubOptions(persona=kept),
        progress=lambda stage, steps, total: told.append(stage),
    )
    assert set(told) == {"dubbing"} and report.dubbed == COUNT
    for a, b in zip(decoded(tmp_path / "without.mp4"), decoded(tmp_path / "with.mp4"), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_another_video_takes_the_style_alone(tmp_path: Path, tiny_models: Models, speech: Path, kept: Path) -> None:
    other = tiny.clip_of(tmp_path / "other.mp4", tiny.talking(8, tiny.Face(x=44.0)))
    report = personatalk.dub(other, speech, tmp_path / "out.mp4", models=tiny_models, options=DubOptions(persona=kept))
    assert report.dubbed == 8
    assert any("was not made from this video" in warning for warning in report.warnings)


def test_what_was_looked_for_is_told_by_content(tmp_path: Path, clip: Path, kept: Path, tiny_models: Models) -> None:
    picture, other = tmp_path / "anna.png", tmp_path / "bea.png"
    for name, size in ((picture, 8), (other, 9)):
        cv2.imwrite(str(name), np.full((size, size, 3), 99, np.uint8))
    (tmp_path / "sub").mkdir()
    copy = shutil.copy(picture, tmp_path / "sub" / "same.png")
    assert FaceSearch(str(picture)).described() == FaceSearch(str(copy)).described()
    assert FaceSearch(str(picture)).described() != FaceSearch(str(other)).described()
    loaded = Persona.load(kept, tiny_models.morphable)
    assert loaded.find(clip, FaceSearch(str(picture))) is None, "another face is looked for"
    assert FaceSearch("left", identity=picture).described() != FaceSearch("left").described()


@pytest.mark.slow
def test_a_style_is_a_personas_or_a_videos(
    tmp_path: Path, tiny_models: Models, clip: Path, speech: Path, kept: Path
) -> None:
    still = tiny.clip_of(tmp_path / "still.mp4", [tiny.draw_faces([tiny.Face()])] * 6)
    outputs = {}
    for name, style in (("own", None), ("persona", kept), ("video", clip), ("still", still)):
        outputs[name] = tmp_path / f"{name}.mp4"
        personatalk.dub(clip, speech, outputs[name], models=tiny_models, options=DubOptions(style=style))
    pictures = {name: np.stack(decoded(path)).astype(int) for name, path in outputs.items()}
    assert (pictures["own"] == pictures["persona"]).all() and (pictures["own"] == pictures["video"]).all()
    assert np.abs(pictures["own"] - pictures["still"]).max() > 5


def test_it_comes_back_from_the_disk_as_it_was(tiny_models: Models, clip: Path, kept: Path) -> None:
    loaded = Persona.load(kept, tiny_models.morphable)
    assert loaded.models == tiny_models.fingerprint() and loaded.mouths.shape[1:] == (96, 96, 3)
    (footage,) = loaded.footage
    assert loaded.find(clip) is footage and loaded.find(clip, FaceSearch("left")) is None and loaded.find(kept) is None
    with VideoReader(clip) as reader:
        analysis = footage.load_analysis(reader.info, tiny_models.morphable)
    again = analysis.arrays()
    assert set(again) == set(footage.analysis)
    for name, array in again.items():
        np.testing.assert_array_equal(array, footage.analysis[name])
    assert len(loaded.lips(footage, tiny_models)[0]) > 1
    assert replace(loaded, models="another").lips(footage, tiny_models) == {}


def test_it_is_shown(tmp_path: Path, kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["persona", "show", str(kept), "--plot", str(tmp_path / "plot.png")]) == 0
    out = capsys.readouterr().out
    assert "clip.mp4: 10 frames, 10 usable, 1 shots with lips" in out and "mouth opening" in out
    assert (tmp_path / "plot.png").stat().st_size > 5000


def test_a_damaged_one_is_explained(tmp_path: Path, tiny_models: Models, kept: Path) -> None:
    arrays, config = serialization.load_arrays(kept, kind="persona", version=5)
    broken = [
        ({**arrays, "beta": arrays["beta"][:, :2]}, config, "another morphable model"),
        ({k: v for k, v in arrays.items() if k != "pictures"}, config, "not a readable persona"),
        ({**arrays, "pictures": arrays["pictures"].astype(np.float32)}, config, "not a readable persona"),
        ({**arrays, "beta": np.full_like(arrays["beta"], np.nan)}, config, "not finite"),
        (arrays, {"videos": 3}, "not a readable persona"),
        (arrays, {**config, "videos": [{"name": "x"}]}, "not a readable persona"),
    ]
    for content, said, message in broken:
        serialization.save_arrays(tmp_path / "x.persona", content, kind="persona", version=5, config=said, half=False)
        with pytest.raises(WeightsError, match=message):
            Persona.load(tmp_path / "x.persona", tiny_models.morphable)
    serialization.save_arrays(tmp_path / "x.persona", arrays, kind="persona", version=99, config=config)
    with pytest.raises(WeightsError, match="version 99"):
        Persona.load(tmp_path / "x.persona", tiny_models.morphable)


def test_lips_of_another_renderer_are_refused(tiny_models: Models, kept: Path) -> None:
    loaded = Persona.load(kept, tiny_models.morphable)
    (footage,) = loaded.footage
    keys, count = footage.lips[0]["lip_keys"], footage.lips[0]["lip_keys_count"]
    for wrong in (
        {"lip_keys": keys[:, :-1]},
        {"lip_keys": keys * np.float32(1e20)},
        {"lip_keys": keys[:0], "lip_keys_count": 0 * count},
    ):
        broken = replace(footage, lips={0: {**footage.lips[0], **wrong}})
        with pytest.raises(WeightsError, match=r"anna\.persona: the lips of clip\.mp4 are damaged"):
            loaded.lips(broken, tiny_models)


@pytest.mark.parametrize(
    "name", [*(n for n in FRAME_ARRAYS if n not in ("faces", "light")), "reason", "start", "alpha", "covers"]
)
def test_a_damaged_analysis_is_refused(tiny_models: Models, clip: Path, kept: Path, name: str) -> None:
    (footage,) = Persona.load(kept, tiny_models.morphable).footage
    with VideoReader(clip) as reader:
        for arrays in (
            {k: v for k, v in footage.analysis.items() if k != name},
            {**footage.analysis, name: footage.analysis[name][:0] if name != "covers" else np.ones((3, 4), np.uint8)},
        ):
            with pytest.raises(ValueError):
                Analysis.from_arrays(reader.info, arrays, tiny_models.morphable)


def test_a_persona_that_does_not_say_how_many_faces_there_were_is_read(
    tiny_models: Models, clip: Path, kept: Path
) -> None:
    (footage,) = Persona.load(kept, tiny_models.morphable).footage
    arrays = {name: array for name, array in footage.analysis.items() if name != "faces"}
    with VideoReader(clip) as reader:
        older = Analysis.from_arrays(reader.info, arrays, tiny_models.morphable)
    assert not older.faces.any() and footage.analysis["faces"].all()


def test_names_are_checked_before_the_work(tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["persona", "make", str(clip), "-o", str(tmp_path / "x.mp4")]) == 15
    assert "ends in .persona" in capsys.readouterr().err
    assert main.main(["persona", "make", str(clip), str(clip), "-o", str(tmp_path / "x.persona"), "--quiet"]) == 10
    assert "given twice" in capsys.readouterr().err
    with pytest.raises(MediaError, match="folder"):
        check_persona_path(tmp_path / "no" / "x.persona", [clip])


@pytest.mark.slow
def test_shots_of_a_known_video_are_sought(tmp_path: Path, tiny_models: Models, speech: Path) -> None:
    # A cut to other colours: the lip references of the second shot lie in the middle of the file.
    far = [np.roll(frame[..., ::-1], 1, axis=2) for frame in tiny.talking(5)]
    source = tiny.clip_of(tmp_path / "cut.mp4", [*tiny.talking(5), *[tiny.nobody()] * 4, *far])
    make_persona([source], tiny_models).save(tmp_path / "anna.persona")
    outputs = [tmp_path / f"{name}.mp4" for name in ("without", "with")]
    for output, persona in zip(outputs, (None, tmp_path / "anna.persona"), strict=True):
        options = DubOptions(persona=persona)
        report = personatalk.dub(source, speech, output, models=tiny_models, options=options)
        assert len(report.shots) > 1
    for a, b in zip(*map(decoded, outputs), strict=True):
        np.testing.assert_array_equal(a, b)
