"""The errors that a user can cause; everything else is a bug and keeps its traceback."""

from __future__ import annotations

LONGEST = 5000
"""Characters of a message; a path alone may have 4096."""


class PersonaTalkError(Exception):
    """Base of all errors whose message is meant for the user.

    The message is one line that says what is wrong, where (file, time) and what to do about it. What it quotes of a
    file may have any length and hold line breaks: those become blanks, and the middle of a very long message is left
    out.
    """

    def __init__(self, message: str = "") -> None:
        line = " ".join(message.split())
        super().__init__(line if len(line) <= LONGEST else f"{line[: LONGEST - 300]} ... {line[-290:]}")


class MediaError(PersonaTalkError):
    """A video or audio file cannot be read, or the output cannot be written."""


class OutputError(MediaError):
    """The output, or another file that was asked for, cannot be written: its name, its folder, or a full disk."""


class OptionError(PersonaTalkError):
    """An option has a value that is not allowed, or options contradict each other."""


class FaceError(PersonaTalkError):
    """No usable face was found, or the face backend cannot be started."""


class WeightsError(PersonaTalkError):
    """A weights or model file is missing, damaged, or of another version."""


class CueError(PersonaTalkError):
    """A cue file cannot be read or understood."""


class CredentialsError(PersonaTalkError):
    """A certificate or its key cannot be used, or a video cannot be signed."""
