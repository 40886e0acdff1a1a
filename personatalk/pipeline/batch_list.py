"""The list of a batch: a CSV file that names a dub in each line.

Its cells are separated by commas, semicolons or tabs, its text is in UTF-8, UTF-16 or the Latin alphabet of Windows.
It has the columns `video`, `speech` and `output`, and if wanted `report` and the options of a dub by their names; an
empty cell takes the command's own option. Paths are relative to the list's folder.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import PersonaTalkError
from ..faces.choice import FaceImage, parse_choice
from ..utils.options import option_values, options_of, parse_text, with_options
from .options import DubOptions

# Columns that every list needs.
REQUIRED = ("video", "speech", "output")

# Files of a job, by column.
FILES = (*REQUIRED, "report")

# The other columns: options of a dub, by column.
OPTIONS = {option.name: option for option in options_of(DubOptions)}


# What may separate the cells of a list.
SEPARATORS = ",;\t"


@dataclass(frozen=True)
class BatchJob:
    """One dub.

    Attributes:
        line: Its line in the list.
        video: A video of a person speaking.
        speech: An audio file, or a video whose audio is taken.
        output: The file to write.
        report: Where to write what was done, as JSON; None for nowhere.
        options: Choices.
    """

    line: int
    video: Path
    speech: Path
    output: Path
    report: Path | None = None
    options: DubOptions = field(default_factory=DubOptions)

    def outputs(self) -> dict[str, Path]:
        """Return the files that it writes, by column."""
        return {"output": self.output} | ({"report": self.report} if self.report is not None else {})

    def inputs(self) -> dict[str, Path]:
        """Return the files that it reads, by column."""
        found = {"video": self.video, "speech": self.speech}
        choice = None if self.options.face is None else parse_choice(self.options.face)
        found |= {"face": choice.path} if isinstance(choice, FaceImage) else {}
        values = option_values(self.options)
        chosen = [name for name, option in OPTIONS.items() if option.kind is Path and values[name] is not None]
        return found | {name: Path(values[name]) for name in chosen}


def read_jobs(path: Path, options: DubOptions | None = None) -> list[BatchJob]:
    """Read a list of jobs.

    Args:
        path: The list.
        options: Choices where the list makes none.

    Raises:
        PersonaTalkError: The list cannot be read, has an unknown column or lacks one, or a line is not a job.
    """
    rows = read_rows(path)
    if not rows:
        raise PersonaTalkError(f"{path}: is empty; it needs the columns {', '.join(REQUIRED)}, and a job a line")
    (line, header), *cells = rows
    columns = [name.strip().lower().replace("-", "_") for name in header]
    known = [*FILES, *OPTIONS]
    if unknown := [repr(name) for name in columns if name not in known]:
        raise PersonaTalkError(
            f"{path}, line {line}: unknown column {', '.join(unknown)}; known are {', '.join(known)}"
        )
    if missing := [name for name in REQUIRED if name not in columns]:
        raise PersonaTalkError(f"{path}, line {line}: lacks the column {', '.join(missing)}")
    if len(set(columns)) < len(columns):
        raise PersonaTalkError(f"{path}, line {line}: names a column twice")
    if not cells:
        raise PersonaTalkError(f"{path}: names no job; write one in each line under the columns' names")
    if too_long := [number for number, row in cells if len(row) > len(columns)]:
        raise PersonaTalkError(
            f"{path}, line {too_long[0]}: has more cells than columns; put a name that holds the separator in quotes"
        )
    return [_job(path, number, dict(zip(columns, row, strict=False)), options or DubOptions()) for number, row in cells]


def read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return the lines of a CSV file that are not empty, each with its number.

    Spreadsheets write what they call CSV in several ways: separator and encoding are recognised.

    Raises:
        PersonaTalkError: The file cannot be read.
    """
    try:
        text = _decoded(path.read_bytes())
        head = next((line for line in text.splitlines() if line.strip()), "")
        separator = max(SEPARATORS, key=head.count)
        reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
        return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (OSError, ValueError, csv.Error) as error:
        raise PersonaTalkError(f"{path}: not a readable list ({error})") from error


def _decoded(content: bytes) -> str:
    """Return the text of a file in UTF-8, in UTF-16, or else in the Latin alphabet of Windows.

    Raises:
        ValueError: It is text in none of them.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    if 0 in content[:2]:
        return content.decode("utf-16-le" if content[1:2] == b"\0" else "utf-16-be")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252")


def _job(path: Path, line: int, cells: dict[str, str], options: DubOptions) -> BatchJob:
    """Return the job of a line, whose cells are given by column."""
    values: dict[str, Any] = {}
    for name in (*FILES, *OPTIONS):
        cell = cells.get(name, "").strip()
        if not cell and name in REQUIRED:
            raise PersonaTalkError(f"{path}, line {line}: {name} is empty")
        try:
            values |= {name: _value(name, cell, path.absolute().parent)} if cell else {}
        except (ValueError, PersonaTalkError) as error:
            raise PersonaTalkError(f"{path}, line {line}: {name} {error}") from None
    files = {name: values.pop(name) for name in FILES if name in values}
    try:
        return BatchJob(line, **files, options=with_options(options, values))
    except PersonaTalkError as error:
        raise PersonaTalkError(f"{path}, line {line}: {error}") from None


def _value(column: str, cell: str, folder: Path) -> Any:
    """Read a cell; paths in it are relative to a folder.

    Raises:
        ValueError, PersonaTalkError: The column holds no such value.
    """
    if column in FILES or OPTIONS[column].kind is Path:
        return folder / parse_text(Path, cell)
    if column == "face" and isinstance(parse_choice(cell), FaceImage):
        return str(folder / cell)
    return OPTIONS[column].parse(cell)


def check_jobs(path: Path, jobs: list[BatchJob], status: Path) -> None:
    """Make sure, before any work, that no job destroys what another one reads or writes.

    Args:
        path: The list.
        jobs: Its jobs.
        status: Where the table of what became of them is written.

    Raises:
        PersonaTalkError: Two files that are written are one, or one that is written is one that is read.
    """
    written = {_identity(status): "the status file"}
    for job in jobs:
        for name, file in job.outputs().items():
            what = f"the {name} of line {job.line}"
            if (other := written.setdefault(_identity(file), what)) != what:
                raise PersonaTalkError(f"{path}, line {job.line}: the {name} {file} is {other} as well; name another")
    for line, name, file in [(1, "list", path), *((j.line, n, f) for j in jobs for n, f in j.inputs().items())]:
        if (what := written.get(_identity(file), "")) != "":
            raise PersonaTalkError(f"{path}, line {line}: the {name} {file} would be replaced by {what}; name another")


def _identity(path: Path) -> str:
    """Return the same for all names of a file: also through links, and when it does not exist yet."""
    with suppress(OSError):
        found = path.stat()
        return f"{found.st_dev} {found.st_ino}"
    return os.path.realpath(path)
