"""Does the mouth follow the speech, and in the speaker's own way? Measured in dubbed pictures, by the face tracker.

    python benchmarks/speech.py silence CLIP ... -o RESULTS
    python benchmarks/speech.py transfer CLIP CLIP ... --speech FILE ... -o RESULTS
    python benchmarks/speech.py closure CLIP=TEXT ... -o RESULTS
    python benchmarks/speech.py style CLIP ... --speech FILE -o RESULTS

silence: spread of the opening of a clip dubbed with digital silence, over that of the same clip dubbed with its own
sound. (The lips' speed is mostly the tracker's noise where a head turns.)
transfer: correlation of the mouth opening that one speech gives to different faces.
closure: gap between the lips at B, M and P over that at open vowels, phones by PocketSphinx's forced alignment of the
known text; of the clip itself and of the clip dubbed with its own sound.
style: spread of mouth opening and lip width of clips dubbed with one speech against the speakers' own spread, with the
style and without it.
"""

from __future__ import annotations

import argparse
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from personatalk import DubOptions, Models
from personatalk.audio.rates import SAMPLE_RATE
from personatalk.evaluation import metrics
from personatalk.evaluation.jobs import write_silence
from personatalk.evaluation.phones import aligned_phones
from personatalk.faces.landmarks import open_tracker
from personatalk.media.audio import read_speech
from personatalk.media.reader import VideoReader
from personatalk.pipeline import dub


def track(video: Path) -> dict[str, np.ndarray]:
    """Time, mouth opening and lip width over the eye distance, of the frames with a face."""
    tracker, found = open_tracker(), []
    with VideoReader(video) as reader:
        for frame in reader.frames():
            faces = tracker.detect(frame.rgb())
            if faces:
                found.append((frame.time, faces[0][:, :2]))
    tracker.close()
    landmarks = np.array([m for _, m in found], np.float64)
    return {
        "time": np.array([t for t, _ in found]),
        "opening": metrics.opening(landmarks),
        "width": np.linalg.norm(landmarks[:, 61] - landmarks[:, 291], axis=1) / metrics.eye_distance(landmarks),
    }


def dubbed(clip: Path, speech: Path, output: Path, models: Models, strength: float = 1.0) -> dict[str, np.ndarray]:
    """Dub with so much of the speaker's style, and track the result."""
    output.parent.mkdir(parents=True, exist_ok=True)
    dub.dub(clip, speech, output, models=models, options=DubOptions(style_strength=strength))
    return track(output)


def silence(clips: list[Path], output: Path, models: Models) -> list[dict[str, Any]]:
    """Rows of the silence benchmark."""
    rows = []
    for clip in clips:
        nothing = output / "silence.wav"
        nothing.parent.mkdir(parents=True, exist_ok=True)
        write_silence(nothing, clip)
        real = track(clip)
        with_speech = dubbed(clip, clip, output / f"{clip.stem}__own.mp4", models)
        without = dubbed(clip, nothing, output / f"{clip.stem}__silence.mp4", models)
        rows.append(
            {
                "clip": clip.name,
                "ratio": float(without["opening"].std() / with_speech["opening"].std()),
                "rest": float(without["opening"].mean()),
                "closed_in_source": float(np.quantile(real["opening"], 0.1)),
            }
        )
    return rows


def transfer(clips: list[Path], speeches: list[Path], output: Path, models: Models) -> list[dict[str, Any]]:
    """Rows of the transfer benchmark: one for every speech and pair of faces."""
    rows = []
    for speech in speeches:
        seconds = len(read_speech(speech, SAMPLE_RATE)) / SAMPLE_RATE
        seen = [dubbed(c, speech, output / f"{c.stem}__{speech.stem}.mp4", models) for c in clips]
        for (a, first), (b, second) in combinations(zip(clips, seen, strict=True), 2):
            time = np.arange(0, min(first["time"][-1], second["time"][-1], seconds), 0.04)
            x, y = (np.interp(time, t["time"], t["opening"]) for t in (first, second))
            row = {"speech": speech.stem, "faces": f"{a.stem} {b.stem}", "r": float(np.corrcoef(x, y)[0, 1])}
            rows.append(row)
            print(row, flush=True)
    return rows


def closure(clips: list[tuple[Path, str]], output: Path, models: Models) -> list[dict[str, Any]]:
    """Rows of the closure benchmark: gaps at each phone that closes or opens the lips."""
    rows: list[dict[str, Any]] = []
    for clip, text in clips:
        phones = aligned_phones(read_speech(clip, SAMPLE_RATE), text)
        real, made = track(clip), dubbed(clip, clip, output / f"{clip.stem}__own.mp4", models)
        gaps = (metrics.phone_gaps(t["opening"], t["time"], phones) for t in (real, made))
        for (name, closing, theirs), (_, _, ours) in zip(*gaps, strict=True):
            row = {"clip": clip.stem, "phone": name, "kind": "closed" if closing else "open"}
            rows.append({**row, **{k: g for k, g in (("real", theirs), ("dubbed", ours)) if not np.isnan(g)}})
    for who in ("real", "dubbed"):
        gaps = {k: np.mean([r[who] for r in rows if r["kind"] == k and who in r]) for k in ("closed", "open")}
        print(f"{who}: gap at B, M, P over open vowels {gaps['closed'] / gaps['open']:.2f}", flush=True)
    return rows


def style(clips: list[Path], speech: Path, output: Path, models: Models) -> list[dict[str, Any]]:
    """Rows of the style benchmark."""
    rows: list[dict[str, Any]] = []
    for clip in clips:
        row: dict[str, Any] = {"clip": clip.stem}
        tracks = {"own": track(clip)}
        for name, strength in (("with", 1.0), ("without", 0.0)):
            tracks[name] = dubbed(clip, speech, output / f"{clip.stem}__{name}_style.mp4", models, strength)
        for name, tracked in tracks.items():
            row |= {f"{name}_opening": float(tracked["opening"].std()), f"{name}_width": float(tracked["width"].std())}
        rows.append(row)
        print(row, flush=True)
    for what in ("opening", "width"):
        own = np.log([r[f"own_{what}"] for r in rows])
        for name in ("with", "without"):
            got = np.log([r[f"{name}_{what}"] for r in rows])
            slope = np.polyfit(own, got, 1)[0]
            print(f"{what} {name} style: r {np.corrcoef(own, got)[0, 1]:.2f}, slope {slope:.2f}", flush=True)
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["silence", "transfer", "closure", "style"])
    parser.add_argument("clips", nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--speech", type=Path, nargs="*", default=[])
    parser.add_argument("--stage1", type=Path)
    parser.add_argument("--stage2", type=Path)
    given = parser.parse_args()
    models = Models.load(stage1=given.stage1, stage2=given.stage2)
    clips = [Path(c.partition("=")[0]) for c in given.clips]
    if given.what == "silence":
        rows = silence(clips, given.output, models)
    elif given.what == "transfer":
        rows = transfer(clips, given.speech, given.output, models)
    elif given.what == "closure":
        rows = closure(
            [(c, text.partition("=")[2]) for c, text in zip(clips, given.clips, strict=True)], given.output, models
        )
    else:
        rows = style(clips, given.speech[0], given.output, models)
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / f"{given.what}.json").write_text(json.dumps(rows, indent=1))
    numbers = [k for k, v in rows[0].items() if isinstance(v, float)]
    print("mean", {k: round(float(np.mean([r[k] for r in rows if k in r])), 3) for k in numbers})


if __name__ == "__main__":
    main()
