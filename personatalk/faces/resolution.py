"""Resolution of `--face`: from the words that name a face to the numbers of a person of a video."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np

from ..errors import FaceError
from ..utils.arrays import Array, Image
from .boxes import box_centre, box_size
from .choice import FaceImage, FaceNumber, FacePlace, FaceSide, parse_choice
from .multi_face import open_multi_face_tracker
from .people import People

# Factor by which a reference image may be further from a person than two parts of one video.
REFERENCE_TOLERANCE = 1.1


def resolve_choice(people: People, words: str) -> tuple[int, ...]:
    """Return the number of the person that the words name; several only where the words give several.

    Sides are those of the first frame that shows as many people as any frame does, or of the frame at the given time;
    `largest` without a time is number 1. A place means the nearest face whose size reaches to it, in the first frame
    or at the given time. An image means the person who looks like the one face that it shows.

    Args:
        people: Everybody in the video.
        words: What `--face` takes; see `choice.parse_choice`.

    Raises:
        FaceError: The words name nobody in the video; the message says who is there.
    """
    choice = parse_choice(words)
    if isinstance(choice, FaceNumber):
        return _checked_numbers(people, choice.numbers, words)
    if isinstance(choice, FaceSide):
        return (_person_at_side(people, choice, words),)
    if isinstance(choice, FacePlace):
        return (_person_at_place(people, choice, words),)
    return (_person_like(people, choice),)


def merge_choices(chosen: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Make choices that share a number the same one, as they mean one person."""
    groups: list[set[int]] = []
    for numbers in chosen:
        touched = [group for group in groups if group & set(numbers)]
        groups = [group for group in groups if group not in touched] + [set(numbers).union(*touched)]
    return [tuple(sorted(next(group for group in groups if group & set(numbers)))) for numbers in chosen]


def read_reference(path: Path) -> Image:
    """Read a reference image as uint8 (H, W, 3), upright as its file says.

    Raises:
        FaceError: It cannot be read, or is no image.
    """
    try:
        coded = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise FaceError(f"{path}: the reference image cannot be read ({error.strerror}); check the name") from error
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR) if len(coded) else None
    if decoded is None:
        raise FaceError(f"{path}: not an image that can be read; give a PNG or JPEG file")
    return np.ascontiguousarray(decoded[..., ::-1])


def _checked_numbers(people: People, numbers: tuple[int, ...], words: str) -> tuple[int, ...]:
    if numbers[-1] > len(people):
        raise FaceError(f"--face {words}: the video shows {_count(people)}; {_listing(people)}")
    overlap = people.seen(*numbers).sum(axis=0) > 1
    if overlap.any():
        time = people.time[int(overlap.argmax())]
        raise FaceError(
            f"--face {words}: the frame at {time:.2f} s shows more than one of them: they are not one person"
        )
    return numbers


def _person_at_side(people: People, choice: FaceSide, words: str) -> int:
    if choice.side == "largest" and choice.time is None:
        return 1
    fullest = int(np.argmax(people.seen().sum(axis=0)))
    frame = fullest if choice.time is None else _frame_at(people, choice.time, words)
    middle = people.info.upright_size[0] / 2

    def rank(number: int) -> float:
        box = people.box(number, frame)
        across = float(box_centre(box)[0])
        return {"left": across, "right": -across, "centre": abs(across - middle), "largest": -box_size(box)}[
            choice.side
        ]

    return min(_seen_at(people, frame, words), key=rank)


def _person_at_place(people: People, choice: FacePlace, words: str) -> int:
    frame = _frame_at(people, choice.time, words)
    point = np.array(choice.pixels(*people.info.upright_size), np.float32)
    boxes = {number: people.box(number, frame) for number in _seen_at(people, frame, words)}
    distances = {n: float(np.linalg.norm(box_centre(box) - point)) / box_size(box) for n, box in boxes.items()}
    nearest = min(distances, key=lambda number: distances[number])
    if distances[nearest] > 1:
        places = ", ".join(f"{n} at {x:.0f},{y:.0f}" for n, (x, y) in ((n, box_centre(b)) for n, b in boxes.items()))
        raise FaceError(
            f"--face {words}: nobody at {point[0]:.0f},{point[1]:.0f} in the frame at {people.time[frame]:.2f} s;"
            f" it shows {places} (in pixels)"
        )
    return nearest


def _frame_at(people: People, time: float, words: str) -> int:
    if time > people.time[-1] + 1:
        raise FaceError(f"--face {words}: the video ends at {people.time[-1]:.2f} s; give a time before that")
    return max(0, int(np.searchsorted(people.time, time + 1e-3, side="right")) - 1)


def _seen_at(people: People, frame: int, words: str) -> list[int]:
    seen = people.seen_at(frame)
    if not seen:
        first = people.time[int(np.argmax(people.seen().any(axis=0)))]
        raise FaceError(
            f"--face {words}: nobody is seen at {people.time[frame]:.2f} s; somebody first is at {first:.2f} s:"
            f" give a time after an @, or a number; {_listing(people)}"
        )
    return seen


def _person_like(people: People, choice: FaceImage) -> int:
    path, rgb = choice.path, read_reference(choice.path)
    embedding = people.recogniser.embed(rgb, _only_face(path, rgb))
    nearest = min(people.persons, key=lambda person: float(np.linalg.norm(person.embedding - embedding)))
    distance = float(np.linalg.norm(nearest.embedding - embedding))
    limit = REFERENCE_TOLERANCE * people.recogniser.threshold
    if distance > limit:
        raise FaceError(
            f"{path}: nobody in the video looks like this face (nearest: person {nearest.number}, distance"
            f" {distance:.2f}, at most {limit:.2f}); take an image from the video, or give a number: {_listing(people)}"
        )
    return nearest.number


def _only_face(path: Path, rgb: Image) -> Array:
    """Return the landmarks of the one face of a reference image, (478, 3)."""
    with closing(open_multi_face_tracker()) as tracker:
        faces = tracker.detect(rgb)
        if not faces:  # a face that fills the image is only found from further away
            edge = max(rgb.shape[:2]) // 2
            padded = np.pad(rgb, ((edge, edge), (edge, edge), (0, 0)))
            faces = [face - np.array([edge, edge, 0], np.float32) for face in tracker.detect(padded)]
    if len(faces) != 1:
        raise FaceError(
            f"{path}: shows {len(faces) or 'no'} face{'s' * (len(faces) != 1)}; give an image of one person"
        )
    return faces[0]


def _count(people: People) -> str:
    return "1 person" if len(people) == 1 else f"{len(people)} people"


def _listing(people: People) -> str:
    return f"'personatalk faces {people.info.path}' lists {'them' if len(people) > 1 else 'who is seen'}"
