"""Phones in real speech, as a recogniser hears them: targets for the audio encoder's pretraining.

PocketSphinx's English phone recogniser, whose model comes with its package, is asked several times, with the speech
played at different speeds and with different trust in its phone grammar. The share of answers is a soft target: where
they differ, little is claimed. Other languages are written down in the nearest English phones, which is what a mouth
needs: shapes, not meaning.
"""

from __future__ import annotations

import functools
import hashlib
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

from ..audio import SAMPLE_RATE, STRIDE
from ..errors import PersonaTalkError

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
    try:
        from pocketsphinx import Config, Decoder, get_model_path
    except ImportError as error:
        raise PersonaTalkError(
            "phone targets need PocketSphinx; install: pip install 'personatalk[train]', or set phones=0"
        ) from error
    folder = Path(get_model_path("en-us"))
    model, grammar = str(folder / "en-us"), str(folder / "en-us-phone.lm.bin")
    return Decoder(Config(hmm=model, allphone=grammar, lw=weight, beam=1e-20, pbeam=1e-20, loglevel="FATAL"))


def recognised(samples: npt.NDArray[np.float32], speed: float, weight: float) -> npt.NDArray[np.int64]:
    """Number of the phone in `PHONES` heard at each hundredth of a second of 16 kHz speech (N,): (N // 160,)."""
    up, down = Fraction(1 / speed).limit_denominator(40).as_integer_ratio()
    played = samples if speed == 1 else resample_poly(samples, up, down)
    loudest = max(float(np.abs(played).max(initial=0)), 1e-4)
    recogniser = _recogniser(weight)
    recogniser.start_utt()
    recogniser.process_raw((played * (0.7 * 32767 / loudest)).astype(np.int16).tobytes(), full_utt=True)
    recogniser.end_utt()
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
    draft = path.with_suffix(f".{os.getpid()}.npy")
    np.save(draft, found)
    draft.replace(path)
    return found
