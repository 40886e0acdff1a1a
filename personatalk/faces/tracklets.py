"""Tracklets: stretches of a shot in which one face is followed without any doubt, found while frames stream by.

A tracklet ends where the shot does, where its face is lost, and where two faces come so near to each other that
they could be mistaken: who is who afterwards is told by how they look (`people`), not by where they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from ..utils.arrays import Array, Image
from .multi_face import Box, face_box
from .recognition import Recogniser

REACH = 0.6
"""Sizes of a face by which it may be off the place that its motion foretold."""
GROWTH = 0.35
"""Change of the logarithm of a face's size from one frame to the next."""
PATIENCE = 5
"""Frames after which a face that was lost begins a new tracklet."""
EARLY, OFTEN, SELDOM = 16, 2, 5
"""The first frames of a tracklet are described at every second one, all others at every fifth."""
SNAPSHOT = 128
"""Side of the pictures that are kept, in pixels."""
MARGIN = 1.7
"""Side of what they show, in the longer sides of the face's box."""
SNAPSHOTS, STRETCH = 12, 10
"""Most pictures of a tracklet, and frames of which one is kept at first."""


@dataclass(frozen=True)
class Snapshot:
    """A small picture of a face.

    Attributes:
        frame: Number of the frame.
        quality: Size in pixels times how frontal the face is, 0..1.
        jpeg: The picture, `SNAPSHOT` pixels wide and high.
    """

    frame: int
    quality: float
    jpeg: bytes

    def rgb(self) -> Image:
        """The picture, uint8 (SNAPSHOT, SNAPSHOT, 3)."""
        decoded = cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), cv2.IMREAD_COLOR)
        return np.ascontiguousarray(decoded[..., ::-1])


@dataclass
class Tracklet:
    """One face in consecutive frames of a shot; some may be missing.

    Attributes:
        shot: Number of its shot.
        doubtful: Whether another face is so near that the two may be mixed.
        frames: Frames that show it.
        boxes: Its box in each of them.
        total: Sum of its descriptions, each times its weight, (D,).
        weight: Sum of their weights.
        snapshots: Its best pictures, in order of time, one for each stretch of frames.
        stretch: Frames for each of them.
    """

    shot: int
    ambiguous: bool
    frames: list[int] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    total: Array | None = None
    weight: float = 0.0
    snapshots: list[Snapshot] = field(default_factory=list)
    stretch: int = STRETCH

    def description(self) -> Array:
        """Mean of the descriptions, (D,)."""
        assert self.total is not None
        return self.total / self.weight

    def predict_box(self, frame: int, last: bool = True) -> Box:
        """Box at a frame after the last (or before the first) by the motion there, which soon comes to rest."""
        boxes, frames = (self.boxes[-4:], self.frames[-4:]) if last else (self.boxes[3::-1], self.frames[3::-1])
        box, away = boxes[-1], frame - frames[-1]
        if len(boxes) < 2:
            return box
        speed = (centre(boxes[-1]) - centre(boxes[0])) / (frames[-1] - frames[0])
        shift = speed * np.clip(away, -PATIENCE, PATIENCE)
        return (box + np.concatenate([shift, shift])).astype(np.float32)

    def add(self, frame: int, box: Box) -> None:
        """Take the face's box in one more frame."""
        self.frames.append(frame)
        self.boxes.append(box)

    def describe(self, rgb: Image, face: Array, recogniser: Recogniser) -> None:
        """Take what the face looks like in the last frame, where it is its turn."""
        place = len(self.frames) - 1
        if place % (OFTEN if place < EARLY else SELDOM):
            return
        frontal = frontality(face)
        vector = (frontal + 0.05) * recogniser.embed(rgb, face)
        self.total = vector if self.total is None else self.total + vector
        self.weight += frontal + 0.05
        self._keep(rgb, frontal * size(self.boxes[-1]))

    def _keep(self, rgb: Image, quality: float) -> None:
        frame, first = self.frames[-1], self.frames[0]
        same = (
            bool(self.snapshots)
            and (frame - first) // self.stretch == (self.snapshots[-1].frame - first) // self.stretch
        )
        if same and self.snapshots[-1].quality >= quality:
            return
        if same:
            self.snapshots.pop()
        self.snapshots.append(Snapshot(frame, quality, _jpeg(rgb, self.boxes[-1])))
        if len(self.snapshots) > SNAPSHOTS:
            self.stretch *= 2
            best: dict[int, Snapshot] = {}
            for one in self.snapshots:
                slot = (one.frame - first) // self.stretch
                best[slot] = max(best.get(slot, one), one, key=lambda s: s.quality)
            self.snapshots = list(best.values())


class TrackletLinker:
    """Links the faces of consecutive frames to tracklets.

    Args:
        recogniser: Describes faces.
    """

    def __init__(self, recogniser: Recogniser) -> None:
        self.recogniser = recogniser
        self.tracklets: list[Tracklet] = []
        self.together: set[tuple[int, int]] = set()
        """Pairs of tracklets, the smaller number first, that one frame shows."""
        self._live: list[int] = []
        self._shot = 0

    def take(self, frame: int, rgb: Image, faces: list[Array], cut: bool) -> None:
        """Take the faces of the next frame, and whether a shot begins there."""
        self._shot += int(cut)
        live = [] if cut else [n for n in self._live if frame - self.tracklets[n].frames[-1] <= PATIENCE]
        boxes = [face_box(face) for face in faces]
        near = self._near(frame, live, boxes)
        ambiguous = self._doubtful(near, boxes)
        linked = self._linked(near, live, ambiguous)
        numbers = []
        for place, (box, face) in enumerate(zip(boxes, faces, strict=True)):
            number = linked.get(place)
            if number is None:
                number = len(self.tracklets)
                self.tracklets.append(Tracklet(self._shot, bool(ambiguous[place])))
            self.tracklets[number].add(frame, box)
            self.tracklets[number].describe(rgb, face, self.recogniser)
            numbers.append(number)
        self.together.update((a, b) for a in numbers for b in numbers if a < b)
        # One whose place another tracklet has taken is not taken up again.
        waiting = [n for i, n in enumerate(live) if n not in numbers and not near[i].any()]
        self._live = numbers + waiting

    def _near(self, frame: int, live: list[int], boxes: list[Box]) -> Array:
        """How well each face fits each live tracklet, (L, F): 1 on the foretold place, 0 out of reach."""
        fits = np.zeros((len(live), len(boxes)), np.float32)
        for i, number in enumerate(live):
            tracklet = self.tracklets[number]
            predict_box = tracklet.predict_box(frame)
            for j, box in enumerate(boxes):
                gap = frame - tracklet.frames[-1]
                if abs(np.log(size(box) / size(predict_box))) < GROWTH * gap:
                    fits[i, j] = max(0.0, 1 - distance(box, predict_box) / (REACH * (1 + 0.1 * (gap - 1))))
        return fits

    def _doubtful(self, near: Array, boxes: list[Box]) -> npt.NDArray[np.bool_]:
        """Faces that fit several tracklets, or one that another face fits too, or lie very near to another, (F,)."""
        fits = near > 0
        contested = (fits.sum(axis=0) > 1) | (fits & (fits.sum(axis=1, keepdims=True) > 1)).any(axis=0)
        for i, one in enumerate(boxes):
            contested[i] |= any(i != j and distance(one, other) < REACH for j, other in enumerate(boxes))
        return contested

    def _linked(self, near: Array, live: list[int], ambiguous: npt.NDArray[np.bool_]) -> dict[int, int]:
        """Number of the tracklet that each face goes on with, by the face's place."""
        rows, columns = linear_sum_assignment(near, maximize=True)
        return {
            int(j): live[i]
            for i, j in zip(rows, columns, strict=True)
            if near[i, j] > 0 and self.tracklets[live[i]].ambiguous == ambiguous[j]
        }


def centre(box: Box) -> Array:
    """Middle of a box, (2,)."""
    middle: Array = (box[:2] + box[2:]) / 2
    return middle


def size(box: Box) -> float:
    """Longer side of a box in pixels, at least 1."""
    return max(1.0, float((box[2:] - box[:2]).max()))


def distance(one: Box, other: Box) -> float:
    """Distance of two boxes' middles in sizes of the larger."""
    return float(np.linalg.norm(centre(one) - centre(other))) / max(size(one), size(other))


def frontality(face: Array) -> float:
    """How frontal a face is: 1 where the nose is amid the cheeks, 0 in profile."""
    left, right = (abs(float(face[1, 0] - face[side, 0])) for side in (234, 454))
    between = (face[234, 0] - face[1, 0]) * (face[454, 0] - face[1, 0]) < 0
    return min(left, right) / max(left, right, 1e-6) if between else 0.0


def _jpeg(rgb: Image, box: Box) -> bytes:
    """The face's surroundings as a small picture."""
    side = MARGIN * size(box)
    scale = SNAPSHOT / side
    corner = centre(box) - side / 2
    matrix = np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]]], np.float32)
    crop = cv2.warpAffine(rgb, matrix, (SNAPSHOT, SNAPSHOT), flags=cv2.INTER_LINEAR)
    _, coded = cv2.imencode(".jpg", np.ascontiguousarray(crop[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 92])
    return bytes(coded)
