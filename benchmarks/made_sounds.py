"""Sounds made from numbers: noise, hum, music, laughter, breath, knocks, and speech whispered or sung.

All are 16 kHz mono float32 of one loudness; the same seed makes the same sound.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import solve_toeplitz
from scipy.signal import butter, lfilter, sawtooth

RATE = 16000
# Root mean square of every sound.
LEVEL = 0.1
# Formants of the vowel that laughter is made of: frequency and width in Hz.
LAUGHTER_FORMANTS = ((750, 120), (1300, 150), (2600, 250))
# Samples of a frame of linear prediction, frames overlapping by half, and its order.
FRAME, ORDER = 640, 20
# Notes to which speech is sung, in Hz, half a second each.
NOTES = (220, 247, 262, 294, 330, 349, 392)


def levelled(sound: np.ndarray) -> np.ndarray:
    """Bring a sound to `LEVEL`."""
    return (sound * LEVEL / max(float(np.sqrt(np.mean(sound**2))), 1e-9)).astype(np.float32)


def noise(count: int, seed: int, slope: float = 0.0) -> np.ndarray:
    """Noise whose power falls with the frequency to a power: 0 white, -1 pink, -2 brown."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    frequency = np.maximum(np.fft.rfftfreq(count, 1 / RATE), 20.0)
    return levelled(np.fft.irfft(spectrum * frequency ** (slope / 2), count))


def hum(count: int, seed: int) -> np.ndarray:
    """Mains hum or a fan: harmonics of 50 to 120 Hz and some noise."""
    random, time = np.random.default_rng(seed), np.arange(count) / RATE
    base = random.choice([50.0, 60.0, 100.0, 120.0])
    harmonics = [random.uniform(0.2, 1) / k * np.sin(2 * np.pi * base * k * time + k) for k in range(1, 12)]
    return levelled(np.sum(harmonics, axis=0) + 0.05 * random.standard_normal(count))


def babble(count: int, speeches: Sequence[np.ndarray], seed: int, voices: int = 8) -> np.ndarray:
    """Many voices at once."""
    random, mixed = np.random.default_rng(seed), np.zeros(count)
    for number in random.permutation(len(speeches))[:voices]:
        speech = speeches[number]
        mixed += np.resize(np.roll(speech, random.integers(len(speech))), count)
    return levelled(mixed)


def breath(count: int, seed: int) -> np.ndarray:
    """Breathing in and out: noise between 400 and 3500 Hz that swells and fades."""
    period = np.random.default_rng(seed).uniform(1.5, 3)
    air = lfilter(*butter(2, [400, 3500], "band", fs=RATE), noise(count, seed, -0.5))
    swell = np.maximum(0, np.sin(2 * np.pi * np.arange(count) / RATE / period)) ** 2
    return levelled(air * swell)


def knocks(count: int, seed: int) -> np.ndarray:
    """Six bursts of noise a second: knocks, steps, clapping."""
    random, sound = np.random.default_rng(seed), np.zeros(count)
    for start in random.integers(0, count - 2000, size=6 * count // RATE):
        length = random.integers(100, 1500)
        sound[start : start + length] += random.standard_normal(length) * np.exp(-5 * np.arange(length) / length)
    return levelled(sound)


def laughter(count: int, seed: int) -> np.ndarray:
    """Ha-ha: voiced, breathy bursts through a vowel's formants, 4 to 6 a second, falling in pitch."""
    random, sound, at = np.random.default_rng(seed), np.zeros(count), 0.2
    while at < count / RATE - 2:
        pitch, bursts, rate = random.uniform(180, 380), random.integers(4, 9), random.uniform(4.5, 6)
        for number in range(bursts):
            length = round(0.55 / rate * RATE)
            glide = pitch * (1 - 0.04 * number) * (1 - 0.3 * np.arange(length) / RATE)
            burst = sawtooth(2 * np.pi * np.cumsum(glide) / RATE) + 0.5 * random.standard_normal(length)
            for frequency, width in LAUGHTER_FORMANTS:
                r = np.exp(-np.pi * width / RATE)
                burst = lfilter([1 - r], [1, -2 * r * np.cos(2 * np.pi * frequency / RATE), r * r], burst)
            start = int((at + number / rate) * RATE)
            sound[start : start + length] += levelled(burst) * np.hanning(length) * 0.9**number
        at += bursts / rate + random.uniform(0.4, 1.5)
    return levelled(sound)


def tone(frequency: float, seconds: float, harmonics: np.ndarray, attack: float, decay: float) -> np.ndarray:
    """One note of an instrument."""
    time = np.arange(round(seconds * RATE)) / RATE
    parts = [a * np.sin(2 * np.pi * k * frequency * time) for k, a in enumerate(harmonics, 1) if k * frequency < 7500]
    envelope = np.minimum(1, time / attack) * np.exp(-time / decay) * np.minimum(1, (seconds - time) / 0.02)
    return np.sum(parts, axis=0) * envelope


def music(count: int, seed: int) -> np.ndarray:
    """Chords, a bass, mostly a melody and drums; key, tempo, timbres and tune by the seed."""
    random = np.random.default_rng(seed)
    beat, root, sound = 60 / random.uniform(70, 150), random.uniform(110, 220), np.zeros(count + 8 * RATE)
    scale = np.array([0, 2, 4, 5, 7, 9, 11] if random.random() < 0.5 else [0, 2, 3, 5, 7, 8, 10])
    timbres = [np.arange(1, 20) ** -random.uniform(0.6, 2.2) * random.uniform(0.3, 1, 19) for _ in range(3)]
    attack, decay = random.uniform(0.005, 0.12), random.uniform(0.2, 2)
    has_drums, has_melody = random.random() < 0.7, random.random() < 0.8

    def add(at: float, gain: float, part: np.ndarray) -> None:
        sound[int(at * RATE) :][: len(part)] += gain * part

    for at in np.arange(0, count / RATE, 4 * beat):
        degree = random.choice([0, 3, 4, 5])
        for k in (degree, degree + 2, degree + 4):
            pitch = root * 2 ** (scale[k % 7] / 12 + k // 7)
            add(at, 0.25, tone(pitch, 4 * beat, timbres[0], attack, 2 * decay))
        add(at, 0.4, tone(root / 2 * 2 ** (scale[degree] / 12), 2 * beat, timbres[1], 0.01, 1.0))
        place = 0.0
        while has_melody and place < 4:
            length = random.choice([0.5, 0.5, 1, 1.5])
            pitch = 2 * root * 2 ** (random.choice(scale) / 12)
            add(at + place * beat, 0.35, tone(pitch, length * beat, timbres[2], attack, decay))
            place += length
        for half in range(8 if has_drums else 0):
            add(at + half * beat / 2, 1.0, drum(half, random))
    return levelled(sound[:count])


def drum(half: int, random: np.random.Generator) -> np.ndarray:
    """Bass drum on the first and third beat, snare on the others, hi-hat on every half."""
    time = np.arange(round(0.15 * RATE)) / RATE
    sound = 0.12 * np.diff(random.standard_normal(len(time) + 1)) * np.exp(-80 * time)
    if half % 4 == 0:
        sound += np.sin(2 * np.pi * (50 * time + 1 - np.exp(-30 * time))) * np.exp(-20 * time)
    elif half % 4 == 2:
        sound += 0.35 * random.standard_normal(len(time)) * np.exp(-25 * time)
    return sound


def whispered(speech: np.ndarray, seed: int) -> np.ndarray:
    """Speech with noise in place of the voice."""
    source = np.random.default_rng(seed).standard_normal(len(speech))
    return levelled(lfilter(*butter(1, 700, "high", fs=RATE), respoken(speech, source)))


def sung(speech: np.ndarray, seed: int) -> np.ndarray:
    """Speech on the notes of a tune, with vibrato."""
    random, time = np.random.default_rng(seed), np.arange(len(speech)) / RATE
    notes = random.choice(NOTES, size=len(speech) // (RATE // 2) + 1)
    pitch = np.repeat(notes, RATE // 2)[: len(speech)] * (1 + 0.01 * np.sin(2 * np.pi * 5.5 * time))
    pulses = np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0)
    return levelled(respoken(speech, pulses + 0.02 * random.standard_normal(len(speech))))


def respoken(speech: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Send another source through the vocal tract of a speech, by linear prediction."""
    window, sound = np.hanning(FRAME), np.zeros(len(speech))
    for start in range(0, len(speech) - FRAME, FRAME // 2):
        span = slice(start, start + FRAME)
        heard = speech[span] * window
        correlation = np.correlate(heard, heard, "full")[FRAME - 1 :][: ORDER + 1]
        if correlation[0] > 1e-6:
            correlation[0] *= 1.0001
            tract = solve_toeplitz(correlation[:-1], correlation[1:])
            part = lfilter([1], np.r_[1, -tract], source[span] * window)
            sound[span] += part * np.sqrt(correlation[0] / max(float(np.sum(part**2)), 1e-9))
    return sound
