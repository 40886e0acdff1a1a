"""Subtitles in SubRip (SRT) and WebVTT files, read with FFmpeg."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av

from ..errors import CueError, MediaError
from .container import open_input, reason_of

# FFmpeg's names of the formats.
FORMATS = ("srt", "webvtt")


@dataclass(frozen=True)
class Subtitle:
    """A subtitle.

    Attributes:
        number: Its place in the file, from 1.
        start: Seconds.
        end: Seconds, after `start`.
        text: Its lines, with the tags of the format.
    """

    number: int
    start: float
    end: float
    text: str


def read_subtitles(path: Path) -> list[Subtitle]:
    """Read a file of subtitles, in any encoding of Unicode.

    Returns:
        The subtitles in order of their starts, at least one.

    Raises:
        CueError: The file is missing, of another format, or damaged.
    """
    try:
        with open_input(path) as container:
            if container.format.name not in FORMATS:
                raise CueError(f"{path}: no subtitles in SRT or WebVTT; convert them first")
            packets = [(p.pts, p.duration or 0, p.time_base, bytes(p)) for p in container.demux() if p.size]
    except MediaError as error:
        raise CueError(str(error)) from error
    except av.error.FFmpegError as error:
        raise CueError(f"{path}: the subtitles cannot be read ({reason_of(error)})") from error
    found = []
    for number, (pts, ticks, base, content) in enumerate(packets, 1):
        text = content.decode("utf-8", "replace")
        where = f"{path}: subtitle {number}"
        if pts is None or base is None or "-->" in text:
            raise CueError(f"{where}: its times are damaged, or those of the one after it")
        if ticks <= 0 or pts < 0:
            raise CueError(f"{where}: it ends at {float((pts + ticks) * base):g} s, not after its start")
        found.append(Subtitle(number, float(pts * base), float((pts + ticks) * base), text))
    if not found:
        raise CueError(f"{path}: no subtitle in this file")
    return found
