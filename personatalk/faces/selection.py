"""personatalk.faces.selection."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import FaceError, MediaError
from ..media.reader import VideoReader
from ..utils.arrays import Array, Image
from ..utils.files import sha256
from ..utils.progress import Progress
from .choice import FaceNumber, FacePicture, FacePlace, FaceSide, parse_choice
from .clustering import People, find_people, open_recogniser
from .follow import FaceFollower
from .landmarks import FaceTracker, open_tracker
from .multi_face import face_box, open_multi_face_tracker
from .tracklets import centre, distance, size

TOLERANCE = 1.1
"""A reference picture may be further from a person by this factor than two parts of one video."""


@dataclass(frozen=True)
class FaceSearch:
    """What finds the people of a video, as far as a user may choose it.

    Attributes:
        face: What `--face` takes; None for the largest face, without looking for others.
        face_model: MediaPipe Tasks model; None takes the face mesh of the mediapipe wheel.
        identity: ArcFace network in ONNX; None takes the appearance in the video.
        known: Everybody in the video, where that is known already.
    """

    face: str | None = None
    face_model: Path | str | None = None
    identity: Path | str | None = None
    known: People | None = None

    def check(self) -> None:
        """Find out before the work what can be found out then.

        Raises:
            FaceError: The words name no face, or a picture that cannot be read.
        """
        if self.face is not None:
            choice = parse_choice(self.face)
            if isinstance(choice, FacePicture):
                _read_picture(choice.path)

    def described(self) -> str:
        """What the search depends on, files by their content: two searches with the same words find the same face.

        Raises:
            MediaError: A file cannot be read.
        """
        choice = None if self.face is None else parse_choice(self.face)
        picture = choice.path if isinstance(choice, FacePicture) else None
        words = {"face": self.face} if self.face is not None and picture is None else {}
        identity = None if choice is None else self.identity  # nobody is told from others
        files = {"picture": picture, "face_model": self.face_model, "identity": identity}
        try:
            words |= {name: sha256(file) for name, file in files.items() if file is not None}
        except OSError as error:
            raise MediaError(f"{error.filename}: cannot be read ({error.strerror})") from error
        return json.dumps(words)

    def find(self, video: Path | str, progress: Progress | None = None) -> People:
        """Everybody in a video file; see `find_people`."""
        with VideoReader(video) as reader:
            return self.people(reader, progress)

    def people(self, reader: VideoReader, progress: Progress | None = None) -> People:
        """Everybody in a video; see `find_people`."""
        recogniser = open_recogniser(self.identity)
        with closing(open_multi_face_tracker(self.face_model)) as tracker:
            return find_people(reader, tracker, recogniser, progress)

    @contextmanager
    def open(
        self, reader: VideoReader, progress: Progress | None = None
    ) -> Iterator[tuple[FaceTracker, FaceFollower | None]]:
        """A tracker, and the follower of the chosen person (None without a choice), for `analysis.analyse`.

        Raises:
            FaceError: Nobody is seen, or nobody is meant.
            MediaError: The file is damaged.
            WeightsError: The network cannot be read.
        """
        if self.face is None:
            with closing(open_tracker(self.face_model)) as tracker:
                yield tracker, None
            return
        people = self.known or self.people(reader, progress)
        chosen = follower(people, resolve_choice(people, self.face, self.face_model))
        with closing(open_multi_face_tracker(self.face_model)) as crowd:
            yield crowd, chosen


class ChosenFace:
    """Follows one person: a `faces.FaceFollower` that takes the face on that person's box.

    Args:
        boxes: Box of the person's face in each frame, (T, 4); NaN where the person is not seen.
    """

    def __init__(self, boxes: Array) -> None:
        self._boxes = boxes
        self._frame = -1

    def follow(self, faces: list[Array], cut: bool) -> Array | None:
        """Take the faces of the next frame; return the person's, None where it is not among them."""
        self._frame += 1
        if self._frame >= len(self._boxes) or np.isnan(self._boxes[self._frame, 0]):
            return None
        box = self._boxes[self._frame]
        nearest = min(faces, key=lambda face: distance(face_box(face), box), default=None)
        if nearest is None or distance(face_box(nearest), box) > 0.25:
            return None
        return nearest


def follower(people: People, numbers: tuple[int, ...]) -> ChosenFace:
    """What follows a person of a video through another pass over the same video, from its first frame on.

    Args:
        people: Everybody in the video.
        numbers: The person, as from `resolve_choice`.
    """
    boxes = people.boxes[np.array(numbers) - 1]
    seen = ~np.isnan(boxes[..., 0])
    return ChosenFace(boxes[seen.argmax(axis=0), np.arange(boxes.shape[1])])


def resolve_choice(people: People, words: str, face_model: Path | str | None = None) -> tuple[int, ...]:
    """The number of the person that is meant; several only where the words give several.

    Sides are those of the first frame that shows as many people as any frame does, or of the frame at the given time;
    `largest` without a time is number 1. A place means the nearest face whose size reaches to it, in the first frame
    or at the given time. A picture means the person who looks like the one face that it shows.

    Args:
        people: Everybody in the video.
        words: What `--face` takes; see `choice.parse_choice`.
        face_model: MediaPipe Tasks model that looks for the face of a reference picture.

    Raises:
        FaceError: Nobody is meant; the message says whom there is.
    """
    choice = parse_choice(words)
    if isinstance(choice, FaceNumber):
        return _one_person(people, choice.numbers, words)
    if isinstance(choice, FaceSide):
        return (_at_side(people, choice, words),)
    if isinstance(choice, FacePlace):
        return (_at_place(people, choice, words),)
    return (_like(people, choice, face_model),)


def merge_choices(chosen: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Choices that share a number become the same one: they mean one person."""
    groups: list[set[int]] = []
    for numbers in chosen:
        touched = [group for group in groups if group & set(numbers)]
        groups = [group for group in groups if group not in touched] + [set(numbers).union(*touched)]
    return [tuple(sorted(next(group for group in groups if group & set(numbers)))) for numbers in chosen]


def _one_person(people: People, numbers: tuple[int, ...], words: str) -> tuple[int, ...]:
    if numbers[-1] > len(people):
        raise FaceError(f"--face {words}: the video shows {_count(people)}; {_listed(people)}")
    together = people.seen()[np.array(numbers) - 1].sum(axis=0) > 1
    if together.any():
        time = people.time[int(together.argmax())]
        raise FaceError(
            f"--face {words}: the frame at {time:.2f} s shows more than one of them: they are not one person"
        )
    return numbers


def _at_side(people: People, choice: FaceSide, words: str) -> int:
    if choice.side == "largest" and choice.time is None:
        return 1
    most = int(np.argmax(people.seen().sum(axis=0)))
    frame = most if choice.time is None else _frame_at(people, choice.time, words)
    there = _seen_at(people, frame, words)
    boxes = people.boxes[np.array(there) - 1, frame]
    across = boxes[:, [0, 2]].mean(axis=1)
    middle = people.info.upright_size[0] / 2
    score = {
        "left": across,
        "right": -across,
        "centre": np.abs(across - middle),
        "largest": -np.array([size(box) for box in boxes]),
    }[choice.side]
    return there[int(np.argmin(score))]


def _at_place(people: People, choice: FacePlace, words: str) -> int:
    frame = _frame_at(people, choice.time, words)
    there = _seen_at(people, frame, words)
    point = np.array(choice.pixels(*people.info.upright_size), np.float32)
    boxes = [people.boxes[number - 1, frame] for number in there]
    far = [float(np.linalg.norm(centre(box) - point)) / size(box) for box in boxes]
    if min(far) > 1:
        places = ", ".join(f"{n} at {c[0]:.0f},{c[1]:.0f}" for n, c in zip(there, map(centre, boxes), strict=True))
        raise FaceError(
            f"--face {words}: nobody at {point[0]:.0f},{point[1]:.0f} in the frame at {people.time[frame]:.2f} s;"
            f" it shows {places} (in pixels)"
        )
    return there[int(np.argmin(far))]


def _frame_at(people: People, time: float, words: str) -> int:
    if time > people.time[-1] + 1:
        raise FaceError(f"--face {words}: the video ends at {people.time[-1]:.2f} s; give a time before that")
    return max(0, int(np.searchsorted(people.time, time + 1e-3, side="right")) - 1)


def _seen_at(people: People, frame: int, words: str) -> list[int]:
    there = [int(i) + 1 for i in np.flatnonzero(people.seen()[:, frame])]
    if not there:
        first = people.time[int(np.argmax(people.seen().any(axis=0)))]
        raise FaceError(
            f"--face {words}: nobody is seen at {people.time[frame]:.2f} s; somebody first is at {first:.2f} s:"
            f" give a time after an @, or a number; {_listed(people)}"
        )
    return there


def _like(people: People, choice: FacePicture, face_model: Path | str | None) -> int:
    path, rgb = choice.path, _read_picture(choice.path)
    vector = people.recogniser.embed(rgb, _only_face(path, rgb, face_model))
    far = [float(np.linalg.norm(person.description - vector)) for person in people.persons]
    limit = TOLERANCE * people.recogniser.threshold
    if min(far) > limit:
        raise FaceError(
            f"{path}: nobody in the video looks like this face (nearest: person {int(np.argmin(far)) + 1}, distance"
            f" {min(far):.2f}, at most {limit:.2f}); take a picture from the video, or give a number: {_listed(people)}"
        )
    return int(np.argmin(far)) + 1


def _read_picture(path: Path) -> Image:
    """A picture as uint8 (H, W, 3), upright as its file says."""
    try:
        coded = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise FaceError(f"{path}: the reference picture cannot be read ({error.strerror}); check the name") from error
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR) if len(coded) else None
    if decoded is None:
        raise FaceError(f"{path}: not a picture that can be read; give a PNG or JPEG file")
    return np.ascontiguousarray(decoded[..., ::-1])


def _only_face(path: Path, rgb: Image, face_model: Path | str | None) -> Array:
    tracker = open_multi_face_tracker(face_model)
    try:
        faces = tracker.detect(rgb)
        if not faces:  # one that fills the picture is only seen from further away
            edge = max(rgb.shape[:2]) // 2
            padded = np.pad(rgb, ((edge, edge), (edge, edge), (0, 0)))
            faces = [face - np.array([edge, edge, 0], np.float32) for face in tracker.detect(padded)]
    finally:
        tracker.close()
    if len(faces) != 1:
        raise FaceError(
            f"{path}: shows {len(faces) or 'no'} face{'s' * (len(faces) != 1)}; give a picture of one person"
        )
    return faces[0]


def _count(people: People) -> str:
    return "1 person" if len(people) == 1 else f"{len(people)} people"


def _listed(people: People) -> str:
    return f"'personatalk faces {people.info.path}' lists {'them' if len(people) > 1 else 'who is seen'}"
