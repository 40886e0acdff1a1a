"""Exit codes of the command line, which do not change from version to version."""

from __future__ import annotations

from ..errors import (
    CredentialsError,
    CueError,
    FaceError,
    MediaError,
    OptionError,
    OutputError,
    PersonaTalkError,
    WeightsError,
)

# Exit code by the class of the error; that of the nearest base counts.
EXIT_CODES: dict[type[PersonaTalkError], int] = {
    PersonaTalkError: 1,
    OptionError: 2,
    MediaError: 10,
    FaceError: 11,
    WeightsError: 12,
    CueError: 13,
    CredentialsError: 14,
    OutputError: 15,
}

# Exit code of `verify` where nothing says that the video was generated.
NOTHING_FOUND = 3

# Exit code after Ctrl-C or a polite kill, as shells have it.
INTERRUPTED = 130


def exit_code(error: PersonaTalkError) -> int:
    """Return the exit code of an error."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)
