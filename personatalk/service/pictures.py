"""Images of a job for the page: people's faces, and frames that were passed through."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2

from ..faces.people import People
from ..media.reader import VideoReader
from ..pipeline.report import Span
from ..utils.drawing import write_picture

# Most stretches of passed-through frames that get an image, and the longer side of one in pixels.
MOST_SPANS, SIDE = 24, 240


def person_picture(folder: Path, number: int) -> Path:
    """Return the name of the image of a person's face."""
    return folder / f"person-{number}.jpg"


def passed_picture(folder: Path, number: int) -> Path:
    """Return the name of the image of the first frame of a stretch that was passed through, counted from 0."""
    return folder / f"passed-{number}.jpg"


def write_people(people: People, folder: Path) -> None:
    """Write the best image of each person's face.

    Raises:
        MediaError: One cannot be written.
    """
    for person in people.persons:
        best = max(person.snapshots, key=lambda snapshot: snapshot.quality)
        write_picture(person_picture(folder, person.number), best.rgb())


def write_passed_through(video: Path, spans: Sequence[Span], folder: Path) -> None:
    """Write the first frame of each stretch that was passed through, as far as there are not too many.

    Raises:
        MediaError: The video is damaged, or an image cannot be written.
    """
    wanted = {span.first: number for number, span in enumerate(spans[:MOST_SPANS])}
    if not wanted:
        return
    with VideoReader(video) as reader:
        for frame in reader.frames(0, max(wanted) + 1):
            if frame.index in wanted:
                image = frame.rgb()
                zoom = min(1.0, SIDE / max(image.shape[:2]))
                small = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
                write_picture(passed_picture(folder, wanted[frame.index]), small)
