"""Several speakers, each with a speech and times of their own, end to end with tiny networks and drawn faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import tiny
from helpers.sample_clips import decoded

import personatalk
from personatalk import DubOptions, Models, Report
from personatalk.cli import main
from personatalk.errors import CueError, FaceError, PersonaTalkError
from personatalk.media.options import EncodeOptions
from personatalk.pipeline.casting import cast_cues
from personatalk.pipeline.cues import Cue
from personatalk.pipeline.dub import run
from personatalk.pipeline.request import DubRequest
from personatalk.utils.progress import Progress

pytestmark = pytest.mark.usefixtures("drawn_faces")

COUNT = 20
LEFT, RIGHT = tiny.Face(x=48.0), tiny.Face(x=144.0, green=150, scale=22.0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.clip_of(tmp_path_factory.mktemp("clip") / "clip.mp4", tiny.talking(COUNT))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = [tiny.draw_faces([LEFT, RIGHT], width=192)] * 8
    return tiny.clip_of(tmp_path_factory.mktemp("pair") / "pair.mp4", frames)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.speech_of(tmp_path_factory.mktemp("speech") / "speech.wav", 0.8)


@pytest.mark.slow
def test_only_the_cues_change(tmp_path: Path, clip: Path, speech: Path) -> None:
    cue = tmp_path / "cues.txt"
    cue.write_text(
        f"1\n00:00:00,080 --> 00:00:00,240\nspeech: {speech}\n\n"
        f"2\n00:00:00,480 --> 00:00:00,640\nspeech: {speech}\nfrom: 00:00:00,400\n"
    )
    report = personatalk.dub_cues(clip, cue, tmp_path / "out.mp4")
    assert report.dubbed == 4 + 4 and report.frames == COUNT
    assert [(span.first, span.last, span.reason) for span in report.passed_through] == [
        (0, 1, "original mouth asked for"),
        (6, 11, "original mouth asked for"),
        (16, 19, "original mouth asked for"),
    ]
    assert report.generated == pytest.approx(np.array([[0.08, 0.24], [0.48, 0.64]]))
    old, new = decoded(clip), decoded(tmp_path / "out.mp4")
    changes = [float(np.mean((a.astype(float) - b) ** 2)) for a, b in zip(old, new, strict=True)]
    dubbed = {*range(2, 6), *range(12, 16)}
    assert max(changes[i] for i in range(COUNT) if i not in dubbed) < min(changes[i] for i in (3, 4, 13, 14)) / 2


@pytest.mark.slow
def test_a_user_who_chose_nobody_is_told_that_there_are_several(
    tmp_path: Path, tiny_models: Models, pair: Path, speech: Path
) -> None:
    chosen = DubOptions(face="left")
    silent, told = (
        personatalk.dub(pair, speech, tmp_path / f"{options is chosen}.mp4", models=tiny_models, options=options)
        for options in (chosen, DubOptions())
    )
    assert not [warning for warning in silent.warnings if "more than one face" in warning]
    (warning,) = [warning for warning in told.warnings if "more than one face" in warning]
    assert "8 of 8 frames" in warning and f"'personatalk faces {pair}'" in warning


@pytest.mark.slow
def test_the_command_line_takes_a_cue_file_in_place_of_a_speech(tmp_path: Path, clip: Path, speech: Path) -> None:
    cue = tmp_path / "cues.txt"
    cue.write_text(f"00:00:00,080 --> 00:00:00,240\nspeech: {speech}\n")
    output = tmp_path / "out.mp4"
    assert main.main(["dub", str(clip), str(speech), "--cue", str(cue), "-o", str(output)]) == 2
    assert main.main(["dub", str(clip), "--cue", str(cue), "-o", str(output), "--quiet"]) == 0
    assert len(decoded(output)) == COUNT


@pytest.mark.slow
def test_each_person_says_the_own_cue(tmp_path: Path, pair: Path, speech: Path, tiny_models: Models) -> None:
    cues = [Cue(0.0, 0.16, "left", speech), Cue(0.16, 0.32, "right", speech)]
    options = DubOptions(encode=EncodeOptions(crf=1))
    personatalk.dub_cues(pair, cues, tmp_path / "out.mp4", models=tiny_models, options=options)
    old, new = decoded(pair), decoded(tmp_path / "out.mp4")
    error = np.array([np.abs(a.astype(float) - b).max(axis=2) for a, b in zip(old, new, strict=True)])
    left, right = error[:, :, :96].max(axis=(1, 2)), error[:, :, 96:].max(axis=(1, 2))
    assert left[:2].min() > 10 > left[5:].max() and right[6:].min() > 10 > right[:3].max()


@pytest.mark.slow
def test_who_cannot_be_dubbed_is_warned_of_and_the_others_are_dubbed(
    tmp_path: Path, speech: Path, tiny_models: Models
) -> None:
    small = tiny.Face(x=144.0, green=150, scale=9.0)
    source = tiny.clip_of(tmp_path / "in.mp4", [tiny.draw_faces([LEFT, small], width=192)] * 6)
    cues = [Cue(0.0, 0.12, "left", speech, where="cues:1"), Cue(0.12, 0.24, "right", speech, where="cues:2")]
    report = personatalk.dub_cues(source, cues, tmp_path / "out.mp4", models=tiny_models)
    assert report.dubbed == 3
    assert any(warning.startswith("cues:2: nobody is dubbed: ") for warning in report.warnings)
    with pytest.raises(FaceError, match="face too small"):
        personatalk.dub_cues(source, cues[1:], tmp_path / "none.mp4", models=tiny_models)


def test_two_words_for_one_person_may_not_overlap(
    tmp_path: Path, pair: Path, speech: Path, tiny_models: Models
) -> None:
    cues = [Cue(0.0, 0.2, "left", speech, where="cues:1"), Cue(0.1, 0.3, "1", speech, where="cues:2")]
    with pytest.raises(CueError, match=r"cues:2: begins at 0\.1 s, before the cue of cues:1"):
        personatalk.dub_cues(pair, cues, tmp_path / "out.mp4", models=tiny_models)


@pytest.mark.slow
def test_a_run_that_goes_on_looks_for_nobody_again(
    tmp_path: Path, clip: Path, speech: Path, tiny_models: Models
) -> None:
    cues = [Cue(0.0, 0.2, "largest", speech), Cue(0.24, 0.4, None, speech, offset=0.2)]
    told: list[str] = []

    def dub(progress: Progress) -> Report:
        request = DubRequest(clip, [speech], tmp_path / "out.mp4", DubOptions(), cues)
        return run(request, lambda context: cast_cues(context, cues), tiny_models, progress, segment_frames=4)

    def cut(stage: str, steps: int, total: int) -> None:
        told.extend([stage] * steps)
        if told.count("dubbing") == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dub(cut)
    before = set(told)
    told.clear()
    report = dub(lambda stage, steps, total: told.append(stage))
    assert report.resumed == 4 and report.dubbed == 5 + 4
    assert set(told) == {"dubbing"} and {"people", "faces"} <= before


def test_choices_that_the_cues_make_are_refused(tmp_path: Path, clip: Path, speech: Path, tiny_models: Models) -> None:
    cues = [Cue(0.0, 0.5, None, speech)]
    with pytest.raises(PersonaTalkError, match="cues say who speaks"):
        personatalk.dub_cues(clip, cues, tmp_path / "out.mp4", models=tiny_models, options=DubOptions(face="left"))
    with pytest.raises(CueError, match="one at least"):
        personatalk.dub_cues(clip, [], tmp_path / "out.mp4", models=tiny_models)
    late = [Cue(0.0, 0.5, None, speech, offset=900.0, where="cues.txt:3")]
    with pytest.raises(PersonaTalkError, match=r"cues\.txt:3.*no audio from 900 s on"):
        personatalk.dub_cues(clip, late, tmp_path / "out.mp4", models=tiny_models)
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.slow
def test_a_cue_after_the_video_is_warned_of(tmp_path: Path, clip: Path, speech: Path, tiny_models: Models) -> None:
    cues = [Cue(0.0, 0.2, None, speech), Cue(3.0, 3.2, None, speech, where="cues:2")]
    report = personatalk.dub_cues(clip, cues, tmp_path / "out.mp4", models=tiny_models)
    assert "cues:2: the video shows nothing at 3 s" in report.warnings
