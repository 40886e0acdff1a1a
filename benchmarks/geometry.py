"""What does stage 1 alone say with the mouth? Measured in geometry, without rendering, on data sets.

    python benchmarks/geometry.py DATASET ... --speech FILE ... [--table manifest.csv] [--stage1 FILE] [--mood NUMBER]
        [--only PART ...]

The data sets are those of `personatalk data prepare`, of people whom no training saw. Parts:

own: correlation of the mouth opening with the real one under the clip's own speech, at the best lag within 7 frames and
at none, and its spread over the real one's; by clip, and by language where the table has the columns file and language.
closure: gap at B, M and P over that at open vowels in clips of the GRID corpus, whose names are their words.
silence: spread of the opening under silence, noise, hum and music alone over that under the clip's own speech.
leakage: correlation with the clip's own opening under the speech of another clip.
transfer: correlation of the openings that one speech gives two faces.
style: correlation, over speakers, of the log spread that one speech gives with their own, with style and without.
mood: means over a second of the mouth's width and of its corners' height, against the real ones under the clip's own
speech: correlation, and mean error in per cent of a unit. Clips of three seconds and more.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import made_sounds as made
import numpy as np

from personatalk.audio.rates import FPS, SAMPLE_RATE
from personatalk.evaluation import metrics
from personatalk.evaluation.phones import aligned_phones
from personatalk.geometry.mood import moods
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.media.audio import read_speech
from personatalk.pipeline.options import DubOptions
from personatalk.stage1.agreement import compare_openings
from personatalk.stage1.inference import SpeechMotion, rest_offsets, speaking_style
from personatalk.stage1.network import GeometryGenerator
from personatalk.training.data.shards import read_datasets
from personatalk.utils.arrays import Array

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# Words of the GRID corpus by their letters, place by place.
GRID = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {letter: letter for letter in "abcdefghijklmnopqrstuvxyz"},
    dict(zip("z123456789", DIGITS, strict=True)),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)
# Seconds of a speech that others are to say, and of sounds that are no speech.
SECONDS = 8.0
# Frames of the shortest clip whose mood is measured, and of the means that tell it.
MOOD_FRAMES, MOOD_WINDOW = 75, 25


@dataclass
class Face:
    """A clip: whose face, how it opens in truth, and what it says."""

    name: str
    speaker: str
    language: str
    samples: Array
    first: int
    beta: Array
    real: Array
    mood: Array
    style: Any
    rest: Array
    template: Array


class Stage1:
    """Mouths that the networks give, with the mood of their faces at a strength."""

    def __init__(self, network: GeometryGenerator, model: MorphableModel, mood: float) -> None:
        self.network, self.model, self.mood = network, model, mood

    def opening(self, face: Face, samples: Array, first: int, count: int, style: Any = None) -> Array:
        """Opening of a face to a speech at `count` frames from `first` on."""
        return self.model.mouth_opening(self.vertices(face, samples, first, count, style))

    def vertices(self, face: Face, samples: Array, first: int, count: int, style: Any = None) -> Array:
        """Vertices of a face likewise; a speech that is longer than the clip finds it played again."""
        motion = SpeechMotion(self.network, samples, face.style if style is None else style, face.rest)
        at = [motion.displacement_at((first + k) / FPS, face.template) for k in range(count)]
        mood = self.model.offsets(self.mood * face.mood[np.arange(count) % len(face.mood)])
        return self.model.without_overlap(self.model.mean + face.template + np.stack(at) + mood)


def load_faces(datasets: Sequence[Path], stage1: Stage1, languages: dict[str, str]) -> list[Face]:
    """Read the clips of the data sets."""
    model, faces = stage1.model, []
    for entry in read_datasets(datasets, ["train", "val"], with_audio=True):
        clip = entry.load(crops=False)
        first, beta = clip.beta_at_clock()
        shape = model.shape(clip.alpha)
        real = model.mouth_opening(shape + model.offsets(beta))
        name = str(clip.about["source"]).rpartition("_")[0]
        style, rest = speaking_style(stage1.network, model, beta), rest_offsets(model, beta, real)
        count = len(beta)
        mood = moods(model, beta, np.arange(count) / FPS, np.ones(count, bool), np.zeros(count, np.int64))
        about = (name, clip.speaker, languages.get(name, ""), clip.samples(), first)
        faces.append(Face(*about, beta, real, mood, style, rest, shape - model.mean))
    return faces


def own(stage1: Stage1, faces: list[Face], speeches: dict[str, Array]) -> list[dict[str, Any]]:
    """Rows by clip."""
    rows = []
    for face in faces:
        got = stage1.opening(face, face.samples, face.first, len(face.real))
        found = compare_openings(got, face.real)
        row = {"clip": face.name, "language": face.language, "seconds": len(face.real) / FPS, "r": found.best}
        rows.append({**row, "r_unshifted": found.unshifted, "lag": found.lag, "articulation": found.articulation})
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups["all"].append(row)
        groups[row["language"] or "language not told"].append(row)
    for name, group in groups.items():
        means = {k: np.mean([r[k] for r in group]) for k in ("r", "r_unshifted", "articulation")}
        print(f"own, {name}: {len(group)} clips, " + ", ".join(f"{k} {v:.3f}" for k, v in means.items()), flush=True)
    return rows


def closure(stage1: Stage1, faces: list[Face], speeches: dict[str, Array]) -> list[dict[str, Any]]:
    """Rows by phone."""
    rows: list[dict[str, Any]] = []
    for face in faces:
        text = grid_text(face.name)
        if text is None:
            continue
        got = stage1.opening(face, face.samples, face.first, len(face.real))
        times, phones = (face.first + np.arange(len(got))) / FPS, aligned_phones(face.samples, text)
        gaps = (metrics.phone_gaps(np.asarray(o, np.float64), times, phones) for o in (face.real, got))
        for (phone, closing, real), (_, _, generated) in zip(*gaps, strict=True):
            rows.append({"clip": face.name, "phone": phone, "closing": closing, "real": real, "generated": generated})
    for who in ("real", "generated"):
        shut, wide = (np.nanmean([r[who] for r in rows if r["closing"] == kind]) for kind in (True, False))
        print(f"closure, {who}: gap at B, M, P over open vowels {shut / wide:.3f}", flush=True)
    return rows


def grid_text(name: str) -> str | None:
    """Words of a clip of the GRID corpus, told by its name; None for others."""
    found = re.search(r"(?:^|_)([a-z]{4}[z1-9][a-z])$", name)
    if found is None or any(letter not in words for letter, words in zip(found[1], GRID, strict=True)):
        return None
    return " ".join(words[letter] for letter, words in zip(found[1], GRID, strict=True))


def silence(stage1: Stage1, faces: list[Face], speeches: dict[str, Array]) -> list[dict[str, Any]]:
    """Rows by clip and sound."""
    count, rows = round(SECONDS * SAMPLE_RATE), []
    sounds = {"silence": np.zeros(count, np.float32), "white noise": made.noise(count, 0)}
    sounds |= {"hum": made.hum(count, 0), "music": made.music(count, 0)}
    for face in one_of_each(faces):
        spread = stage1.opening(face, face.samples, face.first, len(face.real)).std()
        for kind, sound in sounds.items():
            got = stage1.opening(face, sound, 0, round(SECONDS * FPS)).std()
            rows.append({"clip": face.name, "sound": kind, "ratio": float(got / spread)})
    for kind in sounds:
        ratios = [r["ratio"] for r in rows if r["sound"] == kind]
        print(f"silence, {kind}: mean {np.mean(ratios):.3f}, largest {np.max(ratios):.3f}", flush=True)
    return rows


def leakage(stage1: Stage1, faces: list[Face], speeches: dict[str, Array]) -> list[dict[str, Any]]:
    """Rows by clip."""
    rows, chosen = [], one_of_each(faces)
    for face, other in pairwise([*chosen, chosen[0]]):
        got = stage1.opening(face, other.samples, other.first, len(other.real))
        count = min(len(got), len(face.real))
        r = float(np.corrcoef(got[:count], face.real[:count])[0, 1])
        rows.append({"clip": face.name, "speech": other.name, "r": r})
    values = [r["r"] for r in rows]
    print(f"leakage: mean r {np.mean(values):.3f}, mean |r| {np.mean(np.abs(values)):.3f}", flush=True)
    return rows


def transfer(stage1: Stage1, faces: list[Face], speeches: dict[str, Array]) -> list[dict[str, Any]]:
    """Rows by speech and pair of faces."""
    rows, chosen = [], one_of_each(faces)[:6]
    for name, speech in speeches.items():
        got = [stage1.opening(face, speech, 0, round(len(speech) / SAMPLE_RATE * FPS)) for face in chosen]
        found = [float(np.corrcoef(a, b)[0, 1]) for a, b in combinations(got, 2)]
        rows.append({"speech": name, "r": float(np.mean(found)), "lowest": min(found)})
        print(f"transfer, {name}: mean r {rows[-1]['r']:.3f}, lowest {rows[-1]['lowest']:.3f}", flush=True)
    return rows


def style(stage1: Stage1, faces: list[Face], speeches: dict[str, Array]) -> list[dict[str, Any]]:
    """Rows by speaker."""
    speech, rows = next(iter(speeches.values())), []
    for face in one_of_each(faces):
        spreads = {"own": float(face.real.std())}
        for kind, embedding in (("with", face.style), ("without", 0 * face.style)):
            got = stage1.opening(face, speech, 0, round(len(speech) / SAMPLE_RATE * FPS), embedding)
            spreads[kind] = float(got.std())
        rows.append({"clip": face.name, **spreads})
    real = np.log([r["own"] for r in rows])
    for kind in ("with", "without"):
        made_ = np.log([r[kind] for r in rows])
        slope = np.polyfit(real, made_, 1)[0]
        print(f"style, {kind}: r {np.corrcoef(real, made_)[0, 1]:.2f}, slope {slope:.2f}", flush=True)
    return rows


def mood(stage1: Stage1, faces: list[Face], speeches: dict[str, Array]) -> list[dict[str, Any]]:
    """Rows by clip."""
    rows, model = [], stage1.model
    for face in (f for f in faces if len(f.beta) >= MOOD_FRAMES):
        got = slow_corners(model, stage1.vertices(face, face.samples, face.first, len(face.beta)))
        real = slow_corners(model, model.mean + face.template + model.offsets(face.beta))
        row: dict[str, Any] = {"clip": face.name}
        for name, a, b in zip(("width", "height"), got, real, strict=True):
            row |= {f"r of {name}": float(np.corrcoef(a, b)[0, 1]), f"error of {name}": 100 * float(abs(a - b).mean())}
        rows.append(row)
    means = ", ".join(f"{key} {np.mean([r[key] for r in rows]):.3f}" for key in rows[0] if key != "clip")
    print(f"mood, {len(rows)} clips: {means}", flush=True)
    return rows


def slow_corners(model: MorphableModel, vertices: Array) -> Array:
    """Return width of the mouth and height of its corners as means over `MOOD_WINDOW` frames, (2, T) for (T, V, 3)."""
    right, left = np.moveaxis(vertices[:, model.mouth_corners, :2], 1, 0)
    found = (left[:, 0] - right[:, 0], -(left[:, 1] + right[:, 1]) / 2)
    window = np.ones(MOOD_WINDOW)
    frames = np.convolve(np.ones(len(vertices)), window, "same")
    return np.stack([np.convolve(curve, window, "same") / frames for curve in found])


def one_of_each(faces: list[Face]) -> list[Face]:
    """The longest clip of each speaker, in the order in which they come."""
    longest: dict[str, Face] = {}
    for face in faces:
        if face.speaker not in longest or len(face.real) > len(longest[face.speaker].real):
            longest[face.speaker] = face
    return list(longest.values())


PARTS: dict[str, Callable[[Stage1, list[Face], dict[str, Array]], list[dict[str, Any]]]] = {
    "own": own,
    "closure": closure,
    "silence": silence,
    "leakage": leakage,
    "transfer": transfer,
    "style": style,
    "mood": mood,
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--speech", type=Path, nargs="+", required=True)
    parser.add_argument("--table", type=Path, help="CSV with the columns file and language")
    parser.add_argument("--stage1", type=Path)
    parser.add_argument("--mood", type=float, default=DubOptions().mood, help="as of personatalk dub")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("-o", "--output", type=Path, help="JSON file of all rows")
    given = parser.parse_args()
    languages = {}
    if given.table is not None:
        with given.table.open(newline="", encoding="utf-8") as file:
            languages = {Path(row["file"]).stem: row["language"].rstrip("?") for row in csv.DictReader(file)}
    stage1 = Stage1(GeometryGenerator.load(given.stage1), MorphableModel.load(), given.mood)
    faces = load_faces(given.datasets, stage1, languages)
    most = round(SECONDS * SAMPLE_RATE)
    speeches = {file.stem: read_speech(file, SAMPLE_RATE)[:most] for file in given.speech}
    rows = {part: PARTS[part](stage1, faces, speeches) for part in given.only}
    if given.output is not None:
        given.output.write_text(json.dumps(rows, indent=1, default=float))


if __name__ == "__main__":
    main()
