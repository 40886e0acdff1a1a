"""Synthetic speech with known phones, for the audio encoder's pretraining.

eSpeak NG speaks made-up words by the rules of many languages and says when each sound begins; Flite, where it is
installed, adds recorded English voices. Both are programs of the system (`apt install espeak-ng flite`) and are found
when they are asked for. Sounds of all languages are written down in the phones of `phones.PHONES`, by the shape of the
mouth: a rounded front vowel counts as a rounded one.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

from ...audio.encoder import SAMPLE_RATE, STRIDE
from ...audio.phones import PHONES
from ...errors import PersonaTalkError

SIDECAR = ".phones.tsv"
"""Suffix of the text file beside a sound that holds its phones: lines of a start in seconds and a phone."""

LANGUAGES = (
    *("en-us", "en-gb-x-rp", "en-gb-scotland", "de", "fr", "es", "es-419", "it", "pt-br", "pl", "tr", "fi", "nl"),
    *("cs", "sv", "hu", "ro", "id", "sw", "eo"),
)
"""Languages written in Latin letters, so that made-up words can be spelled for them."""
VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4", "f5", "croak", "whisper")
FLITE_VOICES = ("kal16", "awb", "rms", "slt")

SOUNDS = {
    **{"tʃ": "CH", "tɕ": "CH", "dʒ": "JH", "dʑ": "JH", "ts": "S", "dz": "Z", "aʊ": "AW", "au": "AW", "aɪ": "AY"},
    **{"ai": "AY", "eɪ": "EY", "ei": "EY", "oʊ": "OW", "əʊ": "OW", "ou": "OW", "ɔɪ": "OY", "oɪ": "OY", "ɔø": "OY"},
    **{"p": "P", "b": "B", "m": "M", "β": "B", "ɸ": "F", "f": "F", "v": "V", "ʋ": "V", "θ": "TH", "ð": "DH"},
    **{"t": "T", "d": "D", "ʈ": "T", "ɖ": "D", "n": "N", "ɲ": "N", "ɳ": "N", "ŋ": "NG", "s": "S", "z": "Z"},
    **{"ʃ": "SH", "ʂ": "SH", "ɕ": "SH", "ʒ": "ZH", "ʐ": "ZH", "ʑ": "ZH", "ç": "HH", "x": "HH", "χ": "HH", "h": "HH"},
    **{"ɦ": "HH", "ħ": "HH", "ʕ": "HH", "k": "K", "q": "K", "c": "K", "ɡ": "G", "g": "G", "ɣ": "G", "ɟ": "G"},
    **{"r": "R", "ɹ": "R", "ɾ": "R", "ʁ": "R", "ʀ": "R", "ɻ": "R", "l": "L", "ɫ": "L", "ʎ": "L", "ɬ": "L", "j": "Y"},
    **{"w": "W", "ɥ": "W", "i": "IY", "ɪ": "IH", "ɨ": "IH", "e": "EY", "ɛ": "EH", "æ": "AE", "a": "AA", "ɑ": "AA"},
    **{"ɐ": "AH", "ə": "AH", "ʌ": "AH", "ɤ": "AH", "ɘ": "AH", "ɜ": "ER", "ɚ": "ER", "ɝ": "ER", "ɒ": "AO", "ɔ": "AO"},
    **{"o": "OW", "ʊ": "UH", "u": "UW", "ɯ": "UW", "ʉ": "UW", "y": "UW", "ʏ": "UH", "ø": "UH", "œ": "UH"},
}
"""IPA, by its first one or two letters, in the phones of the CMU dictionary."""

# Read by any of the languages' rules, a single letter is rarely silent.
ONSETS = (*"bcdfghjklmnprstvwz", "sh", "ch", "st", "tr", "pl", "br", "gr", "fl", "th")
VOWELS = (*"aeiouaeio", "ai", "ou", "ee", "oo", "au", "ei")
CODAS = ("", "", "", *"nmrlstpkbf", "ng", "st")

Phones = list[tuple[float, str]]
"""Start in seconds and phone, in order."""


@dataclass(frozen=True)
class Utterance:
    """Speech with its phones: samples at 16 kHz (N,), and when each phone starts."""

    samples: npt.NDArray[np.float32]
    phones: Phones


def phone_of(sound: str) -> str | None:
    """Phone of a sound in IPA; None for marks that are no sound. An empty sound is silence."""
    if not sound:
        return "SIL"
    return SOUNDS.get(sound[:2]) or SOUNDS.get(sound[:1])


def made_up_words(random: np.random.Generator, count: int) -> str:
    """Words that nobody knows, of one to four syllables, with a number and a comma here and there."""
    words = []
    for _ in range(count):
        parts = [[random.choice(ONSETS), random.choice(VOWELS)] for _ in range(random.integers(1, 5))]
        word = "".join("".join(part) for part in parts) + str(random.choice(CODAS))
        kind = random.random()
        words.append(str(random.integers(1000)) if kind < 0.1 else word + "," if kind < 0.2 else word)
    return " ".join(words)


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    """`espeak_EVENT` of eSpeak NG's speak_lib.h."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("type", "unique", "text_position", "length", "audio_position", "sample")),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_RETRIEVAL, _PHONEME_EVENTS_IN_IPA, _PHONEME, _UTF8 = 1, 1 | 2, 7, 1
_RATE, _PITCH = 1, 3


class ESpeak:
    """eSpeak NG's library, which holds global state: use `ESpeak.open`, which gives the only one of the process.

    Raises:
        PersonaTalkError: It is not installed.
    """

    def __init__(self) -> None:
        try:
            self._library: Any = ctypes.CDLL(ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1")
        except OSError as error:
            raise PersonaTalkError("synthetic speech needs eSpeak NG; install it: apt install espeak-ng") from error
        self._rate = self._library.espeak_Initialize(_RETRIEVAL, 0, None, _PHONEME_EVENTS_IN_IPA)
        if self._rate <= 0:
            raise PersonaTalkError("eSpeak NG does not start; is its data installed (apt install espeak-ng-data)?")
        self._sound, self._events = bytearray(), list[tuple[int, str]]()
        signature = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))
        self._callback = signature(self._heard)
        self._library.espeak_SetSynthCallback(self._callback)

    @classmethod
    @functools.cache
    def open(cls) -> ESpeak:
        """The one of this process."""
        return cls()

    def _heard(self, sound: int | None, count: int, events: Any) -> int:
        if sound:
            self._sound += ctypes.string_at(sound, 2 * count)
        place = 0
        while events[place].type:
            if events[place].type == _PHONEME:
                self._events.append((events[place].sample, events[place].id.string.decode("utf8", "ignore")))
            place += 1
        return 0

    def speak(self, text: str, voice: str, rate: int, pitch: int) -> Utterance:
        """Say a text.

        Args:
            text: What.
            voice: Language and variant, such as "de+f2".
            rate: Words a minute, 80 to 450.
            pitch: 0 to 100.

        Raises:
            PersonaTalkError: There is no such voice.
        """
        self._sound, self._events = bytearray(), []
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise PersonaTalkError(f"eSpeak NG has no voice {voice}")
        self._library.espeak_SetParameter(_RATE, rate, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        words = text.encode()
        self._library.espeak_Synth(words, len(words) + 1, 0, 1, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        samples = np.frombuffer(bytes(self._sound), np.int16).astype(np.float32) / 32768
        known = [(place / self._rate, phone_of(sound)) for place, sound in self._events]
        return Utterance(_at_our_rate(samples, self._rate), [(t, p) for t, p in known if p is not None])


def flite(text: str, voice: str, stretch: float, pitch: float) -> Utterance:
    """Say a text with Flite.

    Args:
        text: What.
        voice: One of `FLITE_VOICES`.
        stretch: Length against the voice's own.
        pitch: Mean pitch in Hz.

    Raises:
        PersonaTalkError: Flite fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "said.wav")
        features = ["--setf", f"duration_stretch={stretch:.3f}", "--setf", f"int_f0_target_mean={pitch:.1f}"]
        command = ["flite", "-voice", voice, *features, "-psdur", "-t", text, "-o", str(path)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0 or not path.exists():
            raise PersonaTalkError(f"flite fails for voice {voice}: {done.stderr.strip()[-200:]}")
        samples, rate = _read_wave(path)
    phones, start = [], 0.0
    special = {"pau": "SIL", "ax": "AH", "axr": "ER"}
    for word in done.stdout.split():
        name, _, end = word.rpartition(":")
        phone = special.get(name, name.upper())
        if phone in PHONES:
            phones.append((start, phone))
        start = float(end)
    return Utterance(_at_our_rate(samples, rate), phones)


def speakers(random: np.random.Generator) -> Iterable[tuple[str, Callable[[str], Utterance]]]:
    """Endless voices, each with a name and a way to speak: mostly eSpeak's, every fourth Flite's if it is there."""
    espeak, number = ESpeak.open(), 0
    while True:
        number += 1
        if number % 4 == 0 and shutil.which("flite"):
            name, stretch = str(random.choice(FLITE_VOICES)), float(random.uniform(0.7, 1.4))
            high = float(random.uniform(90, 230))
            yield f"flite-{name}", functools.partial(flite, voice=name, stretch=stretch, pitch=high)
        else:
            name = f"{random.choice(LANGUAGES)}+{random.choice(VARIANTS)}"
            rate, pitch = int(random.integers(100, 240)), int(random.integers(10, 90))
            yield f"espeak-{name}", functools.partial(espeak.speak, voice=name, rate=rate, pitch=pitch)


def synthesise(folder: Path, minutes: float, seed: int = 0) -> int:
    """Write utterances with their phones beside them until there are enough.

    Args:
        folder: Where; made if it is not there.
        minutes: How much speech.
        seed: Of voices and words.

    Returns:
        The number of utterances.

    Raises:
        PersonaTalkError: The folder holds something already, or eSpeak NG is not installed.
    """
    if folder.exists() and any(folder.iterdir()):
        raise PersonaTalkError(f"{folder}: holds something already; name a new folder")
    voices = iter(speakers(np.random.default_rng([seed, 1])))
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng([seed, 0])
    seconds, number = 0.0, 0
    while seconds < 60 * minutes:
        name, speak = next(voices)
        said = speak(made_up_words(random, int(random.integers(6, 16))))
        path = folder / f"{number:06d}-{name}.wav"
        _write_wave(path, said.samples)
        lines = [f"{start:.4f}\t{phone}\n" for start, phone in said.phones]
        path.with_suffix(SIDECAR).write_text("".join(lines), encoding="utf8")
        seconds, number = seconds + len(said.samples) / SAMPLE_RATE, number + 1
    return number


def known_phones(sound: Path, samples: int) -> npt.NDArray[np.float16] | None:
    """Phones of a sound file from the text beside it, one-hot at the audio encoder's frames: (N // 320, 42).

    Args:
        sound: The sound file.
        samples: Its length N at 16 kHz.

    Returns:
        None where there is no such text.

    Raises:
        PersonaTalkError: The text is not lines of a start and a phone, in order.
    """
    path = sound.with_suffix(SIDECAR)
    if not path.exists():
        return None
    try:
        rows = [line.split("\t") for line in path.read_text(encoding="utf8").splitlines()]
        starts = np.array([float(start) for start, _ in rows])
        numbers = np.array([PHONES.index(phone) for _, phone in rows], np.int64)
        if len(starts) == 0 or not np.all(np.diff(starts) >= 0):
            raise ValueError("no phones, or not in order")
    except (ValueError, OSError) as error:
        raise PersonaTalkError(f"{path}: not lines of a start in seconds, a tab and a phone ({error})") from error
    centres = (np.arange(samples // STRIDE) + 0.5) * STRIDE / SAMPLE_RATE
    place = np.searchsorted(starts, centres, side="right") - 1
    found = np.where(place >= 0, numbers[np.maximum(place, 0)], 0)
    return np.eye(len(PHONES), dtype=np.float16)[found]


def _at_our_rate(samples: npt.NDArray[np.float32], rate: int) -> npt.NDArray[np.float32]:
    common = np.gcd(rate, SAMPLE_RATE)
    return resample_poly(samples, SAMPLE_RATE // common, rate // common).astype(np.float32)


def _read_wave(path: Path) -> tuple[npt.NDArray[np.float32], int]:
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return samples.astype(np.float32) / 32768, file.getframerate()


def _write_wave(path: Path, samples: npt.NDArray[np.float32]) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples * 32767).clip(-32768, 32767).astype(np.int16).tobytes())
