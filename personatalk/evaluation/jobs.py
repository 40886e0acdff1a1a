"""Which videos are held against which: named by a list or two folders, or made by dubbing a folder."""

from __future__ import annotations

import csv
import wave
from collections.abc import Sequence
from pathlib import Path

from ..audio import SAMPLE_RATE
from ..errors import PersonaTalkError
from ..media import VideoReader
from ..pipeline import Models, Progress, dub
from ..training.sources import VIDEO_SUFFIXES
from .pair import Job


def from_list(path: Path) -> list[Job]:
    """Pairs from a CSV file with the columns `reference` and `generated`, and if wanted `name`, `text`, `mismatched`.

    Paths are relative to the list's folder.

    Raises:
        PersonaTalkError: The list cannot be read, lacks a column, or names a file that is not there.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PersonaTalkError(f"{path}: not a readable list ({error})") from error
    jobs = []
    for line, row in enumerate(rows, start=2):
        if not row.get("reference") or not row.get("generated"):
            raise PersonaTalkError(f"{path}, line {line}: needs the columns 'reference' and 'generated'")
        reference, generated = (path.parent / row[key] for key in ("reference", "generated"))
        for file_ in (reference, generated):
            if not file_.is_file():
                raise PersonaTalkError(f"{path}, line {line}: {file_} is not there")
        mismatched = (row.get("mismatched") or "").strip().lower() in ("1", "yes", "true")
        name = row.get("name") or generated.stem
        jobs.append(Job(name, reference, generated, (row.get("text") or "").lower().strip(), mismatched))
    if not jobs:
        raise PersonaTalkError(f"{path}: names no pair; it needs the columns 'reference' and 'generated'")
    return jobs


def from_folders(reference: Path, generated: Path) -> list[Job]:
    """Pairs of videos of the same name, whatever their suffix.

    Raises:
        PersonaTalkError: A folder is none, or they share no name.
    """
    found = []
    for folder in (reference, generated):
        if not folder.is_dir():
            raise PersonaTalkError(f"{folder}: no such folder")
        found.append({f.stem: f for f in sorted(folder.iterdir()) if f.suffix.lower() in VIDEO_SUFFIXES})
    names = [name for name in found[0] if name in found[1]]
    if not names:
        raise PersonaTalkError(f"{reference} and {generated}: no two videos of the same name")
    return [Job(name, found[0][name], found[1][name]) for name in names]


def self_dubs(
    folder: Path,
    output: Path,
    models: Models,
    kinds: Sequence[str] = ("own", "silent", "mismatched"),
    progress: Progress | None = None,
) -> dict[str, list[Job]]:
    """Dub every video of a folder with its own sound, with silence, and with the next one's sound.

    Args:
        folder: Videos with sound.
        output: Where the dubs go; those that are there already are kept.
        models: The trained parts.
        kinds: Which of the three.
        progress: Told about the progress.

    Returns:
        Pairs by kind.

    Raises:
        PersonaTalkError: The folder holds no video, or one cannot be dubbed.
    """
    clips = [f for f in sorted(folder.iterdir()) if f.suffix.lower() in VIDEO_SUFFIXES] if folder.is_dir() else []
    if not clips:
        raise PersonaTalkError(f"{folder}: no folder with videos")
    output.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Job]] = {kind: [] for kind in kinds}
    for place, clip in enumerate(clips):
        speeches = {"own": clip, "silent": output / f"{clip.stem}.silence.wav"}
        if len(clips) > 1:
            speeches["mismatched"] = clips[(place + 1) % len(clips)]
        for kind, speech in speeches.items():
            if kind not in kinds:
                continue
            result = output / f"{clip.stem}.{kind}.mp4"
            if not result.exists():
                if kind == "silent":
                    _write_silence(speech, clip)
                dub(clip, speech, result, models=models, progress=progress)
            found[kind].append(Job(clip.stem, clip, result, mismatched=kind != "own"))
    return found


def _write_silence(path: Path, clip: Path) -> None:
    """Digital silence as long as a video."""
    with VideoReader(clip) as reader:
        last = max(frame.time for frame in reader.frames())
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", "not compressed"))
        file.writeframes(bytes(2 * round((last + 0.04) * SAMPLE_RATE)))
