"""Phones in real speech, as a recogniser hears them: targets for the audio encoder's pretraining.

PocketSphinx's English phone recogniser, whose model comes with its package, is asked several times, with the speech
played at different speeds and with different trust in its phone grammar. The share of answers is a soft target: where
they differ, little is claimed. Other languages are written down in the nearest English phones, which is what a mouth
needs: shapes, not meaning.
"""

from __future__ import annotations

import functools
import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

from ..errors import PersonaTalkError
from ..utils.files import atomic_write
from .encoder import SAMPLE_RATE, STRIDE

PHONES = (
    *("SIL", "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH", "IH", "IY"),
    *("JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y", "Z"),
    *("ZH", "+NSN+", "+SPN+"),
)
"""Silence, the phones of the CMU dictionary, noise and babble."""
PASSES = ((0.9, 1.0), (0.95, 3.0), (1.0, 1.0), (1.0, 3.0), (1.05, 3.0), (1.1, 1.0))
"""Speed at which the speech is played, and weight of the phone grammar."""
STEP = SAMPLE_RATE // 100
"""Samples between the recogniser's frames."""


@functools.cache
def _recogniser(weight: float) -> Any:
    """Recogniser of phones with a weight of its grammar; 0 for one that aligns known words."""
    try:
        from pocketsphinx import Config, Decoder, get_model_path
    except ImportError as error:
        raise PersonaTalkError(
            "phones need PocketSphinx; install: pip install 'personatalk[train]' (or set phones=0 in a training)"
        ) from error
    folder = Path(get_model_path("en-us"))
    model, grammar = str(folder / "en-us"), str(folder / "en-us-phone.lm.bin")
    if weight == 0:
        words = str(folder / "cmudict-en-us.dict")
        return Decoder(Config(hmm=model, dict=words, lm=None, loglevel="FATAL"))
    return Decoder(Config(hmm=model, allphone=grammar, lw=weight, beam=1e-20, pbeam=1e-20, loglevel="FATAL"))


def _listen(recogniser: Any, samples: npt.NDArray[np.float32]) -> None:
    loudest = max(float(np.abs(samples).max(initial=0)), 1e-4)
    recogniser.start_utt()
    recogniser.process_raw((samples * (0.7 * 32767 / loudest)).astype(np.int16).tobytes(), full_utt=True)
    recogniser.end_utt()


def aligned_phones(samples: npt.NDArray[np.float32], text: str) -> list[tuple[float, float, str]]:
    """When each phone of a known English text is said, by forced alignment.

    Args:
        samples: Speech at 16 kHz, (N,).
        text: Its words, in lower case, without punctuation.

    Returns:
        Start and end in seconds, and phone.

    Raises:
        PersonaTalkError: PocketSphinx is not installed, does not know a word, or cannot find the text in the speech.
    """
    aligner = _recogniser(0)
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


def recognised(samples: npt.NDArray[np.float32], speed: float, weight: float) -> npt.NDArray[np.int64]:
    """Number of the phone in `PHONES` heard at each hundredth of a second of 16 kHz speech (N,): (N // 160,)."""
    up, down = Fraction(1 / speed).limit_denominator(40).as_integer_ratio()
    played = samples if speed == 1 else resample_poly(samples, up, down)
    recogniser = _recogniser(weight)
    _listen(recogniser, played)
    found = np.zeros(len(samples) // STEP, np.int64)
    for segment in recogniser.seg() or ():
        number = PHONES.index(segment.word) if segment.word in PHONES else 0
        found[int(segment.start_frame * speed) : int((segment.end_frame + 1) * speed)] = number
    return found


def soft_phones(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Share of the passes that hear each phone in each of the audio encoder's frames.

    Args:
        samples: Speech at 16 kHz, (N,).

    Returns:
        (N // 320, 42); rows add up to 1.

    Raises:
        PersonaTalkError: PocketSphinx is not installed.
    """
    frames, fine = len(samples) // STRIDE, STRIDE // STEP
    counts = np.zeros((frames * fine, len(PHONES)), np.float32)
    for speed, weight in PASSES:
        found = recognised(samples, speed, weight)[: len(counts)]
        counts[np.arange(len(found)), found] += 1
    share = counts.reshape(frames, fine, -1).mean(axis=1)
    return (share / np.maximum(share.sum(axis=1, keepdims=True), 1e-6)).astype(np.float16)


def cached_phones(samples: npt.NDArray[np.float32], folder: Path | None) -> npt.NDArray[np.float16]:
    """`soft_phones`, kept in a folder under the sound's own hash where one is given: it takes a fifth of real time."""
    if folder is None:
        return soft_phones(samples)
    name = hashlib.sha256(samples.tobytes() + repr((PASSES, PHONES)).encode()).hexdigest()[:24]
    path = folder / f"{name}.npy"
    if path.exists():
        return np.load(path)
    folder.mkdir(parents=True, exist_ok=True)
    found = soft_phones(samples)
    with atomic_write(path, suffix=".npy") as draft:
        np.save(draft, found)
    return found
