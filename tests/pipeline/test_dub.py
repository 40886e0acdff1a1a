"""The main job on the embedded sample, with the weights of the package."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.sample_clips import decoded, frame_times, sample_frames, sample_speech, write_sound, write_video

import personatalk
from personatalk import DubOptions, Models, Report
from personatalk.errors import CredentialsError, FaceError, MediaError, PersonaTalkError
from personatalk.faces.landmarks import open_tracker
from personatalk.media import segments
from personatalk.media.audio import read_speech
from personatalk.media.options import EncodeOptions
from personatalk.media.probe import probe_speech
from personatalk.provenance.c2pa_reader import read_credentials
from personatalk.provenance.options import Provenance
from personatalk.provenance.verify import verify
from personatalk.sample import sample_files

SHORT = 24
"""Frames of the clips that most tests dub."""


@dataclass(frozen=True)
class Dubbed:
    """A finished run."""

    source: Path
    speech: Path
    output: Path
    report: Report


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Dubbed:
    video, speech = sample_files()
    output = tmp_path_factory.mktemp("sample") / "dubbed.mp4"
    return Dubbed(video, speech, output, personatalk.dub(video, speech, output, models=models))


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return sample_frames(SHORT)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, frames: list[np.ndarray]) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample_speech(tmp_path_factory.mktemp("speech"), SHORT)


def openings(path: Path) -> np.ndarray:
    """Mouth opening in each frame over the distance of the outer eye corners; nan without a face."""
    tracker, values = open_tracker(), []
    for rgb in decoded(path):
        faces = tracker.detect(rgb)
        if not faces:
            values.append(np.nan)
            continue
        p = faces[0][:, :2]
        values.append(np.linalg.norm(p[13] - p[14]) / np.linalg.norm(p[33] - p[263]))
    tracker.close()
    return np.array(values)


def test_every_frame_is_there_at_its_time(sample: Dubbed) -> None:
    assert frame_times(sample.output) == pytest.approx(frame_times(sample.source), abs=1e-4)
    assert sample.report.frames == sample.report.dubbed == len(frame_times(sample.source))
    assert sample.report.passed_through == []


def test_only_the_lower_face_changes(sample: Dubbed) -> None:
    old, new = decoded(sample.source), decoded(sample.output)
    height = old[0].shape[0]
    tracker = open_tracker()
    eyes = max(tracker.detect(old[0])[0][[33, 133, 263, 362], 1])
    tracker.close()
    above = slice(0, int(eyes - 0.02 * height))
    for a, b in zip(old, new, strict=True):
        error = np.mean((a[above].astype(float) - b[above]) ** 2)
        assert 10 * np.log10(65025 / error) > 42
    changed = [np.abs(a.astype(float) - b).max() for a, b in zip(old, new, strict=True)]
    assert max(changed) > 40


def test_the_mouth_moves_to_the_new_speech(sample: Dubbed) -> None:
    old, new = openings(sample.source), openings(sample.output)
    assert not np.isnan(new).any()
    assert np.nanstd(new) > 0.01
    assert np.corrcoef(old, new)[0, 1] < 0.7


def test_the_speech_is_the_first_sound_at_its_own_rate(sample: Dubbed) -> None:
    wanted, got = probe_speech(sample.speech), probe_speech(sample.output)
    assert (got.rate, got.channels) == (wanted.rate, wanted.channels)
    heard, said = read_speech(sample.output), read_speech(sample.speech)
    count = min(len(heard), len(said))
    # AAC is lossy and may be a few samples late; the envelope tells the sentence.
    envelope = [np.sqrt((x[: count - count % 800].reshape(-1, 800) ** 2).mean(axis=1)) for x in (heard, said)]
    assert np.corrcoef(*envelope)[0, 1] > 0.95


def test_the_output_says_that_it_was_generated(sample: Dubbed) -> None:
    with av.open(str(sample.output)) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    assert "PersonaTalk" in tags["comment"]
    assert tags["digital_source_type"].endswith("compositeWithTrainedAlgorithmicMedia")


def test_the_manifest_and_the_mark_say_it_too(sample: Dubbed) -> None:
    found = verify(sample.output)
    assert found.credentials.state == "valid" and found.credentials.generated
    assert found.credentials.ranges == [pytest.approx(r, abs=2e-3) for r in sample.report.generated]
    assert [(i.role, i.sha256) for i in found.credentials.inputs] == [
        (role, hashlib.sha256(path.read_bytes()).hexdigest())
        for role, path in (("video", sample.source), ("speech", sample.speech))
    ]
    assert found.watermark.found and found.watermark.score > 2 * found.watermark.threshold
    assert set(found.tags) == {"comment", "digital_source_type", "personatalk_version"}
    assert sample.report.provenance["manifest"] == {"signer": "PersonaTalk local certificate", "local": True}


def test_without_provenance_there_is_none_and_the_report_says_so(
    tmp_path: Path, models: Models, frames: list[np.ndarray], speech: Path
) -> None:
    clip, pictures = write_video(tmp_path / "clip.mp4", frames[:8]), {}
    for on in (True, False):
        options, output = DubOptions(provenance=Provenance(on)), tmp_path / f"{on}.mp4"
        report = personatalk.dub(clip, speech, output, models=models, options=options)
        assert report.provenance["on"] is on
        assert any("--no-provenance" in warning for warning in report.warnings) is not on
        pictures[on] = decoded(output)
    found = verify(tmp_path / "False.mp4")
    assert (found.anything, found.credentials.state, found.watermark.found, found.tags) == (False, "none", False, {})
    # The watermark is what the two differ in, and nothing above the generated region differs.
    changes = np.array([b.astype(float) - a for a, b in zip(pictures[True], pictures[False], strict=True)])
    assert 0.3 < changes[:, 256:].std() < 2 and changes[:, :128].std() < 0.05 * changes[:, 256:].std() + 0.1


def test_a_wrong_certificate_ends_the_run_before_it_starts(
    tmp_path: Path, models: Models, clip: Path, speech: Path
) -> None:
    options = DubOptions(provenance=Provenance(certificate=clip, private_key=clip))
    with pytest.raises(CredentialsError, match=r"clip\.mp4: no certificate"):
        personatalk.dub(clip, speech, tmp_path / "out.mp4", models=models, options=options)
    assert list(tmp_path.iterdir()) == []


def test_the_report_holds_what_was_done(sample: Dubbed, tmp_path: Path) -> None:
    sample.report.write(tmp_path / "report.json")
    stored = json.loads((tmp_path / "report.json").read_text())
    assert stored["frames"] == stored["dubbed"] == stored["faces"] > 50
    assert stored["shots"] == [
        {"first": 0, "last": stored["frames"] - 1, "start_seconds": 0.0, "usable": stored["frames"]}
    ]
    assert {"analysis", "render", "encode"} <= set(stored["stage_seconds"])
    assert len(stored["lip_references"]) == 25


def test_frames_without_a_face_pass_through_and_are_listed(
    tmp_path: Path, models: Models, frames: list[np.ndarray], speech: Path
) -> None:
    y, x = np.mgrid[:512, :512]
    empty = np.stack([x // 2, y // 2, (x + y) // 4], axis=-1).astype(np.uint8)
    mixed = [*frames[:10], *[empty] * 5, *frames[10:20]]
    source = write_video(tmp_path / "in.mp4", mixed)
    report = personatalk.dub(source, speech, tmp_path / "out.mp4", models=models)
    assert report.frames == 25 and report.dubbed == 20
    assert report.generated == [pytest.approx([0.0, 0.4]), pytest.approx([0.6, 1.0])]
    (span,) = report.passed_through
    assert (span.first, span.last, span.reason) == (10, 14, "no face")
    assert (span.start_seconds, span.end_seconds) == pytest.approx((0.4, 0.56))
    old, new = decoded(source), decoded(tmp_path / "out.mp4")
    for i in range(10, 15):
        assert 10 * np.log10(65025 / np.mean((old[i].astype(float) - new[i]) ** 2)) > 42


def test_no_face_anywhere_is_an_error_and_leaves_nothing(tmp_path: Path, models: Models, speech: Path) -> None:
    source = write_video(tmp_path / "in.mp4", [np.full((128, 128, 3), 90, np.uint8)] * 10)
    with pytest.raises(FaceError, match=r"in\.mp4.*no face in any frame"):
        personatalk.dub(source, speech, tmp_path / "out.mp4", models=models)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4"]


def test_references_do_not_cross_a_cut(tmp_path: Path, models: Models, frames: list[np.ndarray], speech: Path) -> None:
    # The second shot shows the sample in other colours: any texture taken across the cut would show.
    other = [np.ascontiguousarray(f[..., ::-1] // 2 + 60) for f in frames[:12]]
    source = write_video(tmp_path / "in.mp4", [*frames[:12], *other])
    report = personatalk.dub(source, speech, tmp_path / "out.mp4", models=models)
    assert [shot["first"] for shot in report.shots] == [0, 12]
    old, new = decoded(source), decoded(tmp_path / "out.mp4")
    for i in (11, 12):
        assert np.abs(old[i].astype(float).mean(axis=(0, 1)) - new[i].mean(axis=(0, 1))).max() < 3


def test_silence_rests_the_mouth(tmp_path: Path, models: Models, clip: Path, frames: list[np.ndarray]) -> None:
    quiet = write_sound(tmp_path / "quiet.wav", np.zeros(16000))
    personatalk.dub(clip, quiet, tmp_path / "out.mp4", models=models)
    assert openings(clip).std() > 0.01
    assert openings(tmp_path / "out.mp4").std() < 0.3 * openings(clip).std()


@pytest.mark.parametrize(
    ("policy", "seconds", "count", "dubbed"),
    [
        ("video", 0.4, SHORT, SHORT),
        ("video", 2.0, SHORT, SHORT),
        ("video-original", 0.4, SHORT, 10),
        ("shortest", 0.4, 10, 10),
        ("pingpong", 1.4, 35, 35),
    ],
)
def test_length_policies(
    tmp_path: Path, models: Models, clip: Path, policy: str, seconds: float, count: int, dubbed: int
) -> None:
    samples = np.tile(read_speech(sample_files()[1]), 2)[: int(16000 * seconds)]
    said = write_sound(tmp_path / "said.wav", samples)
    options = DubOptions(length=policy, encode=EncodeOptions(preset="ultrafast"))  # type: ignore[arg-type]
    report = personatalk.dub(clip, said, tmp_path / "out.mp4", models=models, options=options)
    assert (report.frames, report.dubbed) == (count, dubbed)
    assert report.generated == [[0.0, pytest.approx(dubbed / 25)]]
    assert read_credentials(tmp_path / "out.mp4").ranges == [[0.0, pytest.approx(dubbed / 25, abs=1e-3)]]
    assert len(frame_times(tmp_path / "out.mp4")) == count
    assert probe_speech(tmp_path / "out.mp4").seconds <= count / 25 + 0.05


def test_variable_rate_and_rotation_survive(
    tmp_path: Path, models: Models, frames: list[np.ndarray], speech: Path
) -> None:
    times = np.cumsum([0.02 + 0.03 * (i % 3) for i in range(SHORT)]).tolist()
    turned = [np.ascontiguousarray(np.rot90(f)) for f in frames]
    source = write_video(tmp_path / "in.mp4", turned, times, clockwise=90)
    report = personatalk.dub(source, speech, tmp_path / "out.mp4", models=models)
    assert report.dubbed == SHORT
    assert frame_times(tmp_path / "out.mp4") == pytest.approx(times, abs=1e-4)
    upright = decoded(tmp_path / "out.mp4")[5]
    assert np.mean((upright[:100].astype(float) - frames[5][:100]) ** 2) < 20


class Cut(KeyboardInterrupt):
    """The run is cut off."""


def test_a_run_that_was_cut_off_goes_on_and_gives_the_same_pictures(
    tmp_path: Path, models: Models, clip: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "LENGTH", 5)
    unbroken = personatalk.dub(clip, speech, tmp_path / "whole.mp4", models=models)

    def cut_at(frame: int) -> None:
        def progress(stage: str, steps: int, total: int) -> None:
            seen.extend([stage] * steps)
            if seen.count("dubbing") == frame:
                raise Cut

        seen: list[str] = []
        with pytest.raises(Cut):
            personatalk.dub(clip, speech, tmp_path / "broken.mp4", models=models, progress=progress)
        assert not (tmp_path / "broken.mp4").exists()

    cut_at(8)
    cut_at(14)
    told: list[str] = []
    report = personatalk.dub(
        clip, speech, tmp_path / "broken.mp4", models=models, progress=lambda stage, steps, total: told.append(stage)
    )
    assert report.resumed == 10 and report.frames == report.dubbed == SHORT
    assert report.lip_references == unbroken.lip_references != []
    assert "faces" not in told, "the analysis was made again"
    assert frame_times(tmp_path / "broken.mp4") == frame_times(tmp_path / "whole.mp4")
    for a, b in zip(decoded(tmp_path / "whole.mp4"), decoded(tmp_path / "broken.mp4"), strict=True):
        np.testing.assert_array_equal(a, b)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken.mp4", "whole.mp4"]


def test_the_original_mouth_returns_in_silence_if_asked(
    tmp_path: Path, models: Models, frames: list[np.ndarray], speech: Path
) -> None:
    source = write_video(tmp_path / "in.mp4", frames * 3)
    said = read_speech(speech)[: 16000 * 12 // 25]
    paused = write_sound(tmp_path / "said.wav", np.concatenate([said, np.zeros(16000 * 36 // 25), said]))
    options = DubOptions(silence="original", encode=EncodeOptions(preset="ultrafast"))
    report = personatalk.dub(source, paused, tmp_path / "out.mp4", models=models, options=options)
    first, second = report.passed_through
    assert first.reason == second.reason == "original mouth asked for"
    assert 12 <= first.first < 24 and 40 <= first.last < 50 and second.first >= 60
    old, new = decoded(source), decoded(tmp_path / "out.mp4")
    assert np.mean((old[32].astype(float) - new[32]) ** 2) < 6


def test_a_changed_choice_starts_anew(
    tmp_path: Path, models: Models, clip: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "LENGTH", 5)

    def stop(stage: str, steps: int, total: int) -> None:
        done.extend([stage] * steps)
        if done.count("dubbing") == 12:
            raise Cut

    done: list[str] = []
    with pytest.raises(Cut):
        personatalk.dub(clip, speech, tmp_path / "out.mp4", models=models, progress=stop)
    taken_over = []

    def look(stage: str, steps: int, total: int) -> None:
        if stage == "dubbing":
            taken_over.append(steps)
            raise Cut

    for options in (DubOptions(), DubOptions(style_strength=0.5), DubOptions(style_strength=0.5)):
        with pytest.raises(Cut):
            personatalk.dub(clip, speech, tmp_path / "out.mp4", models=models, options=options, progress=look)
    assert taken_over == [10, 0, 0]


def test_style_strength_widens_the_mouths_motion(tmp_path: Path, models: Models, clip: Path, speech: Path) -> None:
    spread = []
    for strength in (0.0, 1.5):
        options = DubOptions(style_strength=strength, encode=EncodeOptions(preset="ultrafast"))
        output = tmp_path / f"{strength}.mp4"
        personatalk.dub(clip, speech, output, models=models, options=options)
        spread.append(openings(output).std())
    assert 1.3 * spread[0] < spread[1]
    for wrong in (-0.1, 1.6, float("nan")):
        with pytest.raises(PersonaTalkError, match="style strength"):
            personatalk.dub(
                clip,
                speech,
                tmp_path / "x.mp4",
                models=models,
                options=DubOptions(style_strength=wrong),
            )


def test_an_output_that_is_the_input_is_refused(models: Models, clip: Path, speech: Path) -> None:
    before = clip.read_bytes()
    with pytest.raises(MediaError):
        personatalk.dub(clip, speech, clip, models=models)
    assert clip.read_bytes() == before


def test_real_clips_run_through(shared: Path, tmp_path: Path, models: Models) -> None:
    source = shared / "clips" / "val" / "lipnet_pytorch_s31__bgiq6p.mpg"
    report = personatalk.dub(source, source, tmp_path / "out.mp4", models=models)
    assert report.dubbed == report.frames == report.source_frames
    assert np.corrcoef(openings(source), openings(tmp_path / "out.mp4"))[0, 1] > 0.3
