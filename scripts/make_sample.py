"""Make the embedded sample, `personatalk/sample/`: a rendered speaking character and a few seconds of other speech.

`sample_face.py` models the character and `sample_picture.py` draws it. espeak-ng (`apt install espeak-ng`) speaks, and
the mouth follows the loudness and the spectrum of that speech. From the repository's root, in some ten minutes:

    python scripts/make_sample.py

The same seed and the same versions of the tools give the same clip.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from sample_face import Pose
from sample_picture import SIZE, Character
from scipy.ndimage import gaussian_filter1d
from tqdm import tqdm

from personatalk.geometry.morphable_model import MorphableModel

Array = npt.NDArray[np.float32]

FOLDER = Path(__file__).resolve().parents[1] / "personatalk" / "sample"
FPS = 25
VOICE = ("-v", "en-us+m3", "-s", "165", "-p", "42")
SPOKEN = "Hello there! Welcome, and thank you for watching this short film."
REPLACEMENT = "The weather is lovely today, so let us all go outside."
LEAD, TAIL = 0.24, 0.36
"""Seconds of silence around the spoken sentence."""
WIDEST_GAP = 0.19
HOP = 0.01
"""Seconds between two looks at the speech's spectrum."""
BT709 = 1
LIMITED = 1


def speak(sentence: str) -> tuple[Array, int]:
    """Synthesise a sentence: samples in -1..1 with silence around, and their rate."""
    command = ["espeak-ng", *VOICE, "--stdout", sentence]
    spoken = subprocess.run(command, check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(spoken)) as file:
        rate = file.getframerate()
        # espeak-ng cannot know the length when it writes to a pipe, so the header's is not used.
        samples = np.frombuffer(spoken[44:], np.int16).astype(np.float32)
    loud = np.flatnonzero(np.abs(samples) > 100)
    samples = samples[loud[0] : loud[-1]] * (0.7 / np.abs(samples).max())
    silence = [np.zeros(round(s * rate), np.float32) for s in (LEAD, TAIL)]
    return np.concatenate([silence[0], samples, silence[1]]), rate


def band(samples: Array, rate: int, low: float, high: float) -> Array:
    """Amplitude of the speech between two frequencies, once per HOP."""
    length = round(0.03 * rate)
    starts = np.arange(0, len(samples), round(HOP * rate))
    padded = np.pad(samples, length // 2 + 1)
    pieces = np.stack([padded[s : s + length] for s in starts if s + length <= len(padded)])
    power = np.abs(np.fft.rfft(pieces * np.hanning(length), axis=1)) ** 2
    frequency = np.fft.rfftfreq(length, 1 / rate)
    inside = (frequency >= low) & (frequency < high)
    return np.asarray(np.sqrt(power[:, inside].mean(axis=1)), np.float32)


def mouth(samples: Array, rate: int, count: int) -> tuple[Array, Array]:
    """Opening and change of width of the mouth in every frame.

    Open vowels are loud around their first formant, 450 to 1100 Hz; closed lips are not, and hissing
    shows the teeth. Spread vowels have
    their second formant above 1800 Hz, rounded ones below.
    """
    loud = np.sqrt(band(samples, rate, 450, 1100))
    hiss = np.sqrt(band(samples, rate, 3500, 8000))
    level = loud / np.percentile(loud, 96) + 0.22 * hiss / hiss.max()
    opening = np.clip(gaussian_filter1d(level, 2.2) * 1.2 - 0.2, 0, 1.05)
    bright = np.log((band(samples, rate, 1800, 3200) + 0.02) / (band(samples, rate, 600, 1400) + 0.02))
    voiced = np.clip(gaussian_filter1d(loud / loud.max(), 4) * 3, 0, 1)
    width = np.tanh(gaussian_filter1d(bright - np.average(bright, weights=voiced), 4)) * voiced
    # The mouth is a little ahead of the sound.
    when = np.arange(count) / FPS + 0.02
    time = np.arange(len(loud)) * HOP
    return WIDEST_GAP * np.interp(when, time, opening), 0.065 * np.interp(when, time, width)


def blinks(count: int, rng: np.random.Generator) -> Array:
    """Return the closing of the eyes in every frame; a little more open than the mean face at rest."""
    out = np.full(count, -0.12)
    shape = np.array([0.35, 0.9, 1.0, 0.75, 0.4, 0.1])
    for start in (int(rng.integers(16, 26)), int(rng.integers(58, 72)), count - 12):
        out[start : start + len(shape)] = np.maximum(out[start : start + len(shape)], shape)
    return out


def poses(samples: Array, rate: int, rng: np.random.Generator) -> Iterator[Pose]:
    """Yield the pose of the character in every frame."""
    count = int(np.ceil(len(samples) / rate * FPS))
    opening, width = mouth(samples, rate, count)
    closed = blinks(count, rng)
    effort = gaussian_filter1d(opening / WIDEST_GAP, 5)
    phase = rng.uniform(0, 2 * np.pi, 6)
    for n in range(count):
        slow = np.sin(2 * np.pi * np.array([0.31, 0.23, 0.27, 0.61, 0.47, 0.53]) * n / FPS + phase)
        turn = np.radians([1.6 * slow[0] + 0.7 * slow[3], 4.0 * slow[1] + 1.2 * slow[4], 1.8 * slow[2]])
        turn[0] += 0.05 * (effort[n] - 0.3)
        gaze = np.array([-0.7 * turn[1], -0.7 * turn[0]])
        brows = 0.030 * np.clip(effort[n] + 0.4 * slow[5] - 0.3, 0, 1)
        yield Pose(float(opening[n]), float(width[n]), float(closed[n]), float(brows), turn, gaze)


def add_sound(out: Any, codec: str, rate: int, bits: int | None = None) -> Any:
    """Add a mono sound track to a file that is being written."""
    track = out.add_stream(codec, rate=rate)
    track.codec_context.layout = "mono"
    if bits is not None:
        track.codec_context.bit_rate = bits
    track.codec_context.open()
    return track


def write_sound(out: Any, track: Any, samples: Array, rate: int) -> None:
    """Encode all of a sound track."""
    context = track.codec_context
    resampler = av.AudioResampler(context.format.name, "mono", rate, context.frame_size or 1024)
    sound = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="fltp", layout="mono")
    sound.sample_rate = rate
    clock = 0
    for piece in (*resampler.resample(sound), *resampler.resample(None)):
        piece.pts, piece.time_base = clock, Fraction(1, rate)
        clock += piece.samples
        out.mux(track.encode(piece))
    out.mux(track.encode(None))


def add_film(out: Any, side: int, crf: int) -> Any:
    """Add a square H.264 track to a file that is being written."""
    film = out.add_stream("libx264", rate=FPS, options={"crf": str(crf), "preset": "slow"})
    film.width = film.height = side
    film.pix_fmt = "yuv420p"
    context = film.codec_context
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = LIMITED
    return film


def write_picture(out: Any, film: Any, rgb: npt.NDArray[np.uint8], number: int) -> None:
    """Encode the picture of a frame, scaled to the film's size."""
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    frame = frame.reformat(film.width, film.height, "yuv420p", dst_colorspace=BT709, dst_color_range=LIMITED)
    frame.pts, frame.time_base = number, Fraction(1, FPS)
    out.mux(film.encode(frame))


def write_film(path: Path, character: Character, samples: Array, rate: int, rng: np.random.Generator) -> None:
    """Render all frames into an H.264 file with the speech as its sound."""
    with av.open(str(path), "w", container_options={"movflags": "+faststart"}) as out:
        film = add_film(out, SIZE, crf=19)
        track = add_sound(out, "aac", rate, 64_000)
        for number, pose in enumerate(tqdm(list(poses(samples, rate, rng)), unit="frame")):
            write_picture(out, film, character.picture(pose), number)
        out.mux(film.encode(None))
        write_sound(out, track, samples, rate)


def main() -> None:
    """Write both files of the sample."""
    parser = argparse.ArgumentParser(description="Make the embedded sample.")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the files go")
    parser.add_argument("--seed", type=int, default=3, help="of the character's looks and movements")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    samples, rate = speak(REPLACEMENT)
    with av.open(str(arguments.folder / "speech.flac"), "w") as out:
        write_sound(out, add_sound(out, "flac", rate), samples, rate)
    samples, rate = speak(SPOKEN)
    character = Character(MorphableModel.load(), arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    write_film(arguments.folder / "face.mp4", character, samples, rate, rng)


if __name__ == "__main__":
    main()
