"""Cues: which person says what and when, and the text file of them, which looks like SubRip subtitles."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import CueError, FaceError, OutputError
from ..faces.choice import FaceImage, parse_choice
from ..utils.files import atomic_write, is_file

# Hours (may be left out), minutes, seconds and their decimals after a comma or a point.
CLOCK = re.compile(r"(?:(\d{1,3}):)?([0-5]?\d):([0-5]?\d)(?:[,.](\d{1,6}))?")

# The lines of a cue after its times.
FIELDS = ("face", "speech", "from")


@dataclass(frozen=True)
class Cue:
    """One stretch of time in which one person speaks.

    Attributes:
        start: Seconds on the video's presentation timeline.
        end: Seconds, after `start`.
        face: The face as `--face` takes it; None for the face that is followed without it, or for the largest where
            other cues name faces. The path of an image begins at the cue file's folder.
        speech: Audio file, or a video whose audio is taken.
        offset: Seconds of `speech` that are skipped.
        where: Cue file and line, for messages.
    """

    start: float
    end: float
    face: str | None
    speech: Path
    offset: float = 0.0
    where: str = field(default="", compare=False)


@dataclass(frozen=True)
class _Line:
    """A line of a cue file that is neither empty nor a comment."""

    path: Path
    number: int
    text: str

    def error(self, message: str) -> CueError:
        """Return an error that names this line."""
        return CueError(f"{self.path}:{self.number}: {message}")


def read_cues(path: Path | str) -> list[Cue]:
    """Read a cue file.

    Args:
        path: UTF-8 text, with or without a byte order mark, with any line ends.

    Returns:
        At least one cue, in order of their starts.

    Raises:
        CueError: The file cannot be read, a line is not understood, an audio file does not exist, or two cues of one
            face overlap. The message names file and line.
    """
    path = Path(path)
    cues = [_cue(block) for block in _blocks(path)]
    if not cues:
        raise CueError(f"{path}: no cue in this file; docs/cues.md shows how one is written")
    cues.sort(key=lambda cue: cue.start)
    refuse_overlaps(cues, [cue.face for cue in cues])
    return cues


def write_cues(path: Path, cues: Sequence[Cue]) -> None:
    """Write a cue file that `read_cues` reads.

    Args:
        path: The file; an existing one is replaced. Files in its folder are named from there, others in full.
        cues: The cues.

    Raises:
        CueError: A file or a time cannot be told in a cue file.
        OutputError: The file cannot be written.
    """
    blocks = [_block(path.absolute().parent, number, cue) for number, cue in enumerate(cues, 1)]
    try:
        with atomic_write(path) as draft:
            draft.write_text("\n\n".join(blocks) + "\n", encoding="utf-8", newline="\n")
            again = read_cues(draft)
    except (OSError, UnicodeEncodeError) as error:
        raise OutputError(f"{path}: the cues cannot be written ({error})") from error
    for cue, known in zip(cues, again, strict=True):
        if cue.speech.absolute() != known.speech.absolute():
            raise CueError(f"{cue.where}: {cue.speech}: a name that a cue file cannot hold; rename the file")


def _block(folder: Path, number: int, cue: Cue) -> str:
    face = cue.face
    if face is not None and isinstance(choice := parse_choice(face), FaceImage):
        face = _from(folder, choice.path)
    lines = [str(number), f"{_clock_text(cue.start)} --> {_clock_text(cue.end)}"]
    lines += [] if face is None else [f"face: {face}"]
    lines += [f"speech: {_from(folder, cue.speech)}"]
    return "\n".join(lines + ([f"from: {_clock_text(cue.offset)}"] if cue.offset else []))


def _from(folder: Path, path: Path) -> str:
    """Return the name of a file as it is seen from a folder, in full where it lies outside."""
    full = path.absolute()
    return str(full.relative_to(folder) if full.is_relative_to(folder) else full)


def _clock_text(seconds: float) -> str:
    minutes, milliseconds = divmod(round(1000 * seconds), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02},{milliseconds % 1000:03}"


def refuse_overlaps(cues: Sequence[Cue], persons: Sequence[Hashable]) -> None:
    """Refuse cues in which somebody says two things at once.

    `read_cues` knows only the words that name a face; whether two of them mean one person shows in the video.

    Args:
        cues: In order of their starts.
        persons: The person of each cue.

    Raises:
        CueError: Two cues of one person overlap.
    """
    last: dict[Hashable, Cue] = {}
    for cue, person in zip(cues, persons, strict=True):
        before = last.get(person)
        if before is not None and cue.start < before.end:
            face = "no face is named" if cue.face is None else f"face {cue.face}"
            raise CueError(
                f"{cue.where}: begins at {cue.start:g} s, before the cue of {before.where} for the same face ({face})"
                f" ends at {before.end:g} s; move one of them"
            )
        last[person] = cue


def _blocks(path: Path) -> Iterator[list[_Line]]:
    """Yield the blocks of lines between empty lines, without comments."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise CueError(f"{path}: the cue file cannot be read ({error.strerror}); check the name") from error
    except UnicodeDecodeError as error:
        row = error.object[: error.start].count(b"\n") + 1
        raise CueError(f"{path}:{row}: not UTF-8 text; save the cue file as UTF-8") from error
    block: list[_Line] = []
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            block.append(_Line(path, number, stripped))
        elif not stripped and block:
            yield block
            block = []
    if block:
        yield block


def _cue(block: list[_Line]) -> Cue:
    first = block[0]
    if first.text.isdecimal():
        block = block[1:]
    if not block:
        raise first.error("a number without a cue; a line like 00:00:01,000 --> 00:00:04,500 follows it")
    times, *rest = block
    start, end = _times(times)
    found = _fields(rest)
    if "speech" not in found:
        raise times.error("this cue says nothing; add a line 'speech: FILE'")
    speech = _beside(found["speech"])
    if not is_file(speech):
        raise found["speech"].error(f"the audio file {speech} does not exist; its path begins at the cue file's folder")
    offset = _seconds(found["from"]) if "from" in found else 0.0
    face = _face(found["face"]) if "face" in found else None
    return Cue(start, end, face, speech, offset, f"{times.path}:{times.number}")


def _times(line: _Line) -> tuple[float, float]:
    parts = [part.strip() for part in line.text.split("-->")]
    clocks = [CLOCK.fullmatch(part) for part in parts]
    if len(parts) != 2 or None in clocks:
        raise line.error(f"{line.text!r} is not a cue's times, such as 00:00:01,000 --> 00:00:04,500")
    start, end = (_clock(clock) for clock in clocks if clock is not None)
    if end <= start:
        raise line.error(f"the cue ends at {end:g} s, not after its start at {start:g} s")
    return start, end


def _fields(lines: list[_Line]) -> dict[str, _Line]:
    """Return the values of a cue's lines by their names."""
    found: dict[str, _Line] = {}
    for line in lines:
        name, colon, value = line.text.partition(":")
        name, value = name.strip().lower(), value.strip()
        if not colon or name not in FIELDS:
            raise line.error(f"{line.text!r} is not understood; a cue has the lines 'face:', 'speech:' and 'from:'")
        if not value:
            raise line.error(f"'{name}:' says nothing")
        if name in found:
            raise line.error(f"a second '{name}:' in one cue; cues are parted by empty lines")
        found[name] = _Line(line.path, line.number, value)
    return found


def _seconds(line: _Line) -> float:
    clock = CLOCK.fullmatch(line.text)
    if clock is None:
        raise line.error(f"{line.text!r} is not a time, such as 00:00:03")
    return _clock(clock)


def _clock(match: re.Match[str]) -> float:
    hours, minutes, seconds, decimals = match.groups()
    return int(hours or 0) * 3600 + int(minutes) * 60 + float(f"{int(seconds)}.{decimals or 0}")


def _face(line: _Line) -> str:
    try:
        choice = parse_choice(line.text)
    except FaceError as error:
        raise line.error(str(error)) from error
    return str(_beside(line)) if isinstance(choice, FaceImage) else line.text


def _beside(line: _Line) -> Path:
    """Return a path that begins at the cue file's folder."""
    return line.path.parent / Path(line.text).expanduser()
