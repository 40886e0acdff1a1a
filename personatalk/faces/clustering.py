"""People: who is seen in a video, where in each frame, and which of them is meant.

One streaming pass finds tracklets; how they look joins them to people, through cuts and absences. What is kept is a
box per person and frame, and a few small pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import FaceError
from ..media.probe import VideoInfo
from ..media.reader import VideoReader
from ..utils.arrays import Array
from ..utils.progress import Progress, no_progress
from .landmarks import FaceTracker
from .recognition import AppearanceRecogniser, ArcFaceRecogniser, Recogniser
from .shots import CutDetector
from .tracklets import Snapshot, Tracklet, TrackletLinker, distance, size

PICTURES = 6
"""Most pictures of a person."""
FEWEST_FRAMES = 5
"""Frames in which a person is seen at least, in a video that has as many; fewer are a false alarm."""
CONTINUED = 0.8
"""Share to which the distance of two descriptions counts where the one face's motion leads to the other."""
GAP = 50
"""Most frames between the two."""
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
    boxes: Array
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
    tell = progress or no_progress
    recogniser = recogniser or AppearanceRecogniser()
    linker, cuts = TrackletLinker(recogniser), CutDetector()
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
    return AppearanceRecogniser() if identity is None else ArcFaceRecogniser(identity)


# ---------------------------------------------------------------------------------------------- joining


def _joined(tracklets: list[Tracklet], together: set[tuple[int, int]], threshold: float) -> list[list[int]]:
    """Groups of tracklets that show one person each.

    The nearest two groups are joined again and again, as long as they are nearer than the threshold and no frame shows
    both (agglomerative clustering with average linkage and constraints). Doubtful tracklets join last, and only
    where there is one person whom they clearly show.
    """
    sure = [n for n, tracklet in enumerate(tracklets) if not tracklet.ambiguous]
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
    onward = distance(one.predict_box(other.frames[0]), other.boxes[0])
    back = distance(other.predict_box(one.frames[-1], last=False), one.boxes[-1])
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
        if not tracklet.ambiguous:
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
