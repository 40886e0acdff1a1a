"""Forced alignment: when each phone of a known English text is said."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import PersonaTalkError
from ..utils.arrays import Array


def aligned_phones(samples: Array, text: str) -> list[tuple[float, float, str]]:
    """Align a known English text with its speech.

    Args:
        samples: Speech at 16 kHz, (N,).
        text: Its words, in lower case, without punctuation.

    Returns:
        Start and end in seconds, and name of each phone, in the alphabet of the CMU dictionary.

    Raises:
        PersonaTalkError: PocketSphinx is not installed, does not know a word, or cannot find the text in the speech.
    """
    aligner = _aligner()
    unknown = [word for word in text.split() if aligner.lookup_word(word) is None]
    if unknown or not text.split():
        raise PersonaTalkError(f"PocketSphinx's dictionary does not know: {', '.join(unknown) or 'no words given'}")
    try:
        aligner.set_align_text(text)
        _listen(aligner, samples)
        # The words' times first; then the phones within them.
        aligner.set_alignment()
        _listen(aligner, samples)
        found = aligner.get_alignment()
    except RuntimeError as error:
        raise PersonaTalkError(f"the text '{text}' cannot be found in the speech ({error})") from error
    return [(p.start / 100, (p.start + p.duration) / 100, p.name) for word in found or () for p in word]


@functools.cache
def _aligner() -> Any:
    """Return PocketSphinx with the English model and dictionary that come with its package."""
    try:
        from pocketsphinx import Config, Decoder, get_model_path
    except ImportError as error:
        raise PersonaTalkError(
            "phones need PocketSphinx; install: pip install 'personatalk[eval]' (or give no text)"
        ) from error
    folder = Path(get_model_path("en-us"))
    return Decoder(
        Config(hmm=str(folder / "en-us"), dict=str(folder / "cmudict-en-us.dict"), lm=None, loglevel="FATAL")
    )


def _listen(aligner: Any, samples: Array) -> None:
    loudest = max(float(np.abs(samples).max(initial=0)), 1e-4)
    aligner.start_utt()
    aligner.process_raw((samples * (0.7 * 32767 / loudest)).astype(np.int16).tobytes(), full_utt=True)
    aligner.end_utt()
