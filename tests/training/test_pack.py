"""Packs: small data sets for stage 2 with their crops as video."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.datasets import dataset, made_up
from helpers.synthetic import smooth_picture

from personatalk.cli.main import main
from personatalk.errors import MediaError
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.stage2.renderer import Renderer
from personatalk.training.data.crops import VideoCrops
from personatalk.training.data.pack import pack
from personatalk.training.data.shards import read_dataset

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(model: MorphableModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pack")
    clips = [made_up(model, f"{who}-{i}", frames=60, speaker=who) for who in ("ann", "ben") for i in range(2)]
    clips += [made_up(model, "short", frames=20), made_up(model, "cho-0", frames=50, split="val")]
    (folder / "data").mkdir()
    words = ["data", "pack", str(dataset(folder / "data", clips)), "-o", str(folder / "pack")]
    assert main([*words, "--frames", "160", "--held-out-frames", "45"]) == 0
    return folder


def test_a_pack_is_a_data_set_of_few_frames_for_every_speaker(made: Path) -> None:
    frames: dict[str, int] = {}
    for entry in read_dataset(made / "pack"):
        assert not entry.has_audio
        frames[entry.speaker] = frames.get(entry.speaker, 0) + entry.frames
    assert set(frames) == {"ann", "ben", "cho-0"}
    assert 40 <= frames["ann"] <= 80 and 40 <= frames["ben"] <= 80 and 40 <= frames["cho-0"] <= 45


def test_its_clips_are_those_of_the_data_set(made: Path) -> None:
    before = {entry.key: entry.load() for entry in read_dataset(made / "data")}
    for entry in read_dataset(made / "pack"):
        clip, whole = entry.load(), before[entry.key]
        np.testing.assert_array_equal(clip.beta, whole.beta[: entry.frames])
        np.testing.assert_array_equal(clip.pose, whole.pose[: entry.frames])
        for index in (0, entry.frames - 1):
            assert np.abs(clip.crops[index].astype(int) - whole.crops[index]).max() <= 3


def test_crops_as_video_keep_what_matters() -> None:
    images = [smooth_picture(256, 256, 3, seed) for seed in range(4)]
    crops = VideoCrops.encode(images)
    assert len(crops) == 4
    for image, read in zip(images, crops[:], strict=True):
        assert np.abs(image.astype(int) - read).mean() < 3
    with pytest.raises(MediaError, match="damaged"):
        VideoCrops(crops.data[:300], 4, "x.tar")[0]
    with pytest.raises(MediaError, match="4 crops instead of 5"):
        VideoCrops(crops.data, 5, "x.tar")[0]


def test_a_data_set_is_not_overwritten(made: Path, model: MorphableModel) -> None:
    with pytest.raises(MediaError, match="holds a data set"):
        pack(read_dataset(made / "data"), made / "pack", 100, 100, model)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_the_script_for_a_gpu_runs_on_any_processor(made: Path, tmp_path: Path) -> None:
    small = ["crop_size=64", "channels=16", "width=16", "targets_per_window=2", "workers=0"]
    fields = [word for field in small for word in ("--set", field)]
    words = [
        "sh",
        str(ROOT / "scripts" / "train_stage2_gpu.sh"),
        str(made / "pack"),
        str(tmp_path / "run"),
        "8",
        *fields,
    ]
    settings = {**os.environ, "STEPS": "4", "BATCH": "1", "PYTHON": sys.executable}
    subprocess.run(words, env=settings, check=True, timeout=300)
    assert Renderer.load(tmp_path / "run" / "best.safetensors").channels == 16
    assert (tmp_path / "run" / "real_and_rendered.png").stat().st_size > 1000
