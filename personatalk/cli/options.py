"""Commands of the command line, and their options made from those that the package declares."""

from __future__ import annotations

import argparse
import importlib.util
import textwrap
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Protocol

from ..errors import PersonaTalkError
from ..utils.options import Option, options_of, parse_number

# Columns of the longest line of a description.
HELP_WIDTH = 100


class Commands(Protocol):
    """The commands of a parser, as `add_subparsers` returns them."""

    def add_parser(self, name: str, **settings: Any) -> argparse.ArgumentParser:
        """Add a command."""


class Group(Protocol):
    """Arguments under a heading, as `add_argument_group` returns them."""

    def add_argument(self, *names: str, **settings: Any) -> Any:
        """Add an argument."""

    def add_mutually_exclusive_group(self, *, required: bool = False) -> Any:
        """Add a group of arguments of which one is given."""


class Groups(dict[str, Group]):
    """The groups of a command by their headings; one is made when it is first used."""

    def __init__(self, command: argparse.ArgumentParser, *headings: str) -> None:
        super().__init__({heading: command.add_argument_group(heading) for heading in headings})
        self.command = command

    def __missing__(self, heading: str) -> Group:
        """Make a group."""
        self[heading] = self.command.add_argument_group(heading)
        return self[heading]


def add_command(
    commands: Commands, name: str, help: str, description: str, examples: Collection[str] = ()
) -> argparse.ArgumentParser:
    """Add a command.

    Args:
        commands: Where to add it.
        name: Its name.
        help: What it does, in a few words.
        description: What it does, in sentences.
        examples: Command lines to show below its options.
    """
    return commands.add_parser(
        name,
        help=help,
        description=textwrap.fill(description, HELP_WIDTH),
        epilog="\n  ".join(["examples:", *examples]) if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_options(groups: Groups, settings: type, names: Collection[str] | None = None) -> None:
    """Add the options of a dataclass to a command.

    Args:
        groups: The command's groups.
        settings: The dataclass.
        names: Names of the options to add; all where None.
    """
    for option in options_of(settings):
        if names is None or option.name in names:
            add_option(groups[option.group], option)


def add_option(group: Group, option: Option) -> None:
    """Add an option to a group of a command."""
    settings = {"dest": option.name, "default": option.default, "help": help_text(option)}
    if option.kind is bool:
        group.add_argument(option.flag, action="store_const", const=not option.default, **settings)
    else:
        group.add_argument(option.flag, type=reader(option), metavar=option.placeholder, **settings)


def help_text(option: Option) -> str:
    """Return an option's meaning and default as argparse wants them."""
    default = f" (default: {option.default_words})" if option.default_words else ""
    return (option.help + default).replace("%", "%%")


def reader(option: Option) -> Callable[[str], Any]:
    """Return the function with which argparse reads an option's value."""

    def read(word: str) -> Any:
        try:
            return option.parse(word)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def at_least(least: float, kind: type = int) -> Callable[[str], Any]:
    """Return the function with which argparse reads a number of a type that is not smaller than another."""

    def read(word: str) -> Any:
        try:
            number = parse_number(kind, word)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        if number < least:
            raise argparse.ArgumentTypeError(f"{word} is not {least} or more")
        return number

    return read


def add_morphable(group: Group) -> None:
    """Add the option of a morphable model of ours, where the Basel Face Model is not taken."""
    group.add_argument("--morphable", type=Path, metavar="FILE", help="morphable model (default: the package's)")


def add_quiet(group: Group, what: str = "no progress bars") -> None:
    """Add the option that keeps a command quiet."""
    group.add_argument("--quiet", action="store_true", help=what)


def require(extra: str, *modules: str) -> None:
    """Make sure that the modules of an extra are installed.

    Raises:
        PersonaTalkError: One is missing.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise PersonaTalkError(f"this needs {', '.join(missing)}; install: pip install 'personatalk[{extra}]'")
