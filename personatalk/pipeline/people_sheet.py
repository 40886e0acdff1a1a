"""`personatalk faces`: the people of a video as a contact sheet, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import MediaError
from ..faces.people import MAX_PERSON_SNAPSHOTS, People, Person
from ..utils.arrays import Image, runs
from ..utils.drawing import check_folder, check_picture, write_picture, write_text
from ..utils.files import same_file

# Side in pixels of the image of a face, and height of the two lines of text above a person's images.
TILE, HEAD = 144, 40

# Seconds of absence that part two time ranges; shorter ones are passed over.
PAUSE = 1.0

# Most time ranges in a line of text; JSON holds all of them.
RANGES = 8


def check_people_sheet(video: Path | str, sheet: Path | None, listed: Path | None) -> None:
    """Refuse names under which sheet or list cannot be written or would destroy another file.

    Raises:
        MediaError: The folder is missing, the name is a folder's, the video's or the other's, or no image's.
    """
    if sheet is not None:
        check_picture(sheet)
    names = [name for name in (sheet, listed) if name is not None]
    for name in names:
        check_folder(name)
        if name.is_dir():
            raise MediaError(f"{name}: is a folder; name a file in it")
        if same_file(name, Path(video)):
            raise MediaError(f"{name}: is the video itself; choose another name")
    if len(names) == 2 and same_file(names[0], names[1]):
        raise MediaError(f"{sheet}: sheet and list cannot be one file; choose another name")


def ranges(people: People, person: Person) -> list[tuple[float, float]]:
    """Return start and end in seconds of the time ranges in which a person is seen; short absences are passed over."""
    time = people.time
    step = float(np.median(np.diff(time))) if len(time) > 1 else 0.0
    ends = np.append(time[1:], time[-1] + step)
    found: list[tuple[float, float]] = []
    for start, stop in runs(people.seen(person.number)[0]):
        begin, end = float(time[start]), float(ends[stop - 1])
        if found and begin - found[-1][1] < PAUSE:
            begin = found.pop()[0]
        found.append((begin, end))
    return found


def describe_people(people: People) -> list[str]:
    """Return lines of text with everybody's number, size and time ranges."""
    count = f"{len(people)} people" if len(people) > 1 else "1 person"
    lines = [f"{people.info.path}: {count} in {len(people.time)} frames"]
    return lines + [f"  {person.number}: {_words(people, person)}" for person in people.persons]


def write_people_json(people: People, path: Path | str) -> None:
    """Write everybody's time ranges, and their boxes in the first frame of each, as JSON.

    Raises:
        MediaError: It cannot be written.
    """
    text = json.dumps({"video": str(people.info.path), "people": people_entries(people)}, indent=2)
    try:
        Path(path).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise MediaError(f"{path}: cannot be written ({error.strerror}); check folder and free space") from error


def people_entries(people: People) -> list[dict[str, Any]]:
    """Return everybody's number, size, time ranges and boxes, JSON-able."""
    return [_entry(people, person) for person in people.persons]


def write_sheet(people: People, path: Path | str) -> None:
    """Draw a row for each person: number, time ranges, and images with their times.

    Args:
        people: Everybody in the video.
        path: Image to write, PNG or JPEG.

    Raises:
        MediaError: It cannot be written.
    """
    write_picture(path, np.vstack([_row(people, person) for person in people.persons]))


def _entry(people: People, person: Person) -> dict[str, Any]:
    seen = [{"start": round(start, 3), "end": round(end, 3)} for start, end in ranges(people, person)]
    for span in seen:
        first = int(np.searchsorted(people.time, span["start"] - 1e-3))
        span["box"] = [round(float(side), 1) for side in people.box(person.number, first)]  # type: ignore[assignment]
    return {"number": person.number, "frames": person.frames, "face_px": round(_width(people, person)), "seen": seen}


def _width(people: People, person: Person) -> float:
    boxes = people.track(person.number)
    return float(np.nanmedian(boxes[:, 2] - boxes[:, 0]))


def _words(people: People, person: Person) -> str:
    spans = ranges(people, person)
    shown = ", ".join(f"{_clock(start)}-{_clock(end)}" for start, end in spans[:RANGES])
    more = f" and {len(spans) - RANGES} times more" if len(spans) > RANGES else ""
    return f"{person.frames} frames, face {_width(people, person):.0f} px wide, {shown}{more}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds * 10), 600)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest / 10:04.1f}" if hours else f"{minutes}:{rest / 10:04.1f}"


def _row(people: People, person: Person) -> Image:
    width = TILE * MAX_PERSON_SNAPSHOTS
    head = np.full((HEAD, width, 3), 24, np.uint8)
    write_text(head, f"{person.number}", (6, 29), 0.9, 2)
    write_text(head, _words(people, person), (44, 26), 0.42, 1)
    tiles = np.full((TILE, width, 3), 24, np.uint8)
    for place, snapshot in enumerate(person.snapshots):
        tile = cv2.resize(snapshot.rgb(), (TILE, TILE), interpolation=cv2.INTER_CUBIC)
        write_text(tile, _clock(float(people.time[snapshot.frame])), (4, TILE - 6), 0.4, 1)
        tiles[:, place * TILE : (place + 1) * TILE] = tile
    return np.vstack([head, tiles])
