"""The errors that a user can cause; everything else is a bug and keeps its traceback."""

from __future__ import annotations


class PersonaTalkError(Exception):
    """Base of all errors whose message is meant for the user.

    The message is one line that says what is wrong, where (file, time) and what to do about it.
    """


class MediaError(PersonaTalkError):
    """A video or audio file cannot be read, or the output cannot be written."""


class FaceError(PersonaTalkError):
    """No usable face was found, or the face backend cannot be started."""


class WeightsError(PersonaTalkError):
    """A weights or model file is missing, damaged, or of another version."""


class CredentialsError(PersonaTalkError):
    """A certificate or its key cannot be used, or a video cannot be signed."""
