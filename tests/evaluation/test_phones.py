"""Forced alignment of known words."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from personatalk.audio.loudness import normalise_loudness
from personatalk.audio.rates import SAMPLE_RATE
from personatalk.errors import PersonaTalkError
from personatalk.evaluation import phones
from personatalk.evaluation.phones import aligned_phones
from personatalk.media.audio import read_speech
from personatalk.sample import sample_files


def test_known_words_are_aligned() -> None:
    quiet = np.zeros(SAMPLE_RATE // 2, np.float32)
    speech = normalise_loudness(read_speech(sample_files()[1], SAMPLE_RATE))
    with pytest.raises(PersonaTalkError, match="does not know: qqxzy"):
        aligned_phones(speech, "hello qqxzy")
    with pytest.raises(PersonaTalkError, match="no words given"):
        aligned_phones(speech, "")
    words = "the weather is lovely today so let us all go outside"
    found, later = (aligned_phones(s, words) for s in (speech, np.concatenate([quiet, speech])))
    names = [p for _, _, p in found if p != "SIL"]
    assert names[0] == "DH"
    starts = np.array([a for a, _, p in found if p != "SIL"])
    assert np.all(np.diff(starts) >= 0)
    moved = np.array([a for a, _, p in later if p != "SIL"]) - starts
    assert np.median(moved) == pytest.approx(0.5, abs=0.03)


def test_without_the_aligner_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    phones._aligner.cache_clear()
    with pytest.raises(PersonaTalkError, match="give no text"):
        aligned_phones(np.zeros(16000, np.float32), "hello")
