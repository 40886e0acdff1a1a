"""The side of the rendered face crop: by the size of the face, or as the user wants it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import tiny
from helpers.sample_clips import decoded

import personatalk
from personatalk import DubOptions, Models
from personatalk.errors import PersonaTalkError
from personatalk.pipeline.persona_making import make_persona
from personatalk.stage2.runtime import RendererRuntime

pytestmark = pytest.mark.usefixtures("drawn_faces")

COUNT = 6


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.speech_of(tmp_path_factory.mktemp("speech") / "speech.wav", COUNT / 25)


@pytest.fixture
def sides(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The sides of all crops that are rendered."""
    seen: set[int] = set()
    render = RendererRuntime.render

    def noted(self: RendererRuntime, target, lips, faces):  # type: ignore[no-untyped-def]
        image = render(self, target, lips, faces)
        seen.add(len(image))
        return image

    monkeypatch.setattr(RendererRuntime, "render", noted)
    return seen


def clip_of(path: Path, scale: float) -> Path:
    gaps = 0.15 + 0.12 * np.sin(np.arange(COUNT))
    faces = [tiny.Face(96.0, 70.0, float(gap), scale) for gap in gaps]
    return tiny.clip_of(path, [tiny.draw_faces([face], 192, 192) for face in faces])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scale", "resolution", "side"), [(26.0, "auto", 64), (60.0, "auto", 128), (60.0, "256", 64), (26.0, "512", 128)]
)
def test_large_faces_are_rendered_at_twice_the_side(
    tmp_path: Path, tiny_models: Models, speech: Path, sides: set[int], scale: float, resolution: str, side: int
) -> None:
    options = DubOptions(resolution=resolution)  # type: ignore[arg-type]
    clip = clip_of(tmp_path / "clip.mp4", scale)
    report = personatalk.dub(clip, speech, tmp_path / "out.mp4", models=tiny_models, options=options)
    assert report.dubbed == COUNT
    assert sides == {side}


@pytest.mark.slow
def test_a_persona_is_used_at_its_own_resolution_and_encoded_anew_at_another(
    tmp_path: Path, tiny_models: Models, speech: Path, sides: set[int]
) -> None:
    clip = clip_of(tmp_path / "clip.mp4", 60.0)
    make_persona([clip], tiny_models).save(tmp_path / "anna.persona")
    for resolution in ("auto", "256"):
        plain, known = (DubOptions(resolution=resolution, persona=p) for p in (None, tmp_path / "anna.persona"))
        sides.clear()
        for name, options in (("plain", plain), ("known", known)):
            personatalk.dub(clip, speech, tmp_path / f"{name}.mp4", models=tiny_models, options=options)
        assert sides == {128 if resolution == "auto" else 64}
        for a, b in zip(decoded(tmp_path / "plain.mp4"), decoded(tmp_path / "known.mp4"), strict=True):
            np.testing.assert_array_equal(a, b)


def test_another_number_is_refused() -> None:
    with pytest.raises(PersonaTalkError, match="resolution"):
        DubOptions(resolution="1024")  # type: ignore[arg-type]
