"""Options declared once: a dataclass field with its meaning and range, from which all other forms are made.

The command line, the columns of a batch list and the tables of the documentation read `options_of` a dataclass, and
its `__post_init__` calls `check_options`, so that a wrong value gives the same message wherever it comes from.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from ..errors import OptionError

# Key of the declaration in a field's metadata.
METADATA_KEY = "option"

# Words that stand for a switch in a table.
SWITCH = {"yes": True, "no": False, "true": True, "false": False, "1": True, "0": False}

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Option:
    """A value that a user may choose.

    Attributes:
        name: Its name in Python and in tables, such as `style_strength`.
        kind: Type of its values: str, int, float, bool or Path.
        default: Its value where the user chooses none.
        help: Its meaning, in one sentence.
        otherwise: What is taken where its default is None, in words.
        metavar: Placeholder of its value in a usage line; the choices, or the name in capitals, where it is "".
        group: Heading that it stands under.
        choices: The values that there are; empty where there are too many to list.
        least: Smallest number.
        most: Largest number.
        check_form: Raises a `PersonaTalkError` for a value that is of the right type, but not understood.
    """

    name: str
    kind: type
    default: Any
    help: str
    otherwise: str = ""
    metavar: str = ""
    group: str = "options"
    choices: tuple[str, ...] = ()
    least: float = -math.inf
    most: float = math.inf
    check_form: Callable[[Any], object] | None = None

    @property
    def flag(self) -> str:
        """The option's name on the command line, where a switch that is on is turned off."""
        return ("--no-" if self.default is True else "--") + self.name.replace("_", "-")

    @property
    def placeholder(self) -> str:
        """Word that stands for the value in a usage line."""
        return self.metavar or ("{" + ",".join(self.choices) + "}" if self.choices else self.name.upper())

    @property
    def default_words(self) -> str:
        """The default in words; "" where it needs none."""
        if self.default is None or self.kind is bool:
            return self.otherwise
        return f"{self.default:g}" if self.kind is float else str(self.default)

    def parse(self, word: str) -> Any:
        """Read a value from text; numbers are not yet held against the range.

        Raises:
            ValueError: The text is no such value; the message says so without the option's name.
        """
        if self.choices and word not in self.choices:
            raise ValueError(f"{word[:100]!r} is none of {', '.join(self.choices)}")
        if self.kind is bool:
            if word.lower() not in SWITCH:
                raise ValueError(f"{word[:100]!r} is neither yes nor no")
            return SWITCH[word.lower()]
        return parse_number(self.kind, word) if self.kind in (int, float) else parse_text(self.kind, word)

    def check(self, value: Any) -> None:
        """Make sure that a value is one of the choices, in the range and understood.

        Raises:
            OptionError: It is not; the message begins with the option's name.
        """
        if value is None and self.default is None:
            return
        words = self.name.replace("_", " ")
        if self.choices and value not in self.choices:
            raise OptionError(f"{words} {value!r}: give one of {', '.join(self.choices)}")
        if self.kind in (int, float) and not (math.isfinite(value) and self.least <= value <= self.most):
            raise OptionError(f"{words} {value:g}: give {self.range()}")
        if self.check_form is not None:
            self.check_form(value)

    def range(self) -> str:
        """Describe the numbers that are allowed."""
        least, most = (f"{bound:g}" if math.isfinite(bound) else "" for bound in (self.least, self.most))
        return f"one from {least} to {most}" if least and most else f"{least} or more" if least else "a finite number"


def parse_number(kind: type, word: str) -> int | float:
    """Read a finite number of a type, int or float.

    Raises:
        ValueError: The text is no such number.
    """
    try:
        number: int | float = kind(word)
        if math.isfinite(number):
            return number
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{word[:100]!r} is not a {'whole ' if kind is int else ''}number")


def parse_text(kind: type, word: str) -> Any:
    """Read a text or a path.

    Raises:
        ValueError: The text cannot be a path.
    """
    if kind is Path and "\0" in word:
        raise ValueError(f"{word[:100]!r} is not the name of a file")
    return kind(word)


def option(default: Any, help: str, *, name: str = "", **declaration: Any) -> Any:
    """Declare a field of a dataclass to be an option.

    Args:
        default: The field's default value.
        help: The option's meaning, in one sentence, without its default value.
        name: Name of the option where it is not the field's.
        **declaration: `otherwise`, `metavar`, `group`, `least`, `most` and `check_form` of `Option`.
    """
    return dataclasses.field(default=default, metadata={METADATA_KEY: {"name": name, "help": help, **declaration}})


@functools.cache
def options_of(settings: type) -> tuple[Option, ...]:
    """List the options of a dataclass, those of nested dataclasses included, in the order of the fields.

    A field's type gives the option's: `Literal` its choices, `Path` in a union a file. A field that is neither an
    option nor a dataclass is left out; one that only overrides the default of a base class keeps its declaration.
    """
    hints = typing.get_type_hints(settings)
    found: list[Option] = []
    for field in dataclasses.fields(settings):
        if dataclasses.is_dataclass(hints[field.name]):
            found += options_of(hints[field.name])
        elif (declared := _declaration(settings, field.name)) is not None:
            found.append(_option(field, hints[field.name], declared))
    return tuple(found)


def _declaration(settings: type, name: str) -> Mapping[str, Any] | None:
    """Return the declaration of a field, that of a base class where the field only overrides the default."""
    for base in settings.__mro__:
        field = getattr(base, "__dataclass_fields__", {}).get(name)
        if field is not None and METADATA_KEY in field.metadata:
            return field.metadata[METADATA_KEY]
    return None


def _option(field: dataclasses.Field[Any], hint: Any, declared: Mapping[str, Any]) -> Option:
    """Return the option that a field declares."""
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    kinds = [kind for kind in (typing.get_args(hint) if union else [hint]) if kind is not type(None)]
    choices = typing.get_args(kinds[0]) if typing.get_origin(kinds[0]) is Literal else ()
    kind = str if choices else Path if Path in kinds else kinds[0]
    declaration = {**declared}
    name = declaration.pop("name") or field.name
    return Option(name=name, kind=kind, default=field.default, choices=choices, **declaration)


def option_values(settings: Any) -> dict[str, Any]:
    """Return the values of a dataclass's options by their names."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            values |= option_values(value)
        elif METADATA_KEY in field.metadata:
            values[field.metadata[METADATA_KEY]["name"] or field.name] = value
    return values


def with_options(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """Return a copy of a dataclass with other values of some of its options.

    Args:
        settings: The dataclass.
        values: New values by the options' names, those of nested dataclasses included; other names are ignored.

    Raises:
        OptionError: A value is not allowed.
    """
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        value = getattr(settings, field.name)
        name = field.metadata.get(METADATA_KEY, {}).get("name") or field.name
        if dataclasses.is_dataclass(value):
            changes[field.name] = with_options(value, values)
        elif METADATA_KEY in field.metadata and name in values:
            changes[field.name] = values[name]
    return dataclasses.replace(settings, **changes)  # type: ignore[type-var]


def check_options(settings: Any) -> None:
    """Hold a dataclass's own options against their ranges; nested dataclasses do it themselves.

    Raises:
        OptionError: A value is not allowed.
    """
    kind: type = type(settings)
    known = {option.name: option for option in options_of(kind)}
    for field in dataclasses.fields(settings):
        declared = _declaration(kind, field.name)
        if declared is not None:
            known[declared["name"] or field.name].check(getattr(settings, field.name))


def options_table(headings: Iterable[str], *kinds: type) -> str:
    """Return the options of dataclasses as tables in Markdown, one for each group.

    Args:
        headings: Groups that come first, in this order.
        *kinds: The dataclasses.
    """
    groups: dict[str, list[Option]] = {heading: [] for heading in headings}
    for option in (option for kind in kinds for option in options_of(kind)):
        groups.setdefault(option.group, []).append(option)
    return "\n".join(_table(group, options) for group, options in groups.items())


def _table(group: str, options: list[Option]) -> str:
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for option in options:
        usage = option.flag if option.kind is bool else f"{option.flag} {option.placeholder}"
        rows.append(f"| `{usage}` | {option.default_words} | {option.help} |")
    return "\n".join([f"## {group[0].upper()}{group[1:]}", "", *rows, ""])
