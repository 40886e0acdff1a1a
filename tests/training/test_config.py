"""Configuration files of the trainers."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from personatalk.errors import PersonaTalkError
from personatalk.training.audio import AudioConfig
from personatalk.training.config import FOLDER, TrainConfig, read
from personatalk.training.features import FeatureConfig
from personatalk.training.stage1 import Stage1Config
from personatalk.training.stage2 import Stage2Config

KINDS = {"audio": AudioConfig, "features": FeatureConfig, "stage1": Stage1Config, "stage2": Stage2Config}


@pytest.mark.parametrize("name", KINDS)
def test_every_field_is_in_the_file_with_its_meaning(name: str) -> None:
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    written = {line.split(":")[0]: line for line in lines if line and not line.startswith("#")}
    assert set(written) == {field.name for field in fields(KINDS[name])}
    for line in written.values():
        assert len(line.partition(" # ")[2]) > 5, line


@pytest.mark.parametrize("name", KINDS)
def test_the_defaults_are_of_their_types(name: str) -> None:
    config = read(KINDS[name], name)
    assert isinstance(config, TrainConfig)
    assert isinstance(config.rate, float) and config.rate < 0.01
    assert isinstance(config.steps, int)


def test_a_file_and_changes_go_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("steps: 7\nrate: 5e-4\ntrain: [a, b]\naudio: x.safetensors\n")
    config = read(Stage1Config, "stage1", path, ["steps=9", "val=c", "use_style=false"])
    assert config.steps == 9
    assert config.rate == 5e-4
    assert (config.train, config.val) == (["a", "b"], ["c"])
    assert config.audio == "x.safetensors"
    assert config.use_style is False
    assert config.batch == read(Stage1Config, "stage1").batch


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour: red", "unknown field colour"),
        ("steps: 1.5", "field steps: 1.5 is not of type int"),
        ("steps: true", "not of type int"),
        ("use_style: 1", "not of type bool"),
        ("rate: fast", "not of type float"),
        ("audio: 3", "not of type str"),
        ("- a", "not a table"),
        ("a: [", "not YAML"),
        ("a: !!python/object:os.system x", "not YAML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(PersonaTalkError, match=message):
        read(Stage1Config, "stage1", path)


def test_a_change_without_a_value_is_refused() -> None:
    with pytest.raises(PersonaTalkError, match="FIELD=VALUE"):
        read(Stage1Config, "stage1", changes=["steps"])
