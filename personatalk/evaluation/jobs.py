"""Lists of pairs to compare: from a list or two folders, or made by dubbing a folder."""

from __future__ import annotations

import csv
import re
import wave
from collections.abc import Sequence
from pathlib import Path

from ..audio.rates import SAMPLE_RATE
from ..errors import PersonaTalkError
from ..media.codecs import VIDEO_SUFFIXES
from ..media.reader import VideoReader
from ..pipeline.dub import dub
from ..pipeline.weights import Models
from ..utils.progress import Progress
from .pair import Comparison


def from_list(path: Path) -> list[Comparison]:
    """Read pairs from a CSV file: columns `reference`, `generated`, and if wanted `name`, `text`, `mismatched`.

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
            if not _there(file_):
                raise PersonaTalkError(f"{path}, line {line}: {file_} is not there")
        mismatched = (row.get("mismatched") or "").strip().lower() in ("1", "yes", "true")
        name = row.get("name") or generated.stem
        jobs.append(Comparison(name, reference, generated, spoken(row.get("text") or ""), mismatched))
    if not jobs:
        raise PersonaTalkError(f"{path}: names no pair; it needs the columns 'reference' and 'generated'")
    return jobs


def _there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for any file
        return False


def spoken(text: str) -> str:
    """Return a text as its words: lower case, without punctuation."""
    return " ".join(re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("\u2019", "'")))


def from_folders(reference: Path, generated: Path) -> list[Comparison]:
    """Pair the videos of the same name, whatever their suffix.

    Raises:
        PersonaTalkError: A folder is none, or they share no name.
    """
    references, results = videos_in(reference), videos_in(generated)
    if not set(references) & set(results):
        raise PersonaTalkError(f"{reference} and {generated}: no two videos of the same name")
    # One that a system lacks is a failure of the system, not one clip less.
    return [Comparison(name, path, results.get(name, generated / f"{name}.mp4")) for name, path in references.items()]


def videos_in(folder: Path) -> dict[str, Path]:
    """Return the videos of a folder by name, without their suffix.

    Raises:
        PersonaTalkError: It is no folder, holds no video, or two of the same name.
    """
    files = [f for f in sorted(folder.iterdir()) if f.suffix.lower() in VIDEO_SUFFIXES] if folder.is_dir() else []
    if not files:
        raise PersonaTalkError(f"{folder}: no folder with videos")
    found: dict[str, Path] = {}
    for file in files:
        if file.stem in found:
            raise PersonaTalkError(f"{folder}: {found[file.stem].name} and {file.name} have one name; rename one")
        found[file.stem] = file
    return found


def self_dubs(
    folder: Path,
    output: Path,
    models: Models,
    kinds: Sequence[str] = ("own", "silent", "mismatched"),
    progress: Progress | None = None,
) -> dict[str, list[Comparison]]:
    """Dub every video of a folder with its own audio, with silence, and with the next one's audio.

    Args:
        folder: Videos with audio.
        output: Where the dubs go. One that is there already is kept if it was made by the same networks of the same
            files.
        models: The trained parts.
        kinds: The kinds of dub to make.
        progress: Called with the progress.

    Returns:
        Pairs by kind.

    Raises:
        PersonaTalkError: The folder holds no video, or two of one name. A clip that cannot be dubbed is told, and is
            then missing in what is returned.
    """
    clips, made_by = list(videos_in(folder).values()), models.fingerprint()
    output.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Comparison]] = {kind: [] for kind in kinds}
    for place, clip in enumerate(clips):
        speeches = {"own": clip, "silent": output / f"{clip.stem}.silence.wav"}
        if len(clips) > 1:
            speeches["mismatched"] = clips[(place + 1) % len(clips)]
        for kind, speech in speeches.items():
            if kind not in kinds:
                continue
            result = output / f"{clip.stem}.{kind}.mp4"
            if kind == "silent" and not speech.exists():
                write_silence(speech, clip)
            stamp = "\n".join([made_by, *(f"{f.name} {f.stat().st_size} {f.stat().st_mtime}" for f in (clip, speech))])
            try:
                _dub_once(clip, speech, result, stamp, models, progress)
            except PersonaTalkError as error:
                print(f"{clip.name}, {kind}: {error}", flush=True)
                continue
            found[kind].append(Comparison(clip.stem, clip, result, mismatched=kind != "own"))
    return found


def _dub_once(clip: Path, speech: Path, result: Path, stamp: str, models: Models, progress: Progress | None) -> None:
    beside = result.with_suffix(".made-by.txt")
    if result.exists() and beside.exists() and beside.read_text() == stamp:
        return
    beside.unlink(missing_ok=True)
    dub(clip, speech, result, models=models, progress=progress)
    beside.write_text(stamp)


def write_silence(path: Path, clip: Path) -> None:
    """Write digital silence as long as a video."""
    with VideoReader(clip) as reader:
        last = max(frame.time for frame in reader.frames())
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", "not compressed"))
        file.writeframes(bytes(2 * round((last + 0.04) * SAMPLE_RATE)))
