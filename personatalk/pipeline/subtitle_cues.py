"""Cues from subtitles with speakers: who says which speech file when."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import CueError, OptionError
from ..media.probe import probe_speech
from ..media.subtitles import Subtitle, read_subtitles
from .cues import Cue, refuse_overlaps

# The speaker of a WebVTT cue: <v Name> or <v.class Name>.
VOICE = re.compile(r"<v(?:\.[^\s>]*)?[ \t]+([^>]+)>", re.IGNORECASE)

# Other tags, of WebVTT and SRT.
TAG = re.compile(r"<[^>]*>|\{\\[^}]*\}")

# The speaker at the start of a line: [Name], or up to three words and a colon.
BRACKETED = re.compile(r"\[([^\]]{1,60})\]\s*:?\s*(.*)")
NAMED = re.compile(r"([^\W\d_][\w.'\u2019-]*(?: [\w.'\u2019-]+){0,2})\s*(?::\s+|\uff1a\s*)(\S.*)")

# The dash before the words of one of two speakers.
DASH = re.compile(r"^[-\u2013\u2014]\s*")

# A speech file of one subtitle: its number, and anything after a separator.
NUMBERED = re.compile(r"0*(\d{1,9})(?:[ _.-].*)?")

# Suffixes of files beside speech that are none.
NO_SPEECH = (".srt", ".vtt", ".txt", ".json", ".csv", ".md")

# Finds the speech of a subtitle and a speaker: the file, and whether it is a track of the whole video.
FindSpeech = Callable[[int, "str | None"], "tuple[Path, bool]"]


@dataclass(frozen=True)
class Line:
    """Words of a subtitle.

    Attributes:
        subtitle: The subtitle.
        speaker: Who says them; None where it names nobody.
    """

    subtitle: Subtitle
    speaker: str | None


@dataclass
class SubtitleCues:
    """Cues made from subtitles.

    Attributes:
        cues: The cues, in order of their starts.
        speakers: Everybody who is named, in order of appearance.
        notes: What the user should know, one line each.
    """

    cues: list[Cue]
    speakers: list[str]
    notes: list[str] = field(default_factory=list)


def cues_of_subtitles(path: Path, find_speech: FindSpeech, faces: Mapping[str, str]) -> SubtitleCues:
    """Make cues from a file of subtitles.

    A speech that lasts longer than its subtitle is heard to its end, or to the next words of the same speaker.

    Args:
        path: SRT or WebVTT.
        find_speech: Finds the speech files; see `speech_in_folder` and `speech_in_list`.
        faces: The face of each speaker, as `--face` takes it. Not needed where there is one speaker only.

    Raises:
        CueError: The subtitles are not understood, or a speech is missing.
        OptionError: A face of nobody is given, or that of a speaker is missing.
    """
    lines, silent = spoken_lines(path, faces)
    speakers = list(dict.fromkeys(line.speaker for line in lines if line.speaker is not None))
    _check_faces(path, lines, speakers, faces)
    result = SubtitleCues([], speakers)
    if silent:
        result.notes.append(f"{silent} of {silent + len(lines)} subtitles have no words and were left out")
    tracks = set[int]()
    for line in lines:
        subtitle, face = line.subtitle, None if line.speaker is None else faces.get(line.speaker)
        speech, is_track = find_speech(subtitle.number, line.speaker)
        where = f"{path}: subtitle {subtitle.number}"
        offset = subtitle.start if is_track else 0.0
        if is_track:
            tracks.add(len(result.cues))
        result.cues.append(Cue(subtitle.start, subtitle.end, face, speech, offset, where))
    refuse_overlaps(result.cues, [cue.face for cue in result.cues])
    for number, cue in enumerate(result.cues):
        if number not in tracks:
            following = (other.start for other in result.cues[number + 1 :] if other.face == cue.face)
            result.cues[number] = _lengthened(cue, next(following, math.inf), result.notes)
    return result


def _lengthened(cue: Cue, limit: float, notes: list[str]) -> Cue:
    """Return a cue that lasts as long as its speech, but not beyond a time."""
    seconds = probe_speech(cue.speech).seconds
    end = math.ceil(1000 * (cue.start + seconds)) / 1000
    if end > limit:
        notes.append(f"{cue.where}: {cue.speech.name} is cut by {end - limit:.1f} s, where the next words begin")
    return replace(cue, end=max(cue.end, min(end, limit)))


def spoken_lines(path: Path, known: Collection[str] = ()) -> tuple[list[Line], int]:
    """Return the subtitles that have words with their speakers, and the number of those that have none.

    Args:
        path: SRT or WebVTT.
        known: Names of speakers. Others begin with capitals, so that `[door slams]` names nobody.

    Raises:
        CueError: The file is not understood, or a subtitle has two speakers.
    """
    lines, silent = [], 0
    for subtitle in read_subtitles(path):
        speakers, words = _speakers(subtitle.text, known)
        if len(set(speakers)) > 1:
            names = " and ".join(dict.fromkeys(speakers))
            raise CueError(f"{path}: subtitle {subtitle.number}: {names} speak in one subtitle; split it")
        if words:
            lines.append(Line(subtitle, speakers[0] if speakers else None))
        else:
            silent += 1
    if not lines:
        raise CueError(f"{path}: no subtitle with words")
    return lines, silent


def _speakers(text: str, known: Collection[str]) -> tuple[list[str], bool]:
    """Return the speakers that a subtitle names, and whether it has words besides."""
    found = [_plain(name) for name in VOICE.findall(text)]
    words = False
    for line in html.unescape(TAG.sub("", text)).splitlines():
        rest = DASH.sub("", line.strip())
        named = BRACKETED.match(rest) or NAMED.match(rest)
        name = "" if named is None else _plain(named[1])
        if named is not None and (name in known or not any(word[0].islower() for word in name.split())):
            found.append(name)
            rest = named[2]
        elif named is not None and rest.startswith("["):
            rest = named[2]  # after a noise
        words = words or any(letter.isalnum() for letter in rest)
    return [name for name in found if name], words


def _plain(name: str) -> str:
    return " ".join(html.unescape(name).split())


def _check_faces(path: Path, lines: Sequence[Line], speakers: Sequence[str], faces: Mapping[str, str]) -> None:
    """Make sure that it is known who is who."""
    strangers = [name for name in faces if name not in speakers]
    if strangers:
        known = ", ".join(speakers) or "nobody"
        raise OptionError(f"{path}: names no {', '.join(strangers)}; it names {known}")
    nameless = [line.subtitle.number for line in lines if line.speaker is None]
    if speakers and nameless:
        raise CueError(f"{path}: subtitle {nameless[0]} names no speaker, as others do; write [Name] before its words")
    missing = [name for name in speakers if name not in faces]
    if missing and (len(speakers) > 1 or faces):
        wanted = " ".join(f"--face '{name}=WHO'" for name in missing)
        raise OptionError(f"{path}: several speak: give {wanted}; 'personatalk faces VIDEO' lists the people")


def speech_in_folder(folder: Path) -> FindSpeech:
    """Return what finds speech in a folder: a file with the subtitle's number, or the speaker's track.

    A number may have zeros before it and anything after a separator (`0007_anna.wav`). A track is called like the
    speaker, and is as long as the video.

    Raises:
        CueError: There is no such folder.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() not in NO_SPEECH)
    except OSError as error:
        raise CueError(f"{folder}: no folder with speech ({error.strerror})") from error

    def find(number: int, speaker: str | None) -> tuple[Path, bool]:
        matches = ((path, NUMBERED.fullmatch(path.stem)) for path in files)
        own = [path for path, match in matches if match is not None and int(match[1]) == number]
        tracks = [path for path in files if speaker is not None and path.stem.casefold() == speaker.casefold()]
        if len(own or tracks) > 1:
            names = " and ".join(path.name for path in own or tracks)
            raise CueError(f"{folder}: {names} are both the speech of subtitle {number}; move one away")
        if not own and not tracks:
            track = "" if speaker is None else f", nor a track called {speaker!r}"
            raise CueError(f"{folder}: no speech called {number} for subtitle {number}{track}")
        return (own or tracks)[0], not own

    return find


def speech_in_list(path: Path, numbers: Sequence[int]) -> FindSpeech:
    """Return what finds speech in a list of files, one in each line, whose paths begin at the list's folder.

    Args:
        path: The list, UTF-8.
        numbers: Numbers of the subtitles with words; the list has a line for each.

    Raises:
        CueError: The list cannot be read, or has more or fewer files than there are subtitles, or one is missing.
    """
    try:
        rows = [row.strip() for row in path.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise CueError(f"{path}: not a readable list in UTF-8 ({getattr(error, 'strerror', None) or error})") from error
    files = [path.parent / Path(row).expanduser() for row in rows if row]
    if len(files) != len(numbers):
        raise CueError(f"{path}: names {len(files)} files for {len(numbers)} subtitles with words")
    by_number = dict(zip(numbers, files, strict=True))
    return lambda number, speaker: (by_number[number], False)
