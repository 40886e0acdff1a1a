"""The people of a video: who is seen, and where in each frame.

A streaming pass finds shots, another one tracklets; recognition embeddings join them to people, through cuts and
absences. What is kept is a box per person and frame, and a few small images.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..errors import FaceError
from ..media.probe import VideoInfo
from ..media.reader import VideoReader
from ..utils.arrays import Array
from ..utils.progress import Progress, no_progress
from .boxes import Box
from .clustering import cluster_tracklets, mean_embedding
from .landmarks import FaceTracker
from .recognition import Recogniser
from .shots import find_shots
from .tracklets import Snapshot, Tracklet, TrackletLinker

# Most snapshots of a person.
MAX_PERSON_SNAPSHOTS = 6
# Frames in which a person is seen at least, in a video that has as many, or seconds; less is a false alarm.
MIN_PERSON_FRAMES = 5
MIN_PERSON_SECONDS = 0.2


@dataclass(frozen=True)
class Person:
    """One person of a video.

    Attributes:
        number: From 1, in the order of the area of the face, summed over all frames that show it: the first is the
            one who is seen largest and longest. Of equals, the one who is seen first.
        frames: Number of frames that show the person.
        embedding: Mean embedding by `People.recogniser`, (D,).
        snapshots: The best images of different times, in order of time.
    """

    number: int
    frames: int
    embedding: Array
    snapshots: list[Snapshot]


@dataclass(frozen=True)
class People:
    """Everybody who is seen in a video. People are named by their `Person.number`, which counts from 1.

    Attributes:
        info: The file.
        time: Presentation time of each frame in seconds, (T,).
        shot_of: Number of the shot of each frame, (T,).
        persons: In order of their numbers.
        boxes: Box of each person's face in each frame, in upright pixels, (N, T, 4); NaN where the person is not seen.
        recogniser: The recogniser that made the embeddings.
    """

    info: VideoInfo
    time: npt.NDArray[np.float64]
    shot_of: npt.NDArray[np.int64]
    persons: list[Person]
    boxes: Array
    recogniser: Recogniser = field(repr=False)

    def __len__(self) -> int:
        return len(self.persons)

    def track(self, *numbers: int) -> Array:
        """Return the box of a person in each frame, (T, 4); NaN where not seen.

        Args:
            numbers: The person's number, or several that mean one person: the box of the first that is seen.
        """
        boxes = self.boxes[np.array(numbers) - 1]
        first = (~np.isnan(boxes[..., 0])).argmax(axis=0)
        track: Array = boxes[first, np.arange(boxes.shape[1])]
        return track

    def box(self, number: int, frame: int) -> Box:
        """Return the box of a person in a frame, (4,); NaN where not seen."""
        box: Box = self.boxes[number - 1, frame]
        return box

    def seen(self, *numbers: int) -> npt.NDArray[np.bool_]:
        """Return whether each of the given people is seen in each frame, (N, T); everybody where none is given."""
        rows = np.array(numbers) - 1 if numbers else slice(None)
        return ~np.isnan(self.boxes[rows, :, 0])

    def seen_at(self, frame: int) -> list[int]:
        """Return the numbers of the people whom a frame shows."""
        return [person.number for person, seen in zip(self.persons, self.seen()[:, frame], strict=True) if seen]


def scan_people(
    reader: VideoReader, tracker: FaceTracker, recogniser: Recogniser, progress: Progress | None = None
) -> People:
    """Find everybody who is seen in a video, in two passes over it.

    Args:
        reader: The video.
        tracker: Finds several faces in a frame; see `multi_face.open_multi_face_tracker`.
        recogniser: Tells people apart.
        progress: Called with the stage's name, the steps done since the last call, and their total (0: unknown).

    Raises:
        MediaError: The file is damaged.
        FaceError: It shows nobody.
    """
    on_progress = progress or no_progress
    shots = find_shots(reader, lambda n: on_progress("shots", n, reader.info.estimated_frames))
    linker = TrackletLinker(recogniser)
    times: list[float] = []
    durations: list[float] = []
    flags = zip(shots.begins.tolist(), shots.in_transition.tolist(), strict=True)
    for place, (frame, (cut, in_transition)) in enumerate(zip(reader.frames(), flags, strict=True)):
        rgb = frame.rgb()
        linker.take(place, rgb, [] if in_transition else tracker.detect(rgb), cut)
        times.append(frame.time)
        durations.append(float(frame.duration * reader.info.time_base))
        on_progress("people", 1, reader.info.estimated_frames)
    groups = cluster_tracklets(linker.tracklets, linker.together, recogniser.threshold)
    persons, boxes = number_people([[linker.tracklets[n] for n in group] for group in groups], np.array(durations))
    if not persons:
        raise FaceError(
            f"{reader.info.path}: no face in any frame, or only for a moment; give a video that shows people"
        )
    return People(reader.info, np.array(times), shots.shot_of, persons, boxes, recogniser)


def number_people(groups: list[list[Tracklet]], durations: npt.NDArray[np.float64]) -> tuple[list[Person], Array]:
    """Number the people of a video, and lay their boxes out by frames.

    Args:
        groups: Tracklets of each person. People who are seen too briefly are left out.
        durations: Seconds that each frame of the video is shown, (T,).

    Returns:
        The people in order of their numbers, and their boxes, (N, T, 4).
    """
    rows, frames = [], len(durations)
    for group in groups:
        boxes = np.full((frames, 4), np.nan, np.float32)
        for tracklet in group:
            boxes[tracklet.frames] = tracklet.boxes
        seen = np.flatnonzero(~np.isnan(boxes[:, 0]))
        if len(seen) >= min(MIN_PERSON_FRAMES, frames) or durations[seen].sum() >= MIN_PERSON_SECONDS:
            area = float(np.prod(boxes[seen, 2:] - boxes[seen, :2], axis=1).sum())
            rows.append((-area, int(seen[0]), len(seen), group, boxes))
    rows.sort(key=lambda row: row[:2])
    persons = [
        Person(number, count, mean_embedding(group), best_snapshots([s for t in group for s in t.snapshots]))
        for number, (_, _, count, group, _) in enumerate(rows, 1)
    ]
    return persons, np.stack([row[-1] for row in rows]) if rows else np.zeros((0, frames, 4), np.float32)


def best_snapshots(snapshots: list[Snapshot], count: int = MAX_PERSON_SNAPSHOTS) -> list[Snapshot]:
    """Return the best snapshot of each of `count` stretches of time that hold equally many."""
    ordered = sorted(snapshots, key=lambda s: s.frame)
    parts = np.array_split(np.arange(len(ordered)), min(count, len(ordered)))
    return [max((ordered[i] for i in part), key=lambda s: s.quality) for part in parts]
