"""The trainers, for a few steps, on the embedded sample: they run from the command line, and their files load."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import HubertConfig, HubertModel

from personatalk.cli import main
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.sample import sample_files
from personatalk.stage1.network import GeometryGenerator
from personatalk.stage2.renderer import Renderer
from personatalk.training.data import prepare
from personatalk.training.data.layouts import VideoSource
from personatalk.training.data.options import PrepareOptions
from personatalk.training.data.shards import read_datasets

FEW = ("warmup_steps=1", "log_every=2", "validate_every=2", "save_every=2")


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sample prepared twice: to train on and to hold out."""
    folders = []
    for split in ("train", "val"):
        folder = tmp_path_factory.mktemp(split) / "data"
        options = PrepareOptions(split=split, min_sync=0, min_speech=0)
        source = VideoSource("sample", sample_files()[0], "nobody")
        manifest = prepare.prepare([source], folder, options, lambda work, s: map(work, s))
        assert manifest["clips"] == 1
        folders.append(folder)
    return folders[0], folders[1]


def train(network: str, data: tuple[Path, ...], run: Path, *changes: str, config: Path | None = None) -> int:
    words = ["train", network, *map(str, data), "-o", str(run), "--accelerator", "cpu"]
    words += [] if config is None else ["--config", str(config)]
    for change in (*FEW, *changes):
        words += ["--set", change]
    return main.main(words)


@pytest.mark.slow
def test_stage_1_trains_resumes_and_loads(datasets: tuple[Path, Path], tmp_path: Path) -> None:
    assert train("stage1", datasets, tmp_path, "batch_size=2", "num_variants=1", "steps=2") == 0
    first = GeometryGenerator.load(tmp_path / "last.safetensors")
    assert train("stage1", datasets, tmp_path, "batch_size=2", "num_variants=1", "steps=4") == 0
    second = GeometryGenerator.load(tmp_path / "last.safetensors")
    second.check_fits(MorphableModel.load())
    assert not torch.equal(first.decoder.weight, second.decoder.weight)
    assert (tmp_path / "best.safetensors").exists()
    assert list(tmp_path.glob("events.out.tfevents.*"))


@pytest.mark.slow
def test_stage_1_without_style_does_not_hear_of_it(datasets: tuple[Path, Path], tmp_path: Path) -> None:
    assert train("stage1", datasets, tmp_path, "batch_size=1", "num_variants=1", "steps=2", "use_style=false") == 0
    network = GeometryGenerator.load(tmp_path / "last.safetensors")
    offsets = torch.randn(1, 5, network.config["vertices"], 3)
    assert network.encode_style(offsets).abs().max() == 0


@pytest.mark.slow
def test_a_hubert_checkpoint_drops_in(datasets: tuple[Path, Path], tmp_path: Path) -> None:
    small = HubertConfig(
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        conv_dim=[16] * 7,
    )
    HubertModel(small).save_pretrained(tmp_path / "hubert")
    run = tmp_path / "run"
    words = ("batch_size=1", "num_variants=1", "steps=2", f"backbone={tmp_path / 'hubert'}")
    assert train("stage1", datasets, run, *words) == 0
    own = GeometryGenerator.load(run / "last.safetensors").audio.own
    assert own is not None and own.width == 24


@pytest.mark.slow
def test_stage_2_trains_with_all_its_losses(
    datasets: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "batch_size=1",
        "crop_size=64",
        "channels=16",
        "width=16",
        "steps=3",
        "adversarial_weight=0.1",
        "adversarial_start=0.3",
    )
    assert (
        train(
            "stage2",
            datasets,
            tmp_path / "run",
            *words,
            "perceptual_weight=0.1",
            "log_every=1",
        )
        == 0
    )
    told = capsys.readouterr().out.splitlines()
    named = [set(line.split()[2::2]) for line in told if line.startswith("step") and "val" not in line]
    early = {"pixels", "pyramid", "perceptual"}
    assert named == [early, *[early | {"adversarial", "matching", "discriminator"}] * 2]
    assert Renderer.load(tmp_path / "run" / "last.safetensors").config["size"] == 256


@pytest.mark.slow
@pytest.mark.parametrize("switch", ["use_lip", "use_face", "use_selection"])
def test_stage_2_trains_without_a_part(datasets: tuple[Path, Path], tmp_path: Path, switch: str) -> None:
    words = ("batch_size=1", "crop_size=64", "channels=16", "width=16", "steps=2", f"{switch}=false")
    assert train("stage2", datasets, tmp_path, *words) == 0
    assert json.loads((tmp_path / "config.json").read_text())[switch] is False
    if switch != "use_selection":
        assert Renderer.load(tmp_path / "last.safetensors").config[switch] is False


@pytest.mark.slow
def test_the_morphable_model_is_learned(tmp_path: Path) -> None:
    path = tmp_path / "morphable.safetensors"
    assert main.main(["train", "morphable", str(sample_files()[0]), "-o", str(path)]) == 0
    model, shipped = MorphableModel.load(path), MorphableModel.load()
    np.testing.assert_array_equal(model.triangles, shipped.triangles)
    eyes = model.mean[[33, 263]]
    np.testing.assert_allclose(eyes.mean(axis=0), 0, atol=0.02)
    assert np.linalg.norm(eyes[0] - eyes[1]) == pytest.approx(1, abs=0.05)


@pytest.mark.slow
def test_a_checkpoint_of_another_configuration_is_refused(
    datasets: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("batch_size=1", "crop_size=64", "width=16")
    assert train("stage2", datasets, tmp_path, *words, "channels=16", "steps=1") == 0
    assert train("stage2", datasets, tmp_path, *words, "channels=24", "steps=2") == 1
    assert "choose another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["stage1"], 2, "name a data set"),
        (["stage1", "nowhere"], 10, "no data set"),
        (["stage1", "nowhere", "--set", "colour=1"], 1, "unknown field colour"),
        (["stage1", "nowhere", "--set", "steps=many"], 1, "steps"),
        (["stage1", "nowhere", "--config", "none.yaml"], 1, "none.yaml"),
    ],
)
def test_a_training_that_cannot_begin_says_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.main(["train", *words, "-o", "run", "--accelerator", "cpu"]) == code
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_dataset_of_the_fixture_is_whole(datasets: tuple[Path, Path]) -> None:
    (row,) = read_datasets(datasets[:1], ["train"], with_audio=True)
    clip = row.load()
    assert len(clip.crops) == len(clip.beta) == len(clip.pose) == len(clip.time) == row.frames > 100
    assert clip.crops[3].shape == (256, 256, 3)
    assert clip.crops[3].std() > 20
    assert len(clip.audio) / 16000 == pytest.approx(clip.time[-1], abs=0.1)


@pytest.mark.slow
def test_all_variants_of_table_4_are_trained_and_compared(
    datasets: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["ablate", *map(str, datasets), "-o", str(tmp_path), "--accelerator", "cpu"]
    for change in ("steps=1", "batch_size=1", "num_variants=1", "warmup_steps=1"):
        words += ["--set-stage1", change]
    for change in ("steps=1", "batch_size=1", "crop_size=64", "channels=16", "width=16", "warmup_steps=1"):
        words += ["--set-stage2", change]
    assert main.main(words) == 0
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0] for line in table] == [
        *("| stage 1, full", "| w/o style", "| stage 2, full", "| w/o Face-Attention", "| w/o Lip-Attention"),
        "| w/o frame selection",
    ]
    figures = json.loads((tmp_path / "ablation.json").read_text())
    assert all(figures["w/o style"][name] != figures["stage 1, full"][name] for name in ("r", "articulation"))
    assert len({figures[name]["psnr"] for name in figures if "psnr" in figures[name]}) > 1
