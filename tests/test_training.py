"""The trainers, for seconds, on the embedded sample: they run, and what they write loads."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from personatalk.geometry import MorphableModel
from personatalk.sample import sample_files
from personatalk.stage1 import GeometryGenerator
from personatalk.stage2 import Renderer
from personatalk.training import audio, prepare, stage1, stage2
from personatalk.training.data import Clip, load_clips


def run(module: object, monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["program", *map(str, words)])
    module.main()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    model = MorphableModel.load()
    for split in ("train__", "val__"):
        assert prepare.prepare(sample_files()[0], folder / f"{split}face.mp4", model) > 100
    return folder


def test_prepared_clips_hold_geometry_crops_and_sound(dataset: Path) -> None:
    (clip,) = load_clips(dataset, ("train__",), with_sound=True)
    assert clip.crops is not None
    assert len(clip.beta) == len(clip.pose) == len(clip.time) == len(clip.crops)
    assert clip.crops.shape[1:] == (256, 256, 3) and clip.crops.std() > 20
    assert len(clip.sound) / 16000 == pytest.approx(clip.time[-1], abs=0.3)
    assert np.abs(clip.sound).max() > 1000


def test_a_file_without_a_face_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    run(prepare, monkeypatch, tmp_path, "-o", tmp_path / "data")
    assert "left out" in capsys.readouterr().out
    assert list((tmp_path / "data").iterdir()) == []


def test_the_morphable_model_is_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "morphable.safetensors"
    run(prepare, monkeypatch, sample_files()[0], "-o", path, "--morphable")
    model, shipped = MorphableModel.load(path), MorphableModel.load()
    np.testing.assert_array_equal(model.triangles, shipped.triangles)
    eyes = model.mean[[33, 263]]
    np.testing.assert_allclose(eyes.mean(axis=0), 0, atol=0.02)
    assert np.linalg.norm(eyes[0] - eyes[1]) == pytest.approx(1, abs=0.05)


def test_stage_1_trains_resumes_and_loads(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (dataset, "-o", tmp_path, "--minutes", 0.05, "--batch", 2, "--variants", 1)
    run(stage1, monkeypatch, *words)
    run(stage1, monkeypatch, *words, "--lags", tmp_path / "lags.json")
    network = GeometryGenerator.load(tmp_path / "stage1.safetensors")
    network.check_fits(MorphableModel.load())


def test_stage_2_trains_resumes_and_loads(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (dataset, "-o", tmp_path, "--minutes", 0.05, "--size", 128, "--windows", 1)
    run(stage2, monkeypatch, *words)
    run(stage2, monkeypatch, *words)
    assert Renderer.load(tmp_path / "stage2.safetensors").config["size"] == 256


def test_the_audio_encoder_pretrains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = sample_files()[1].parent
    run(
        audio,
        monkeypatch,
        folder,
        "-o",
        tmp_path / "audio.safetensors",
        "--minutes",
        0.03,
        "--convolutions",
        0.02,
        "--batch",
        1,
    )
    stage1.starting_network(MorphableModel.load(), tmp_path / "audio.safetensors")


def test_targets_are_never_their_own_references(dataset: Path) -> None:
    clip = Clip.load(dataset / "train__face.mp4.npz")
    assert clip.crops is not None
    sampler = stage2.Sampler(MorphableModel.load(), [clip], 128, seed=3)
    for _ in range(3):
        window = sampler.draw()
        for target in window.targets:
            for references in (window.lip_textures, window.face_textures):
                assert (references - target).abs().flatten(1).mean(dim=1).min() > 0
