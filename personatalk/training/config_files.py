"""Reads the configuration of a training from YAML files and `FIELD=VALUE` changes, strictly."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from ..errors import PersonaTalkError
from .config import TrainConfig

Config = TypeVar("Config", bound=TrainConfig)

# Brackets of a file at most. Fields hold flat lists; on deep nesting the YAML parser takes seconds for each kilobyte.
MAX_BRACKETS = 1000


class _Loader(yaml.SafeLoader):
    """Reads 5e-4 as a number, as YAML 1.2 does; PyYAML asks for a point in it."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?e[-+]?\d+$"), list("+-0123456789")
)


def read_config(kind: type[Config], path: Path | None = None, changes: Iterable[str] = ()) -> Config:
    """Read a configuration.

    Args:
        kind: The trainer's configuration; its defaults hold for all fields that are not named.
        path: YAML file with the fields that differ.
        changes: Fields to change after that, each "FIELD=VALUE" with a YAML value.

    Raises:
        PersonaTalkError: The file cannot be read, or a field is unknown, of the wrong type or out of range.
    """
    values = {} if path is None else _converted(kind, _read_table(path), str(path))
    sources = [] if path is None else [str(path)]
    for change in changes:
        sources.append(f"--set {change}")
        name, equals, value = change.partition("=")
        if not equals:
            raise PersonaTalkError(f"{sources[-1]}: write FIELD=VALUE")
        values |= _converted(kind, {name: _parse(value, sources[-1])}, sources[-1])
    try:
        return kind(**values)
    except PersonaTalkError as error:
        raise PersonaTalkError(f"{' and '.join(sources)}: {error}") from error


def _read_table(path: Path) -> dict[Any, Any]:
    try:
        table = _parse(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise PersonaTalkError(f"{path}: no readable configuration ({error})") from error
    if not isinstance(table, dict):
        raise PersonaTalkError(f"{path}: not a table of fields and values")
    return table


def _parse(text: str, where: str) -> Any:
    if text.count("[") + text.count("{") > MAX_BRACKETS:
        raise PersonaTalkError(f"{where}: not YAML of a configuration (more than {MAX_BRACKETS} brackets)")
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise PersonaTalkError(f"{where}: not YAML ({' '.join(str(error).split())})") from error


def _converted(kind: type[TrainConfig], table: dict[Any, Any], where: str) -> dict[str, Any]:
    """Return the values of a table as the types of their fields; a single value stands for a list of one."""
    types = typing.get_type_hints(kind)
    known = [each.name for each in fields(kind)]
    unknown = [str(name) for name in table if name not in known]
    if unknown:
        raise PersonaTalkError(f"{where}: unknown field {', '.join(unknown)}; known are {', '.join(known)}")
    values = {}
    for name, value in table.items():
        wants_list = typing.get_origin(types[name]) is tuple and not isinstance(value, list)
        try:
            values[name] = msgspec.convert([value] if wants_list else value, types[name])
        except msgspec.ValidationError as error:
            raise PersonaTalkError(f"{where}: field {name}: {error}") from error
    return values
