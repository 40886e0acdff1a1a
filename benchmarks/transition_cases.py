"""Made transitions for the fuzzing: two shots of two people, joined in every way, dubbed by tiny networks.

A case is a choice of kind, length, size, rate and look. It has to be dubbed: no frame is lost, the shots are told
apart where the transition lies, its frames pass through, and no reference comes from it.
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
}
"""A case: kind and length of the transition, frames a second, width and height, seconds and looks of the shots beside
the transition, and the share of a frame by which frames are late."""
RATES = [12, 15, 24, 25, 30, 50, 60]
SIZES = [[96, 96], [160, 90], [90, 160], [96, 120], [128, 98]]
MOST_FRAMES = 160
"""Of a case, both shots and the transition."""
CORE = 0.25
"""Share of a transition at either end whose frames show little of the other shot, and may be taken for their own."""


def transition_seed(folder: Path) -> list[Path]:
    """A choice; a case is another one."""
    (folder / "case.json").write_text(json.dumps(BASE))
    return [folder / "case.json"]


def another_transition(data: bytes, name: str, random: Random) -> bytes:
    """Any kind, length, size, rate and look."""
    rate = random.choice(RATES)
    longest = min(2.0, MOST_FRAMES / rate - 0.8)
    case = {
        "kind": random.choice(list(KINDS)),
        "seconds": round(random.uniform(0.2, longest), 3),
        "rate": rate,
        "size": random.choice(SIZES),
        "shots": [round(random.uniform(0.4, 1.0), 3) for _ in range(2)],
        "seeds": random.sample(range(1000), 2),
        "uneven": random.choice([0.0, 0.0, 0.3]),
    }
    return json.dumps(case).encode()


def load_transition(path: Path, out: Path) -> None:
    """Dub the case; see above."""
    from helpers.sample_clips import write_video
    from helpers.tiny import in_place, speech_of

    import personatalk
    from personatalk import DubOptions
    from personatalk.media.options import EncodeOptions
    from personatalk.provenance.options import Provenance

    case = json.loads(path.read_bytes())
    frames, start, stop = _frames_of(case)
    jitter = np.random.default_rng(case["seeds"]).uniform(0, case["uneven"], len(frames))
    source = write_video(
        out / "in.mp4", frames, list((np.arange(len(frames)) + jitter) / case["rate"]), fps=case["rate"]
    )
    options = DubOptions(encode=EncodeOptions(preset="ultrafast"), provenance=Provenance(False))
    with in_place(_models()):
        report = personatalk.dub(
            source, speech_of(out / "speech.wav"), out / "out.mp4", options=options, models=_models()
        )
    _check(report, out / "out.mp4", len(frames), start, stop)


@lru_cache(maxsize=1)
def _models() -> Any:
    from helpers.tiny import tiny_models

    return tiny_models()


def _frames_of(case: dict[str, Any]) -> tuple[list[np.ndarray], int, int]:
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
    bare, frames = draw_faces([], width, height), []
    for number in range(count):
        gap = 0.15 + 0.12 * np.sin(number + phase)
        face = Face(x + 2 * np.sin(number / 9 + phase), y + np.sin(number / 7), float(gap), scale, green)
        image = draw_faces([face], width, height)
        frames.append(np.where((image != bare).any(axis=2, keepdims=True), image, room))
    return frames


def _check(report: Any, output: Path, count: int, start: int, stop: int) -> None:
    """Hold what was done against what was made."""
    from personatalk.media.reader import VideoReader

    with VideoReader(output) as reader:
        written = sum(1 for _ in reader.frames())
    assert report.frames == report.source_frames == written == count, f"{written} of {count} frames"
    margin = round(CORE * (stop - start))
    core = set(range(start + margin, stop - margin))
    begins = [shot["first"] for shot in report.shots[1:]]
    assert any(start <= first < stop for first in begins), f"shots begin at {begins}, not in {start}..{stop}"
    assert all(start - 8 <= first <= stop + 8 for first in begins), f"shots begin at {begins}, outside {start}..{stop}"
    passed = {i for span in report.passed_through for i in range(span.first, span.last + 1)}
    assert core <= passed, f"of {start}..{stop} dubbed: {sorted(core - passed)}"
    lent = core & set(report.lip_references)
    assert not lent, f"of {start}..{stop} lips were lent by {sorted(lent)}"
    assert report.dubbed > 0
