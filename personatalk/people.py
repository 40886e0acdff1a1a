"""People: who is seen in a video, where in each frame, and which of them is meant.

One streaming pass finds tracklets; how they look joins them to people, through cuts and absences. What is kept is a
box per person and frame, and a few small pictures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from .analysis import Progress, silent
from .choice import FaceNumber, FacePicture, FacePlace, FaceSide, parse_choice
from .crowd import face_box, open_crowd
from .errors import FaceError, MediaError
from .faces import CutDetector, FaceFollower, FaceTracker, FloatArray, open_tracker
from .files import sha256
from .geometry import Array
from .identity import Appearance, Identity, Picture, Recogniser
from .media import VideoInfo, VideoReader
from .tracklets import Linker, Snapshot, Tracklet, centre, distance, size

PICTURES = 6
"""Most pictures of a person."""
FEWEST_FRAMES = 5
"""Frames in which a person is seen at least, in a video that has as many; fewer are a false alarm."""
CONTINUED = 0.8
"""Share to which the distance of two descriptions counts where the one face's motion leads to the other."""
GAP = 50
"""Most frames between the two."""
TOLERANCE = 1.1
"""A reference picture may be further from a person by this factor than two parts of one video."""
MARGIN = 0.1
"""Share by which a doubtful tracklet must be nearer to one person than to any other."""


@dataclass(frozen=True)
class Person:
    """One person of a video.

    Attributes:
        number: From 1, in the order of the area of the face, summed over all frames that show it: the first is the
            one who is seen largest and longest. Of equals, the one who is seen first.
        frames: Frames that show the person.
        description: Mean description by `People.recogniser`, (D,).
        snapshots: The best pictures of different times, in order of time.
    """

    number: int
    frames: int
    description: Array
    snapshots: list[Snapshot]


@dataclass(frozen=True)
class People:
    """Everybody who is seen in a video.

    Attributes:
        info: The file.
        time: Presentation time of each frame in seconds, (T,).
        shot_of: Number of the shot of each frame, (T,).
        persons: In order of their numbers.
        boxes: Box of each person's face in each frame, in upright pixels: left, top, right, bottom, (N, T, 4); NaN
            where the person is not seen.
        recogniser: What described them.
    """

    info: VideoInfo
    time: npt.NDArray[np.float64]
    shot_of: npt.NDArray[np.int64]
    persons: list[Person]
    boxes: FloatArray
    recogniser: Recogniser = field(repr=False)

    def __len__(self) -> int:
        return len(self.persons)

    def seen(self, number: int | None = None) -> npt.NDArray[np.bool_]:
        """Whether each frame shows a person, (T,), or each person, (N, T)."""
        there: npt.NDArray[np.bool_] = ~np.isnan(self.boxes[..., 0])
        return there if number is None else there[number - 1]


def find_people(
    reader: VideoReader,
    tracker: FaceTracker,
    recogniser: Recogniser | None = None,
    progress: Progress | None = None,
) -> People:
    """Find everybody who is seen in a video, in one pass over it.

    Args:
        reader: The video.
        tracker: Finds several faces in a frame; see `crowd.open_crowd`.
        recogniser: Tells people apart; by default their appearance in this video.
        progress: Called with the stage's name, the steps done since the last call, and their total (0: unknown).

    Raises:
        MediaError: The file is damaged.
        FaceError: It shows nobody.
    """
    tell = progress or silent
    recogniser = recogniser or Appearance()
    linker, cuts = Linker(recogniser), CutDetector()
    times: list[float] = []
    shots: list[int] = []
    for place, frame in enumerate(reader.frames()):
        rgb = frame.rgb()
        cut = cuts.is_cut(rgb)
        linker.take(place, rgb, tracker.detect(rgb), cut)
        times.append(frame.time)
        shots.append((shots[-1] if shots else 0) + int(cut))
        tell("people", 1, reader.info.estimated_frames)
    groups = _joined(linker.tracklets, linker.together, recogniser.threshold)
    people = _people(reader.info, linker.tracklets, groups, np.array(times), np.array(shots, np.int64), recogniser)
    if not people.persons:
        raise FaceError(
            f"{reader.info.path}: no face in any frame, or only for a moment; give a video that shows people"
        )
    return people


def open_recogniser(identity: Path | str | None = None) -> Recogniser:
    """ArcFace where the path of such a network is given, else the appearance in this video.

    Raises:
        WeightsError: The network cannot be read.
    """
    return Appearance() if identity is None else Identity(identity)


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
        with closing(open_crowd(self.face_model)) as tracker:
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
        chosen = follower(people, choose(people, self.face, self.face_model))
        with closing(open_crowd(self.face_model)) as crowd:
            yield crowd, chosen


# ---------------------------------------------------------------------------------------------- joining


def _joined(tracklets: list[Tracklet], together: set[tuple[int, int]], threshold: float) -> list[list[int]]:
    """Groups of tracklets that show one person each.

    The nearest two groups are joined again and again, as long as they are nearer than the threshold and no frame shows
    both (agglomerative clustering with average linkage and constraints). Doubtful tracklets join last, and only
    where there is one person whom they clearly show.
    """
    sure = [n for n, tracklet in enumerate(tracklets) if not tracklet.doubtful]
    groups = [[n] for n in sure]
    far = _distances([tracklets[n] for n in sure])
    place = {n: i for i, n in enumerate(sure)}
    for a, b in together:
        if a in place and b in place:
            far[place[a], place[b]] = far[place[b], place[a]] = np.inf
    count = np.array([tracklets[n].weight for n in sure])
    while len(groups) and np.min(far) < threshold:
        a, b = sorted(int(i) for i in np.unravel_index(np.argmin(far), far.shape))
        merged = (count[a] * far[a] + count[b] * far[b]) / (count[a] + count[b])
        far[a], far[:, a], count[a] = merged, merged, count[a] + count[b]
        far[a, a] = far[b] = far[:, b] = np.inf
        groups[a], groups[b] = groups[a] + groups[b], []
    groups = [group for group in groups if group]
    _join_doubtful(tracklets, together, groups, threshold)
    return groups


def _distances(tracklets: list[Tracklet]) -> Array:
    """Distances of the descriptions of tracklets, (N, N), infinite on the diagonal."""
    if not tracklets:
        return np.zeros((0, 0), np.float32)
    means = np.stack([tracklet.description() for tracklet in tracklets]).astype(np.float32)
    squares = (means**2).sum(axis=1)
    far = np.sqrt(np.maximum(0, squares[:, None] + squares - 2 * means @ means.T)).astype(np.float32)
    np.fill_diagonal(far, np.inf)
    for i, one in enumerate(tracklets):
        for j in range(i + 1, len(tracklets)):
            if tracklets[j].shot != one.shot:
                break
            if _continues(one, tracklets[j]):
                far[i, j] = far[j, i] = CONTINUED * far[i, j]
    return far


def _continues(one: Tracklet, other: Tracklet) -> bool:
    """Whether the motion of one tracklet leads to the beginning of another, and back."""
    gap = other.frames[0] - one.frames[-1]
    if not 0 < gap <= GAP:
        return False
    onward = distance(one.foretold(other.frames[0]), other.boxes[0])
    back = distance(other.foretold(one.frames[-1], last=False), one.boxes[-1])
    return max(onward, back) < 1 and abs(np.log(size(one.boxes[-1]) / size(other.boxes[0]))) < 0.35


def _join_doubtful(
    tracklets: list[Tracklet], together: set[tuple[int, int]], groups: list[list[int]], threshold: float
) -> None:
    """Add doubtful tracklets to the groups of the people whom they clearly show; others are left out."""
    means = [
        np.average([tracklets[n].description() for n in g], axis=0, weights=_weights(tracklets, g)) for g in groups
    ]
    owner = {n: i for i, group in enumerate(groups) for n in group}
    beside: dict[int, set[int]] = {}
    for a, b in together:
        beside.setdefault(a, set()).add(b)
        beside.setdefault(b, set()).add(a)
    for number, tracklet in enumerate(tracklets):
        if not tracklet.doubtful:
            continue
        taken = {owner[n] for n in beside.get(number, ()) if n in owner}
        order = sorted((float(np.linalg.norm(mean - tracklet.description())), i) for i, mean in enumerate(means))
        others = [far for far, i in order[1:]]
        limit = min([threshold, *((1 - MARGIN) * far for far in others)])
        if order and order[0][0] < limit and order[0][1] not in taken:
            owner[number] = order[0][1]
            groups[order[0][1]].append(number)


def _weights(tracklets: list[Tracklet], group: list[int]) -> list[float]:
    return [tracklets[n].weight for n in group]


def _people(
    info: VideoInfo,
    tracklets: list[Tracklet],
    groups: list[list[int]],
    time: npt.NDArray[np.float64],
    shot_of: npt.NDArray[np.int64],
    recogniser: Recogniser,
) -> People:
    """Number the groups, and lay their boxes out by frames."""
    rows = []
    for group in groups:
        boxes = np.full((len(time), 4), np.nan, np.float32)
        for n in group:
            boxes[tracklets[n].frames] = tracklets[n].boxes
        seen = np.flatnonzero(~np.isnan(boxes[:, 0]))
        if len(seen) >= min(FEWEST_FRAMES, len(time)):
            area = float(np.prod(boxes[seen, 2:] - boxes[seen, :2], axis=1).sum())
            rows.append((-area, int(seen[0]), group, boxes))
    rows.sort(key=lambda row: row[:2])
    persons = []
    for number, (_, _, group, boxes) in enumerate(rows, 1):
        described = [tracklets[n].description() for n in group]
        mean = np.average(described, axis=0, weights=_weights(tracklets, group))
        best = _best([s for n in group for s in tracklets[n].snapshots])
        persons.append(Person(number, int((~np.isnan(boxes[:, 0])).sum()), mean, best))
    table = np.stack([row[3] for row in rows]) if rows else np.zeros((0, len(time), 4), np.float32)
    return People(info, time, shot_of, persons, table, recogniser)


def _best(snapshots: list[Snapshot]) -> list[Snapshot]:
    """The best pictures of a few stretches of time, with as many pictures in each."""
    ordered = sorted(snapshots, key=lambda s: s.frame)
    parts = np.array_split(np.arange(len(ordered)), min(PICTURES, len(ordered)))
    return [max((ordered[i] for i in part), key=lambda s: s.quality) for part in parts]


# ---------------------------------------------------------------------------------------------- choosing


class ChosenFace:
    """Follows one person: a `faces.FaceFollower` that takes the face on that person's box.

    Args:
        boxes: Box of the person's face in each frame, (T, 4); NaN where the person is not seen.
    """

    def __init__(self, boxes: FloatArray) -> None:
        self._boxes = boxes
        self._frame = -1

    def follow(self, faces: list[FloatArray], cut: bool) -> FloatArray | None:
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
        numbers: The person, as from `choose`.
    """
    boxes = people.boxes[np.array(numbers) - 1]
    seen = ~np.isnan(boxes[..., 0])
    return ChosenFace(boxes[seen.argmax(axis=0), np.arange(boxes.shape[1])])


def choose(people: People, words: str, face_model: Path | str | None = None) -> tuple[int, ...]:
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


def united(chosen: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
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


def _read_picture(path: Path) -> Picture:
    """A picture as uint8 (H, W, 3), upright as its file says."""
    try:
        coded = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise FaceError(f"{path}: the reference picture cannot be read ({error.strerror}); check the name") from error
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR) if len(coded) else None
    if decoded is None:
        raise FaceError(f"{path}: not a picture that can be read; give a PNG or JPEG file")
    return np.ascontiguousarray(decoded[..., ::-1])


def _only_face(path: Path, rgb: Picture, face_model: Path | str | None) -> FloatArray:
    tracker = open_crowd(face_model)
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
