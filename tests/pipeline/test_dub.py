"""The plumbing of a dub: which frames are dubbed, at which times, what is kept for a resume, and what is reported."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from helpers import tiny
from helpers.sample_clips import decoded, frame_times, spoken, write_sound, write_video

import personatalk
from personatalk import DubOptions, Models, Report
from personatalk.errors import CredentialsError, FaceError, MediaError, PersonaTalkError
from personatalk.media.audio import SampleFile
from personatalk.media.options import EncodeOptions
from personatalk.media.probe import probe_speech
from personatalk.pipeline import casting
from personatalk.pipeline.casting import cast_single
from personatalk.pipeline.dub import run
from personatalk.pipeline.request import DubRequest
from personatalk.provenance.c2pa_reader import read_credentials
from personatalk.provenance.options import Provenance
from personatalk.stage2.compositing import Patch
from personatalk.utils.progress import Progress

pytestmark = pytest.mark.usefixtures("drawn_faces")

COUNT = 10
FAST = EncodeOptions(crf=6, preset="ultrafast")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.clip_of(tmp_path_factory.mktemp("clip") / "clip.mp4", tiny.talking(COUNT))


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.speech_of(tmp_path_factory.mktemp("speech") / "speech.wav", COUNT / 25)


@pytest.fixture
def dubbed(tmp_path: Path, clip: Path, speech: Path, tiny_models: Models) -> Report:
    return personatalk.dub(clip, speech, tmp_path / "out.mp4", models=tiny_models)


def largest_changes(source: Path, output: Path) -> list[float]:
    """Largest difference of each frame in grey levels."""
    pairs = zip(decoded(source), decoded(output), strict=True)
    return [float(np.abs(a.astype(float) - b).max()) for a, b in pairs]


def test_every_frame_is_there_at_its_time_and_has_a_new_mouth(dubbed: Report, clip: Path) -> None:
    output = Path(dubbed.output)
    assert frame_times(output) == pytest.approx(frame_times(clip), abs=1e-4)
    assert dubbed.frames == dubbed.dubbed == COUNT and dubbed.passed_through == []
    assert min(largest_changes(clip, output)) > 20


def test_the_output_says_that_it_was_generated(dubbed: Report) -> None:
    with av.open(dubbed.output) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    assert "PersonaTalk" in tags["comment"]
    assert tags["digital_source_type"].endswith("compositeWithTrainedAlgorithmicMedia")
    assert dubbed.provenance["watermark"] is True
    assert dubbed.provenance["manifest"] == {"signer": "PersonaTalk local certificate", "local": True}


def test_the_report_holds_what_was_done(dubbed: Report, tmp_path: Path) -> None:
    dubbed.write(tmp_path / "report.json")
    stored = json.loads((tmp_path / "report.json").read_text())
    assert stored["frames"] == stored["dubbed"] == stored["faces"] == COUNT
    assert stored["source_sync"] is None, "the clip has no audio of its own"
    assert stored["shots"] == [{"first": 0, "last": COUNT - 1, "start_seconds": 0.0, "usable": COUNT}]
    assert {"analysis", "speech", "geometry", "render", "composite", "encode", "sign"} <= set(stored["stage_seconds"])
    assert set(stored["lip_references"]) <= set(range(COUNT)) and len(set(stored["lip_references"])) > 1


@pytest.mark.slow
def test_provenance_can_be_switched_off_with_a_warning(
    tmp_path: Path, clip: Path, speech: Path, tiny_models: Models, dubbed: Report
) -> None:
    options = DubOptions(provenance=Provenance(on=False))
    report = personatalk.dub(clip, speech, tmp_path / "bare.mp4", models=tiny_models, options=options)
    assert report.provenance == {"on": False} and any("--no-provenance" in warning for warning in report.warnings)
    # The watermark is what the pixels of the two differ in.
    assert max(largest_changes(Path(dubbed.output), tmp_path / "bare.mp4")) > 0


def test_a_wrong_certificate_ends_the_run_before_it_starts(
    tmp_path: Path, clip: Path, speech: Path, tiny_models: Models
) -> None:
    options = DubOptions(provenance=Provenance(certificate=clip, private_key=clip))
    with pytest.raises(CredentialsError, match=r"clip\.mp4: no certificate"):
        personatalk.dub(clip, speech, tmp_path / "out.mp4", models=tiny_models, options=options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_frames_without_a_face_pass_through_and_are_listed(tmp_path: Path, speech: Path, tiny_models: Models) -> None:
    frames = tiny.talking(11)
    source = tiny.clip_of(tmp_path / "in.mp4", [*frames[:6], *[tiny.nobody()] * 5, *frames[6:]])
    options = DubOptions(encode=FAST)
    report = personatalk.dub(source, speech, tmp_path / "out.mp4", models=tiny_models, options=options)
    assert report.frames == 16 and report.dubbed == 11
    assert report.generated == [pytest.approx([0.0, 0.24]), pytest.approx([0.44, 0.64])]
    (span,) = report.passed_through
    assert (span.first, span.last, span.reason) == (6, 10, "no face")
    assert (span.start_seconds, span.end_seconds) == pytest.approx((0.24, 0.4))
    changes = largest_changes(source, tmp_path / "out.mp4")
    assert max(changes[6:11]) < 12 < 20 < min(changes[2], changes[13])


def test_no_face_anywhere_is_an_error_and_leaves_nothing(tmp_path: Path, speech: Path, tiny_models: Models) -> None:
    source = tiny.clip_of(tmp_path / "in.mp4", [tiny.nobody()] * 5)
    with pytest.raises(FaceError, match=r"in\.mp4.*no face in any frame"):
        personatalk.dub(source, speech, tmp_path / "out.mp4", models=tiny_models)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4"]


def test_a_mouth_outside_the_image_is_reported(tmp_path: Path, speech: Path, tiny_models: Models) -> None:
    # Only forehead and eyes are left inside.
    frames = [frame[:40] for frame in tiny.talking(6)]
    source = tiny.clip_of(tmp_path / "in.mp4", frames)
    report = personatalk.dub(source, speech, tmp_path / "out.mp4", models=tiny_models)
    assert report.dubbed == 0
    assert [span.reason for span in report.passed_through] == ["face outside the image"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "seconds", "count", "dubbed"),
    [
        ("video", 0.2, COUNT, COUNT),
        ("video", 2.0, COUNT, COUNT),
        ("video-original", 0.2, COUNT, 5),
        ("shortest", 0.2, 5, 5),
        ("pingpong", 0.6, 15, 15),
        ("loop", 0.6, 15, 15),
    ],
)
def test_length_policies(
    tmp_path: Path, clip: Path, tiny_models: Models, policy: str, seconds: float, count: int, dubbed: int
) -> None:
    said = tiny.speech_of(tmp_path / "said.wav", seconds)
    options = DubOptions(length=policy, encode=FAST)  # type: ignore[arg-type]
    report = personatalk.dub(clip, said, tmp_path / "out.mp4", models=tiny_models, options=options)
    assert (report.frames, report.dubbed) == (count, dubbed)
    assert report.generated == [[0.0, pytest.approx(dubbed / 25)]]
    assert read_credentials(tmp_path / "out.mp4").ranges == [[0.0, pytest.approx(dubbed / 25, abs=1e-3)]]
    assert len(frame_times(tmp_path / "out.mp4")) == count
    assert probe_speech(tmp_path / "out.mp4").seconds <= count / 25 + 0.05
    cut = [warning for warning in report.warnings if "longer than the video" in warning]
    assert len(cut) == (seconds > count / 25 + 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_remap_stretches_the_image_and_not_the_speech(
    tmp_path: Path, clip: Path, tiny_models: Models, suffix: str
) -> None:
    said, output = tiny.speech_of(tmp_path / "said.wav", 0.48), tmp_path / f"out{suffix}"
    options = DubOptions(length="remap", encode=FAST)
    report = personatalk.dub(clip, said, output, models=tiny_models, options=options)
    assert report.dubbed == COUNT
    np.testing.assert_allclose(frame_times(output), np.arange(COUNT) * 0.048, atol=1e-3)
    assert report.speech_used_seconds == pytest.approx(0.48, abs=1e-3)
    assert probe_speech(output).seconds == pytest.approx(0.48, abs=0.03)


def test_remap_refuses_a_speech_of_another_length_before_the_work(
    tmp_path: Path, clip: Path, tiny_models: Models
) -> None:
    said = tiny.speech_of(tmp_path / "said.wav", 0.6)
    with pytest.raises(MediaError, match=r"said\.wav and .*clip\.mp4: the speech of 0\.6 s is 1\.50 times as long"):
        DubRequest(clip, [said], tmp_path / "out.mp4", DubOptions(length="remap")).check()
    assert [path.name for path in tmp_path.iterdir()] == ["said.wav"]


@pytest.mark.slow
def test_a_speech_out_of_a_pipe_is_read_once(tmp_path: Path, clip: Path, speech: Path, tiny_models: Models) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(speech.read_bytes()), daemon=True)
    writer.start()
    report = personatalk.dub(clip, pipe, tmp_path / "out.mp4", models=tiny_models)
    writer.join()
    assert report.dubbed == COUNT and report.speech == str(pipe)
    plain = personatalk.dub(clip, speech, tmp_path / "plain.mp4", models=tiny_models)
    assert report.speech_seconds == plain.speech_seconds
    assert list(map(np.ndarray.tolist, decoded(tmp_path / "out.mp4"))) == list(
        map(np.ndarray.tolist, decoded(tmp_path / "plain.mp4"))
    )


def test_pipes_are_refused_where_they_cannot_be_read_once(tmp_path: Path, clip: Path, tiny_models: Models) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(MediaError, match="is a pipe, which can be read only once"):
        personatalk.dub(pipe, clip, tmp_path / "out.mp4", models=tiny_models)
    writer = threading.Thread(target=lambda: pipe.write_bytes(b""), daemon=True)
    writer.start()
    with pytest.raises(MediaError, match="is a pipe out of which nothing came"):
        personatalk.dub(clip, pipe, tmp_path / "out.mp4", models=tiny_models)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.slow
def test_a_long_speech_is_read_as_far_as_the_video_needs_it(
    tmp_path: Path, clip: Path, tiny_models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    store = casting.store_speech

    def counted(*arguments: Any) -> SampleFile:
        kept.append(len(made := store(*arguments)))
        return made

    monkeypatch.setattr(casting, "store_speech", counted)
    said = tiny.speech_of(tmp_path / "said.wav", 100.0)
    report = personatalk.dub(clip, said, tmp_path / "out.mp4", models=tiny_models)
    assert max(kept) < 16000 * (COUNT / 25 + casting.LOOKAHEAD + 1)
    assert report.speech_seconds == pytest.approx(100.0)
    assert any("99.6 s longer than the video" in warning for warning in report.warnings)


@pytest.mark.slow
def test_variable_rate_and_rotation_survive(tmp_path: Path, speech: Path, tiny_models: Models) -> None:
    times = np.cumsum([0.02 + 0.03 * (i % 3) for i in range(COUNT)]).tolist()
    frames = tiny.talking(COUNT)
    turned = [np.ascontiguousarray(np.rot90(frame)) for frame in frames]
    source = write_video(tmp_path / "in.mp4", turned, times, clockwise=90)
    report = personatalk.dub(source, speech, tmp_path / "out.mp4", models=tiny_models)
    assert report.dubbed == COUNT
    assert frame_times(tmp_path / "out.mp4") == pytest.approx(times, abs=1e-4)
    upright = decoded(tmp_path / "out.mp4")[5]
    assert np.mean((upright[:20].astype(float) - frames[5][:20]) ** 2) < 20


@pytest.mark.slow
def test_the_original_mouth_returns_in_silence_if_asked(tmp_path: Path, tiny_models: Models) -> None:
    source = tiny.clip_of(tmp_path / "in.mp4", tiny.talking(48))
    said = spoken(8 / 25)
    paused = write_sound(tmp_path / "said.wav", np.concatenate([said, np.zeros(16000 * 32 // 25), said]))
    options = DubOptions(silence="original", encode=FAST)
    report = personatalk.dub(source, paused, tmp_path / "out.mp4", models=tiny_models, options=options)
    (span,) = report.passed_through
    assert span.reason == "original mouth asked for"
    assert 8 <= span.first < 20 and 30 <= span.last < 42
    changes = largest_changes(source, tmp_path / "out.mp4")
    assert changes[25] < 12 and changes[0] > 20


@pytest.mark.slow
def test_a_speech_without_speech_is_warned_of(tmp_path: Path, speech: Path, tiny_models: Models) -> None:
    source = tiny.clip_of(tmp_path / "in.mp4", tiny.talking(4))
    noise = write_sound(tmp_path / "noise.wav", 0.1 * np.random.default_rng(0).standard_normal(8000))
    warned = {}
    for said in (speech, noise):
        report = personatalk.dub(source, said, tmp_path / "out.mp4", models=tiny_models)
        warned[said] = [warning for warning in report.warnings if "no speech is heard" in warning]
    assert warned == {speech: [], noise: [f"{noise}: no speech is heard in it: the mouth rests throughout"]}


@pytest.mark.slow
def test_every_new_mouth_is_told_with_its_mask(tmp_path: Path, clip: Path, speech: Path, tiny_models: Models) -> None:
    patches: dict[int, Patch] = {}
    request = DubRequest(clip, [speech], tmp_path / "out.mp4", DubOptions())
    run(request, lambda context: cast_single(context, speech), tiny_models, on_composited=patches.__setitem__)
    assert sorted(patches) == list(range(COUNT))
    assert all(patch.mask.max() > 0.9 and patch.pixels.shape[:2] == patch.mask.shape for patch in patches.values())


class Cut(KeyboardInterrupt):
    """The run is cut off."""


def cut_at(frame: int) -> Progress:
    """Progress that cuts the run off after a number of frames."""
    seen: list[str] = []

    def progress(stage: str, steps: int, total: int) -> None:
        seen.extend([stage] * steps)
        if seen.count("dubbing") == frame:
            raise Cut

    return progress


@pytest.mark.slow
def test_a_run_that_was_cut_off_goes_on_and_gives_the_same_frames(
    tmp_path: Path, clip: Path, speech: Path, tiny_models: Models
) -> None:
    def dub(name: str, progress: Progress | None = None) -> Report:
        request = DubRequest(clip, [speech], tmp_path / name, DubOptions())
        return run(request, lambda context: cast_single(context, speech), tiny_models, progress, segment_frames=3)

    unbroken = dub("whole.mp4")
    for frame in (4, 7):
        with pytest.raises(Cut):
            dub("broken.mp4", cut_at(frame))
        assert not (tmp_path / "broken.mp4").exists()
    told: list[str] = []
    report = dub("broken.mp4", lambda stage, steps, total: told.append(stage))
    assert report.resumed == 6 and report.frames == report.dubbed == COUNT
    assert report.lip_references == unbroken.lip_references != []
    assert report.generated == unbroken.generated
    assert "faces" not in told, "the analysis was made again"
    assert frame_times(tmp_path / "broken.mp4") == frame_times(tmp_path / "whole.mp4")
    for a, b in zip(decoded(tmp_path / "whole.mp4"), decoded(tmp_path / "broken.mp4"), strict=True):
        np.testing.assert_array_equal(a, b)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.mp4", "whole.mp4"]


@pytest.mark.slow
def test_a_changed_choice_starts_anew(tmp_path: Path, clip: Path, speech: Path, tiny_models: Models) -> None:
    def dub(options: DubOptions, progress: Progress) -> None:
        request = DubRequest(clip, [speech], tmp_path / "out.mp4", options)
        with pytest.raises(Cut):
            run(request, lambda context: cast_single(context, speech), tiny_models, progress, segment_frames=3)

    resumed = []

    def look(stage: str, steps: int, total: int) -> None:
        if stage == "dubbing":
            resumed.append(steps)
            raise Cut

    dub(DubOptions(), cut_at(7))
    for options in (DubOptions(), DubOptions(style_strength=0.5), DubOptions(style_strength=0.5)):
        dub(options, look)
    assert resumed == [6, 0, 0]


@pytest.mark.slow
def test_the_key_of_a_run_tells_files_choices_and_models(clip: Path, speech: Path, tiny_models: Models) -> None:
    request = DubRequest(clip, [speech], Path("out.mp4"), DubOptions())
    same = replace(request, options=DubOptions(provenance=Provenance(certificate=clip)))
    assert request.key(tiny_models) == same.key(tiny_models), "who signs changes no frame"
    others = [
        replace(request, speeches=[clip]).key(tiny_models),
        replace(request, options=DubOptions(silence="original")).key(tiny_models),
        request.key(tiny.tiny_models(seed=1)),
    ]
    assert all(other != request.key(tiny_models) for other in others)


@pytest.mark.parametrize("wrong", [-0.1, 1.6, float("nan")])
def test_a_style_strength_out_of_range_is_refused(wrong: float) -> None:
    with pytest.raises(PersonaTalkError, match="style strength"):
        DubOptions(style_strength=wrong)


def test_an_output_that_is_the_input_is_refused(clip: Path, speech: Path, tiny_models: Models) -> None:
    before = clip.read_bytes()
    with pytest.raises(MediaError):
        personatalk.dub(clip, speech, clip, models=tiny_models)
    assert clip.read_bytes() == before
