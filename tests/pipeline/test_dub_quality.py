"""The quality of dubs of the embedded sample with the shipped weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from helpers.sample_clips import decoded, sample_frames, sample_speech, write_sound, write_video

import personatalk
from personatalk import DubOptions, Models, Report
from personatalk.faces.landmarks import open_tracker
from personatalk.media.audio import read_speech
from personatalk.media.options import EncodeOptions
from personatalk.media.probe import probe_speech
from personatalk.provenance.options import Provenance
from personatalk.provenance.verify import verify
from personatalk.sample import sample_files

pytestmark = pytest.mark.slow

# Frames of the clips that most tests dub.
SHORT = 24


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


def test_the_manifest_and_the_watermark_say_it_too(sample: Dubbed) -> None:
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


@pytest.mark.slow
def test_the_report_tells_the_sources_own_sync(sample: Dubbed) -> None:
    found = sample.report.source_sync
    assert found is not None and abs(found["offset_seconds"]) < 0.1
    assert found["r"] > 0.3 and found["seconds"] > 4


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


def test_style_strength_widens_the_mouths_motion(tmp_path: Path, models: Models, clip: Path, speech: Path) -> None:
    spread = []
    for strength in (0.0, 1.5):
        options = DubOptions(style_strength=strength, encode=EncodeOptions(preset="ultrafast"))
        output = tmp_path / f"{strength}.mp4"
        personatalk.dub(clip, speech, output, models=models, options=options)
        spread.append(openings(output).std())
    assert 1.3 * spread[0] < spread[1]


@pytest.mark.real_clips
def test_real_clips_run_through(shared: Path, tmp_path: Path, models: Models) -> None:
    source = shared / "clips" / "val" / "lipnet_pytorch_s31__bgiq6p.mpg"
    report = personatalk.dub(source, source, tmp_path / "out.mp4", models=models)
    assert report.dubbed == report.frames == report.source_frames
    assert np.corrcoef(openings(source), openings(tmp_path / "out.mp4"))[0, 1] > 0.3
