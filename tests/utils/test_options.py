"""Options that are declared once: what their fields' types and declarations come to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from personatalk.errors import PersonaTalkError
from personatalk.utils.options import check_options, option, option_values, options_of, options_table, with_options


@dataclass(frozen=True)
class Lens:
    width: float = option(2.5, "width of the lens", least=1, most=4, group="optics")
    clean: bool = option(True, "do not wipe it", name="wiping", group="optics")
    serial: int = 7

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class Camera:
    colour: Literal["red", "grey"] = option("grey", "its colour")
    lens: Lens = field(default_factory=Lens)
    film: Path | str | None = option(None, "the film", otherwise="none", metavar="FILE")
    shots: int | None = option(None, "how many", least=1)

    def __post_init__(self) -> None:
        check_options(self)


def test_options_come_from_the_fields_types_and_those_of_nested_dataclasses() -> None:
    colour, width, wiping, film, shots = options_of(Camera)
    assert (colour.kind, colour.choices, colour.placeholder) == (str, ("red", "grey"), "{red,grey}")
    assert (width.kind, width.default_words, width.group) == (float, "2.5", "optics")
    assert (wiping.kind, wiping.name, wiping.flag) == (bool, "wiping", "--no-wiping")
    assert (film.kind, film.placeholder, film.default_words) == (Path, "FILE", "none")
    assert (shots.kind, shots.placeholder) == (int, "SHOTS")


def test_values_are_read_and_replaced_by_name() -> None:
    camera = with_options(Camera(), {"width": 3.0, "film": Path("f"), "wiping": False, "other": 1})
    assert camera == Camera("grey", Lens(3.0, False), Path("f"))
    assert option_values(camera) == {
        "colour": "grey",
        "width": 3.0,
        "wiping": False,
        "film": Path("f"),
        "shots": None,
    }


@pytest.mark.parametrize(
    ("name", "word", "value"),
    [
        ("colour", "red", "red"),
        ("width", "3", 3.0),
        ("wiping", "No", False),
        ("film", "a b.mp4", Path("a b.mp4")),
        ("shots", "12", 12),
    ],
)
def test_text_becomes_a_value(name: str, word: str, value: object) -> None:
    (found,) = (o for o in options_of(Camera) if o.name == name)
    assert found.parse(word) == value
    assert isinstance(found.parse(word), found.kind)


@pytest.mark.parametrize(
    ("name", "word", "said"),
    [
        ("colour", "blue", "'blue' is none of red, grey"),
        ("width", "wide", "'wide' is not a number"),
        ("width", "inf", "'inf' is not a number"),
        ("wiping", "maybe", "'maybe' is neither yes nor no"),
        ("film", "a\0b", "is not the name of a file"),
        ("shots", "1.5", "'1.5' is not a whole number"),
    ],
)
def test_text_that_is_no_value_is_refused(name: str, word: str, said: str) -> None:
    (found,) = (o for o in options_of(Camera) if o.name == name)
    with pytest.raises(ValueError, match=said):
        found.parse(word)


def test_values_out_of_range_are_refused_where_the_options_are_made() -> None:
    with pytest.raises(PersonaTalkError, match="width 5: give one from 1 to 4"):
        with_options(Camera(), {"width": 5.0})
    with pytest.raises(PersonaTalkError, match="shots 0: give 1 or more"):
        Camera(shots=0)
    with pytest.raises(PersonaTalkError, match="colour 'blue': give one of red, grey"):
        Camera(colour="blue")  # type: ignore[arg-type]


def test_a_table_has_a_row_for_each_option() -> None:
    table = options_table(["optics"], Camera)
    assert table.index("## Optics") < table.index("## Options")
    assert "| `--width WIDTH` | 2.5 | width of the lens |" in table
    assert "| `--no-wiping` |  | do not wipe it |" in table
