"""Made transitions for the fuzzing: two shots of two people, joined in every way.

A case is a choice of kind, length, size, rate and look. The shots must be told apart where the transition lies, and its
frames pass through. Some cases are dubbed, by tiny networks: no frame is lost, and no reference comes from the
transition.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from transitions import KINDS, joined

BASE: dict[str, Any] = {
    "kind": "dissolve",
    "seconds": 0.4,
    "rate": 25,
    "size": [96, 96],
    "shots": [0.5, 0.5],
    "seeds": [1, 2],
    "uneven": 0.0,
    "dubbed": True,
}
"""A case: kind and length of the transition, frames a second, width and height, seconds and looks of the shots beside
the transition, the share of a frame by which frames are late, and whether the case is dubbed."""
LOOKS = 6
"""Different frames of a shot, shown in turns."""
DUBBED = 0.1
"""Share of the cases that are dubbed."""
RATES = [12, 15, 24, 25, 30, 50, 60]
SIZES = [[96, 96], [160, 90], [90, 160], [96, 120], [128, 98]]
MOST_FRAMES = 90
"""Of a case, both shots and the transition."""
EDGE = 0.25
"""Share of a transition at either end whose frames show little of the other shot, and may be taken for their own."""
BESIDE = 8
"""Frames beside a transition at which a shot may begin all the same."""


def transition_seed(folder: Path) -> list[Path]:
    """A choice; a case is another one."""
    (folder / "case.json").write_text(json.dumps(BASE))
    return [folder / "case.json"]


def another_transition(data: bytes, name: str, random: Random) -> bytes:
    """Any kind, length, size, rate and look."""
    rate = random.choice(RATES)
    shots = [round(random.uniform(0.4, 0.7), 3) for _ in range(2)]
    longest = max(0.2, min(2.0, MOST_FRAMES / rate - sum(shots)))
    case = {
        "kind": random.choice(list(KINDS)),
        "seconds": round(random.uniform(0.2, longest), 3),
        "rate": rate,
        "size": random.choice(SIZES),
        "shots": shots,
        "seeds": random.sample(range(1000), 2),
        "uneven": random.choice([0.0, 0.0, 0.3]),
        "dubbed": random.random() < DUBBED,
    }
    return json.dumps(case).encode()


def load_transition(path: Path, out: Path) -> None:
    """Find the case's shots, and dub some cases; see above."""
    from helpers.sample_clips import write_video

    from personatalk.faces.shots import find_shots
    from personatalk.media.reader import VideoReader

    case = json.loads(path.read_bytes())
    frames, start, stop = frames_of(case)
    late = np.random.default_rng(case["seeds"]).uniform(0, case["uneven"], len(frames))
    source = write_video(out / "in.mp4", frames, list((np.arange(len(frames)) + late) / case["rate"]), fps=case["rate"])
    with VideoReader(source) as reader:
        shots = find_shots(reader)
    begins, where = np.flatnonzero(shots.begins), f"{start}..{stop} of {len(frames)}"
    assert len(shots.begins) == len(frames), f"{len(shots.begins)} of {len(frames)} frames"
    assert ((begins >= start) & (begins < stop)).any(), f"shots begin at {begins}, not in {where}"
    assert ((begins >= start - BESIDE) & (begins < stop + BESIDE)).all(), f"shots begin at {begins}, beside {where}"
    margin = round(EDGE * (stop - start))
    core = np.arange(start + margin, stop - margin)
    kept = core[~_passes(shots)[core]]
    assert not len(kept), f"of {where} not passed through: {kept}"
    if case["dubbed"]:
        _check_dub(source, out, shots.in_transition)


def _passes(shots: Any) -> np.ndarray:
    """Return whether each frame passes through: in a transition, or in a shot too brief to be a face's, (T,)."""
    from personatalk.faces.analysis import MIN_RUN

    lengths = np.bincount(shots.shot_of)[shots.shot_of]
    return np.asarray(shots.in_transition | (lengths < MIN_RUN))


def _check_dub(source: Path, out: Path, in_transition: np.ndarray) -> None:
    """Dub a video, and make sure that all frames are there and none of a transition is dubbed or lends a mouth."""
    from helpers.tiny import in_place, speech_of

    import personatalk
    from personatalk import DubOptions
    from personatalk.media.options import EncodeOptions
    from personatalk.media.reader import VideoReader
    from personatalk.provenance.options import Provenance

    options = DubOptions(encode=EncodeOptions(preset="ultrafast"), provenance=Provenance(False))
    speech, made, models = speech_of(out / "speech.wav"), out / "out.mp4", _models()
    with in_place(models):
        report = personatalk.dub(source, speech, made, options=options, models=models)
    with VideoReader(made) as reader:
        written = sum(1 for _ in reader.frames())
    count = len(in_transition)
    assert report.frames == report.source_frames == written == count, f"{written} of {count} frames"
    passed = {i for span in report.passed_through for i in range(span.first, span.last + 1)}
    mixed = set(np.flatnonzero(in_transition).tolist())
    assert mixed <= passed, f"dubbed: {sorted(mixed - passed)}"
    assert not mixed & set(report.lip_references), f"lips from {sorted(mixed & set(report.lip_references))}"
    assert report.dubbed > 0


@lru_cache(maxsize=1)
def _models() -> Any:
    from helpers.tiny import tiny_models

    return tiny_models()


def frames_of(case: dict[str, Any]) -> tuple[list[np.ndarray], int, int]:
    """Return all frames, the first of the transition, and the one after its last."""
    rate, size = case["rate"], case["size"]
    count = max(3, round(case["seconds"] * rate))
    lengths = [max(5, round(seconds * rate)) for seconds in case["shots"]]
    shots = [_shot(length + count, seed, *size) for length, seed in zip(lengths, case["seeds"], strict=True)]
    return joined(shots[0], shots[1], case["kind"], count), lengths[0], lengths[0] + count


def _shot(count: int, seed: int, width: int, height: int) -> list[np.ndarray]:
    """Frames of one drawn face that talks and moves a little before a room of its own."""
    from helpers.synthetic import smooth_picture
    from helpers.tiny import Face, draw_faces

    random, side = np.random.default_rng(seed), min(width, height)
    room = smooth_picture(height, width, side / random.uniform(4, 12), seed)
    room[..., 0] = room[..., 0] // 2  # nothing in it has the colour of skin
    x, y, scale = width * random.uniform(0.4, 0.6), height * random.uniform(0.4, 0.5), side * random.uniform(0.2, 0.28)
    green, phase = int(random.integers(70, 130)), random.uniform(0, 6)
    bare, looks = draw_faces([], width, height), []
    for number in range(LOOKS):
        gap = 0.15 + 0.12 * np.sin(2 * np.pi * number / LOOKS + phase)
        face = Face(x + 2 * np.sin(number), y + np.sin(2 * number), float(gap), scale, green)
        image = draw_faces([face], width, height)
        looks.append(np.where((image != bare).any(axis=2, keepdims=True), image, room))
    return [looks[number % LOOKS] for number in range(count)]
