"""Configuration of the trainers: YAML files into dataclasses, strictly.

The file of every trainer in `configs/` holds all its fields with their meaning; a file of your own needs to name only
what differs, and `--set FIELD=VALUE` changes single fields.
"""

from __future__ import annotations

import reprlib
import typing
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ..errors import PersonaTalkError


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What all trainers share; their meaning is in the YAML files."""

    dataset: list[str]
    train: list[str]
    val: list[str]
    seed: int
    steps: int
    batch: int
    rate: float
    warmup: int
    final_rate: float
    weight_decay: float
    clip: float
    average: float
    precision: str
    log_every: int
    validate_every: int
    save_every: int


Config = TypeVar("Config", bound=TrainConfig)
MOST_BRACKETS = 1000
"""Fields hold at most flat lists; on deep nesting the YAML parser takes seconds for each kilobyte."""
FOLDER = Path(__file__).parent / "configs"


def read(kind: type[Config], default: str, path: Path | None = None, changes: Iterable[str] = ()) -> Config:
    """Read a configuration.

    Args:
        kind: The trainer's configuration.
        default: Name of the file in `configs/` that holds all its fields.
        path: A file with the fields that differ.
        changes: Fields to change after that, each "FIELD=VALUE" with a YAML value.

    Raises:
        PersonaTalkError: A file cannot be read, a field is unknown, missing or of the wrong type.
    """
    values, changes = _table(FOLDER / f"{default}.yaml"), list(changes)
    where = " and ".join([*([str(path)] if path is not None else []), *(f"--set {change}" for change in changes)])
    if path is not None:
        _update(values, _table(path), str(path))
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise PersonaTalkError(f"--set {change}: write FIELD=VALUE")
        _update(values, {name: _parsed(value, f"--set {change}")}, "--set")
    return _checked(kind, values, where or "configuration")


def _table(path: Path) -> dict[str, Any]:
    try:
        table = _parsed(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise PersonaTalkError(f"{path}: no readable configuration ({error})") from error
    if not isinstance(table, dict):
        raise PersonaTalkError(f"{path}: not a table of fields and values")
    return table


def _parsed(text: str, where: str) -> Any:
    if text.count("[") + text.count("{") > MOST_BRACKETS:
        raise PersonaTalkError(f"{where}: not YAML of a configuration (more than {MOST_BRACKETS} brackets)")
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise PersonaTalkError(f"{where}: not YAML ({' '.join(str(error).split())})") from error


def _update(values: dict[str, Any], changes: dict[str, Any], where: str) -> None:
    unknown = [str(name) for name in changes if name not in values]
    if unknown:
        raise PersonaTalkError(f"{where}: unknown field {', '.join(unknown)}; known are {', '.join(values)}")
    values.update(changes)


def _checked(kind: type[Config], values: dict[str, Any], where: str) -> Config:
    """Build the configuration with every value of its field's type."""
    types = typing.get_type_hints(kind)
    for name in ("batch", "log_every", "validate_every", "save_every"):
        if isinstance(values[name], int) and values[name] < 1:
            raise PersonaTalkError(f"{where}: field {name}: {values[name]} is less than 1")
    typed = {
        field.name: _typed(f"{where}: field {field.name}", values[field.name], types[field.name])
        for field in fields(kind)
    }
    return kind(**typed)


def _typed(where: str, value: Any, wanted: Any) -> Any:
    choices = typing.get_args(wanted)
    if type(None) in choices:
        return None if value is None else _typed(where, value, choices[0])
    if typing.get_origin(wanted) is list:
        values = value if isinstance(value, list) else [value]
        return [_typed(where, v, choices[0]) for v in values]
    if wanted is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        # YAML takes 5e-4 for text.
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        # Not repr: a few hundred bytes of YAML that refer to themselves make gigabytes of it.
        raise PersonaTalkError(f"{where}: {reprlib.repr(value)} is not of type {wanted.__name__}")
    return value
