"""Bearer tokens: who may use the service, and whose a job is."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from ..errors import PersonaTalkError

# Fewest characters of a token, so that none can be guessed.
SHORTEST = 16

# Owner of all jobs where no tokens are needed.
EVERYBODY = "everybody"


class Tokens:
    """The tokens that are known; none where everybody may use the service.

    Args:
        words: The tokens.
    """

    def __init__(self, words: list[str]) -> None:
        self._owners = {word.encode(): hashlib.sha256(word.encode()).hexdigest()[:16] for word in words}

    @classmethod
    def read(cls, path: Path | None) -> Tokens:
        """Read a file of tokens, one a line; lines that begin with # are comments.

        Raises:
            PersonaTalkError: It cannot be read, is empty, or a token is too short or not plain ASCII.
        """
        if path is None:
            return cls([])
        try:
            lines = [line.strip() for line in path.read_text("ascii").splitlines()]
        except (OSError, ValueError) as error:
            raise PersonaTalkError(f"{path}: the tokens cannot be read ({error})") from None
        words = [line for line in lines if line and not line.startswith("#")]
        if not words:
            raise PersonaTalkError(f"{path}: holds no token; write one a line")
        if bad := [n for n, line in enumerate(lines, 1) if line in words and not _fit(line)]:
            raise PersonaTalkError(
                f'{path}, line {bad[0]}: a token has {SHORTEST} characters or more, without blanks or any of , ; " \\'
            )
        return cls(words)

    @property
    def needed(self) -> bool:
        """Whether a client needs a token."""
        return bool(self._owners)

    def owner(self, word: str | None) -> str | None:
        """Return whose jobs a token may see; None for a wrong token.

        How long this takes does not depend on how much of a token is right.
        """
        if not self.needed:
            return EVERYBODY
        found, given = None, (word or "").encode("utf-8", "replace")
        for known, owner in self._owners.items():
            if hmac.compare_digest(known, given):
                found = owner
        return found


def _fit(word: str) -> bool:
    """Return whether a word can be a token, in a header as well as in a cookie."""
    return len(word) >= SHORTEST and word.isprintable() and not set(word) & set(' ,;"\\')
