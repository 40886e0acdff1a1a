"""Layouts of the known talking-face data sets: one reader each.

A reader only looks at names; nothing is opened here. Speakers matter: no speaker may be both trained on and held out.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import MediaError
from ...media.codecs import VIDEO_SUFFIXES

MAX_KEY_LENGTH = 64
AUDIO_SUFFIXES = (".m4a", ".wav", ".flac", ".ogg", ".opus", ".mp3", ".aac")


@dataclass(frozen=True)
class VideoSource:
    """One video to prepare.

    Attributes:
        key: Name in the data set; letters, digits, "-", "_" and "+", and the same in every run.
        video: Video file, or a folder of images at 25 a second.
        speaker: Name of the person who is seen.
        audio: File of its audio where that is not in the video itself.
    """

    key: str
    video: Path
    speaker: str
    audio: Path | None = None


Reader = Callable[[Path], Iterator[VideoSource]]


def find_videos(root: Path, layout: str = "auto") -> list[VideoSource]:
    """Return all videos of a data set.

    Args:
        root: Its folder, or a single video file.
        layout: One of `LAYOUTS`, or "auto" to tell by the names.

    Raises:
        MediaError: There are none of this layout.
    """
    root = root.resolve()
    if not root.exists():
        raise MediaError(f"{root}: no such file or folder; name a video or a folder of videos")
    if layout == "auto":
        layout = guess_layout(root)
    if layout not in LAYOUTS:
        raise MediaError(f"{layout}: no layout known under this name; choose from {', '.join(LAYOUTS)}")
    found = sorted(LAYOUTS[layout](root), key=lambda s: s.key)
    if not found:
        raise MediaError(f"{root}: no video in the layout '{layout}'; name another folder or layout")
    return found


def with_speakers(sources: list[VideoSource], table: Path) -> list[VideoSource]:
    """Return the same videos with the speakers that a table names; those that it does not name keep theirs.

    Raises:
        MediaError: The table cannot be read, or lacks a column.
    """
    speakers = speaker_table(table)
    return [replace(source, speaker=speakers.get(source.video.name, source.speaker)) for source in sources]


def speaker_table(table: Path) -> dict[str, str]:
    """Return the speakers by the name of the video file, from a CSV file with the columns `file` and `speaker`.

    Raises:
        MediaError: The table cannot be read, or lacks a column.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        return {Path(row["file"]).name: row["speaker"] for row in rows if row["speaker"]}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError) as error:
        raise MediaError(f"{table}: not a CSV file with the columns 'file' and 'speaker' ({error!r})") from error


def guess_layout(root: Path) -> str:
    """Return the layout of a folder, by the first names that tell."""
    for path in _walk(root):
        if re.search(r"/id\d{5}/[^/]+/\d+\.mp4$", path.as_posix()):
            return "voxceleb2"
        if any(_VFHQ.fullmatch(name) for name in (path.stem, path.parent.name)):
            return "vfhq"
        if _HDTF.fullmatch(path.stem):
            return "hdtf"
        if _CELEBV.fullmatch(path.stem) and path.parent.name == "processed":
            return "celebvhq"
    return "folder"


def folder_layout(root: Path) -> Iterator[VideoSource]:
    """Yield any tree of video files; the speaker is the folder of a file, or the file itself right under the root."""
    for path in _videos(root):
        inside = path.relative_to(root) if root.is_dir() else Path(path.name)
        key = _key(inside)
        yield VideoSource(key, path, _key(inside.parent) if len(inside.parts) > 1 else key)


def voxceleb2(root: Path) -> Iterator[VideoSource]:
    """Yield VoxCeleb2's videos: [dev|test/]mp4/idNNNNN/VIDEO/NNNNN.mp4; the audio may lie in aac/.../NNNNN.m4a."""
    for path in _videos(root):
        speaker, video = path.parts[-3:-1]
        if not re.fullmatch(r"id\d{5}", speaker):
            continue
        apart = None
        if "mp4" in path.parts:
            place = len(path.parts) - 1 - path.parts[::-1].index("mp4")
            apart = Path(*path.parts[:place], "aac", *path.parts[place + 1 :]).with_suffix(".m4a")
        audio = apart if apart is not None and apart.exists() else None
        yield VideoSource(_key(Path(speaker, video, path.stem)), path, speaker, audio)


_CELEBV = re.compile(r"(?P<video>[\w-]{11})_(?P<number>\d+)")


def celebvhq(root: Path) -> Iterator[VideoSource]:
    """Yield CelebV-HQ's videos: processed/VIDEOID_N.mp4; its people have no names, a video stands for a speaker."""
    for path in _videos(root):
        if (name := _CELEBV.fullmatch(path.stem)) is not None and path.parent.name != "raw":
            yield VideoSource(_key(Path(path.stem)), path, name["video"])


_VFHQ = re.compile(r"Clip\+(?P<video>.{11})\+P(?P<person>\d+)\+C(?P<clip>\d+)\+F(?P<frames>\d+-\d+)")


def vfhq(root: Path) -> Iterator[VideoSource]:
    """Yield VFHQ's videos: folders Clip+VIDEO+Pn+Cn+Fa-b of images, or videos of these names; without audio."""
    seen = set()
    for path in _walk(root):
        place = path if path.suffix.lower() in VIDEO_SUFFIXES else path.parent
        if place not in seen and (name := _VFHQ.fullmatch(place.stem)) is not None:
            seen.add(place)
            yield VideoSource(_key(Path(place.stem)), place, f"{name['video']}+P{name['person']}")


_HDTF = re.compile(r"(?P<person>(RD|WDA|WRA)_.+?)(_\d{1,3})?")


def hdtf(root: Path) -> Iterator[VideoSource]:
    """Yield HDTF's videos: RD_RadioN, WDA_NAME and WRA_NAME, cut into NAME_NNN.mp4 or whole."""
    for path in _videos(root):
        if (name := _HDTF.fullmatch(path.stem)) is not None:
            # WRA_NAME1 is another video of the same person; RD_RadioN is another programme.
            person = name["person"] if name["person"].startswith("RD_") else name["person"].rstrip("0123456789")
            yield VideoSource(_key(Path(path.stem)), path, person)


# Readers by name; `folder` takes any tree.
LAYOUTS: dict[str, Reader] = {
    "folder": folder_layout,
    "voxceleb2": voxceleb2,
    "celebvhq": celebvhq,
    "vfhq": vfhq,
    "hdtf": hdtf,
}


def _walk(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for path in sorted(root.iterdir()):
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path


def _videos(root: Path) -> Iterator[Path]:
    return (path for path in _walk(root) if path.suffix.lower() in VIDEO_SUFFIXES)


def _key(inside: Path) -> str:
    """Return a name without dots and slashes: data set tools take what stands after the first dot for a type.

    A name that is too long for a tar file, or loses characters, gets a hash, by which it stays apart from others.
    """
    joined = "__".join(inside.parts).replace(".", "_")
    name = re.sub(r"[^\w+-]", "_", joined, flags=re.ASCII)
    if len(name) <= MAX_KEY_LENGTH and name == joined:
        return name
    return f"{name[: MAX_KEY_LENGTH - 13]}-{hashlib.sha256(inside.as_posix().encode()).hexdigest()[:12]}"
