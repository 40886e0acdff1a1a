"""Configuration of the trainers."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from personatalk.cli import main
from personatalk.errors import PersonaTalkError
from personatalk.training.config import CONFIGS, Stage1Config, TrainConfig, as_yaml
from personatalk.training.config_files import read_config
from personatalk.utils.options import options_of


@pytest.mark.parametrize("kind", CONFIGS.values())
def test_every_field_is_printed_with_its_default_and_its_meaning(kind: type[TrainConfig]) -> None:
    printed = as_yaml(kind())
    assert [line.split(":")[0] for line in printed.splitlines()] == list(kind.__dataclass_fields__)
    for line, option in zip(printed.splitlines(), options_of(kind), strict=True):
        assert line.endswith(f"  # {option.help}") and len(option.help) > 5


@pytest.mark.parametrize("kind", CONFIGS.values())
def test_what_is_printed_is_read_again(kind: type[TrainConfig], tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(as_yaml(kind()))
    assert read_config(kind, tmp_path / "own.yaml") == kind()


def test_an_overridden_default_keeps_its_meaning() -> None:
    lr = {option.name: option for option in options_of(Stage1Config)}["lr"]
    assert lr.default == 5e-4 != TrainConfig().lr
    assert "learning rate" in lr.help


def test_help_lists_the_fields_of_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main.main(["train", "stage1", "--help"])
    said = capsys.readouterr().out
    assert all(option.name in said and option.help in said for option in options_of(Stage1Config))


def test_the_configuration_of_a_run_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.yaml").write_text("steps: 7\n")
    words = ["train", "stage2", "DATA", "--config", str(tmp_path / "own.yaml"), "--set", "width=8", "--print-config"]
    assert main.main(words) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["steps"], printed["width"], printed["datasets"]) == (7, 8, ["DATA"])
    assert printed["channels"] == 64


def test_a_file_and_changes_go_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("steps: 7\nlr: 5e-4\ntrain_splits: [a, b]\nbackbone: a/folder\n")
    config = read_config(Stage1Config, path, ["steps=9", "val_splits=c", "use_style=false"])
    assert config.steps == 9
    assert config.lr == 5e-4
    assert (config.train_splits, config.val_splits) == (("a", "b"), ("c",))
    assert config.backbone == "a/folder"
    assert config.use_style is False
    assert config.batch_size == Stage1Config().batch_size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour: red", "unknown field colour"),
        ("steps: 1.5", "field steps: Expected `int`, got `float`"),
        ("steps: true", "Expected `int`, got `bool`"),
        ("use_style: 1", "Expected `bool`, got `int`"),
        ("lr: fast", "Expected `float`, got `str`"),
        ("lr: .nan", r"own\.yaml: lr nan"),
        ("backbone: 3", "Expected `str"),
        ("batch_size: 0", r"own\.yaml: batch size 0: give 1 or more"),
        ("- a", "not a table"),
        ("a: [", "not YAML"),
        ("a: !!python/object:os.system x", "not YAML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(PersonaTalkError, match=message):
        read_config(Stage1Config, path)


def test_a_change_without_a_value_is_refused() -> None:
    with pytest.raises(PersonaTalkError, match="FIELD=VALUE"):
        read_config(Stage1Config, changes=["steps"])
