"""Synthetic speech with known phones."""

from __future__ import annotations

import ctypes.util
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest

from personatalk.audio.encoder import SAMPLE_RATE, STRIDE
from personatalk.audio.phones import PHONES
from personatalk.cli import main
from personatalk.errors import PersonaTalkError
from personatalk.training.audio import AudioTask, read_recordings
from personatalk.training.config import AudioConfig
from personatalk.training.config_files import read_config
from personatalk.training.data import synthesis
from personatalk.training.data.synthesis import ESpeak, known_phones, made_up_words, phone_of

needs_espeak = pytest.mark.skipif(ctypes.util.find_library("espeak-ng") is None, reason="eSpeak NG is not installed")
needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="Flite is not installed")


def test_sounds_of_all_languages_become_phones_by_their_first_letters() -> None:
    assert [phone_of(s) for s in ("tʃ", "t", "tʲ", "aʊ", "aː", "ɑ̃", "y", "ʁ", "")] == [
        *("CH", "T", "T", "AW", "AA", "AA", "UW", "R", "SIL")
    ]
    assert phone_of("(en)") is phone_of("??") is None
    assert set(synthesis.SOUNDS.values()) <= set(PHONES)


def test_words_are_made_up_anew() -> None:
    words = [made_up_words(np.random.default_rng(seed), 20).split() for seed in range(5)]
    assert all(len(w) == 20 for w in words)
    assert len({w for text in words for w in text}) > 80


def phones_follow_the_sound(said: synthesis.Utterance) -> None:
    starts = np.array([t for t, _ in said.phones])
    assert np.all(np.diff(starts) >= 0)
    assert starts[0] >= 0 and starts[-1] <= len(said.samples) / SAMPLE_RATE
    assert {p for _, p in said.phones} <= set(PHONES)


@needs_espeak
def test_espeak_says_when_each_sound_begins() -> None:
    said = ESpeak.open().speak("mama, sasa", "en-us", rate=120, pitch=50)
    phones_follow_the_sound(said)
    order = [p for p, _ in itertools.groupby(p for _, p in said.phones if p in ("M", "S"))]
    assert order == ["M", "S"]
    # A hiss is made of high frequencies: the phones' times are those of the sound.
    strength = {}
    for (start, phone), (end, _) in itertools.pairwise(said.phones):
        part = said.samples[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)]
        if phone in ("M", "S") and len(part) > 400:
            power = np.abs(np.fft.rfft(part)) ** 2
            strength[phone] = power[len(power) // 2 :].sum() / power.sum()
    assert strength["S"] > 0.5 > 0.05 > strength["M"]


@needs_espeak
def test_an_unknown_voice_is_named() -> None:
    with pytest.raises(PersonaTalkError, match="no voice klingon-nowhere"):
        ESpeak.open().speak("a", "klingon-nowhere", rate=150, pitch=50)


@needs_flite
def test_flite_says_when_each_sound_ends() -> None:
    said = synthesis.flite("sasa mama", "slt", stretch=1.5, pitch=180)
    phones_follow_the_sound(said)
    assert [p for _, p in said.phones if p in ("S", "M")] == ["S", "S", "M", "M"]
    assert len(said.samples) > len(synthesis.flite("sasa mama", "slt", stretch=0.8, pitch=180).samples)


def test_a_failing_flite_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flite").write_text("#!/bin/sh\necho no voice here >&2\nexit 1\n")
    (tmp_path / "flite").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(PersonaTalkError, match="flite fails for voice slt: no voice here"):
        synthesis.flite("sasa", "slt", stretch=1, pitch=100)


@needs_espeak
def test_what_is_synthesised_is_trained_on_with_its_own_phones(tmp_path: Path) -> None:
    folder = tmp_path / "said"
    assert main.main(["data", "synthesise", "-o", str(folder), "--minutes", "0.4"]) == 0
    sounds = read_recordings([folder])
    assert len(sounds) >= 3
    for sound in sounds:
        assert sound.phones is not None
        assert sound.phones.shape == (len(sound.samples) // STRIDE, len(PHONES))
        np.testing.assert_array_equal(sound.phones.sum(axis=1), 1)
        assert len(np.flatnonzero(sound.phones.any(axis=0))) > 15
        assert sound.phones[:, 0].astype(np.float32).mean() < 0.5
    # No recogniser is asked: its model would tell other phones.
    task = AudioTask(read_config(AudioConfig, changes=["num_clusters=4", "window_seconds=1"]), sounds)
    assert task.phones is not None
    assert all(a is s.phones for a, s in zip(task.phones, sounds, strict=True))
    with pytest.raises(PersonaTalkError, match="holds something already"):
        synthesis.synthesise(folder, 1)


def test_phones_beside_a_sound_are_read_at_the_encoders_frames(tmp_path: Path) -> None:
    (tmp_path / "said.phones.tsv").write_text("0.10\tB\n0.20\tAA\n")
    found = known_phones(tmp_path / "said.wav", 16 * STRIDE)
    assert found is not None
    names = [PHONES[n] for n in found.argmax(axis=1)]
    assert names == ["SIL"] * 5 + ["B"] * 5 + ["AA"] * 6
    assert known_phones(tmp_path / "other.wav", 1000) is None


@pytest.mark.parametrize("text", ["", "0.1 B\n", "0.1\tQQ\n", "0.2\tB\n0.1\tM\n", "x\tB\n"])
def test_damaged_phones_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "said.phones.tsv").write_text(text)
    with pytest.raises(PersonaTalkError, match=r"said\.phones\.tsv: not lines"):
        known_phones(tmp_path / "said.wav", 1000)


def test_without_espeak_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(PersonaTalkError, match="apt install espeak-ng"):
        ESpeak()
