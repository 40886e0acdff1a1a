"""Tracklets: stretches of a shot in which one face is followed without any doubt, found while frames stream by.

A tracklet ends where the shot does, where its face is lost, and where two faces come so near to each other that
they could be mistaken: afterwards embeddings decide who is who (`clustering`), not positions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from ..utils.arrays import Array, BoolArray, Image
from ..utils.assignment import best_pairs
from .boxes import Box, box_centre, box_distance, box_size, face_box
from .crops import roll
from .recognition import Recogniser

# Sizes of a face by which it may be off the place that its motion predicts.
LINK_DISTANCE = 0.6
# Most change of the logarithm of a face's size from one frame to the next.
LINK_GROWTH = 0.35
# Frames after which a face that was lost begins a new tracklet.
LINK_PATIENCE = 5
# Every second of the first frames of a tracklet gets an embedding, and every fifth of all others.
EARLY_FRAMES = 16
EARLY_STEP = 2
LATE_STEP = 5
# Side of a snapshot in pixels.
SNAPSHOT_SIDE = 128
# Side of what a snapshot shows, in sizes of the face.
SNAPSHOT_SPAN = 1.7
# Most snapshots of a tracklet.
MAX_TRACKLET_SNAPSHOTS = 12
# Frames of which one snapshot is kept at first.
SNAPSHOT_STRETCH = 10


@dataclass(frozen=True)
class Snapshot:
    """A small image of a face.

    Attributes:
        frame: Number of the frame.
        quality: Size in pixels times how frontal the face is, 0..1.
        jpeg: The image, `SNAPSHOT_SIDE` pixels wide and high.
    """

    frame: int
    quality: float
    jpeg: bytes

    def rgb(self) -> Image:
        """Return the image, uint8 (SNAPSHOT_SIDE, SNAPSHOT_SIDE, 3)."""
        decoded = cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), cv2.IMREAD_COLOR)
        return np.ascontiguousarray(decoded[..., ::-1])


@dataclass
class Tracklet:
    """One face in consecutive frames of a shot; some may be missing.

    Attributes:
        shot: Number of its shot.
        ambiguous: Whether another face is so near that the two may be mixed.
        frames: Frames that show the face.
        boxes: Box of the face in each of them.
        total: Sum of its embeddings, each times its weight, (D,).
        weight: Sum of their weights.
        snapshots: The best snapshots, in order of time, one for each stretch of frames.
        stretch: Frames of such a stretch.
    """

    shot: int
    ambiguous: bool
    frames: list[int] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    total: Array | None = None
    weight: float = 0.0
    snapshots: list[Snapshot] = field(default_factory=list)
    stretch: int = SNAPSHOT_STRETCH

    def embedding(self) -> Array:
        """Return the mean of the embeddings, (D,)."""
        assert self.total is not None
        return self.total / self.weight

    def predict_box(self, frame: int, last: bool = True) -> Box:
        """Predict the box at a frame after the last (or before the first) from the motion there, which soon ends."""
        boxes, frames = (self.boxes[-4:], self.frames[-4:]) if last else (self.boxes[3::-1], self.frames[3::-1])
        box, away = boxes[-1], frame - frames[-1]
        if len(boxes) < 2:
            return box
        speed = (box_centre(boxes[-1]) - box_centre(boxes[0])) / (frames[-1] - frames[0])
        shift = speed * np.clip(away, -LINK_PATIENCE, LINK_PATIENCE)
        return (box + np.concatenate([shift, shift])).astype(np.float32)

    def add(self, frame: int, box: Box) -> None:
        """Add the face's box in one more frame."""
        self.frames.append(frame)
        self.boxes.append(box)

    def embed(self, rgb: Image, face: Array, recogniser: Recogniser) -> None:
        """Add the embedding of the face in the last frame, where it is that frame's turn."""
        place = len(self.frames) - 1
        if place % (EARLY_STEP if place < EARLY_FRAMES else LATE_STEP):
            return
        frontal = frontality(face)
        vector = (frontal + 0.05) * recogniser.embed(rgb, face)
        self.total = vector if self.total is None else self.total + vector
        self.weight += frontal + 0.05
        self._keep(rgb, frontal * box_size(self.boxes[-1]))

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
        if len(self.snapshots) > MAX_TRACKLET_SNAPSHOTS:
            self.stretch *= 2
            best: dict[int, Snapshot] = {}
            for one in self.snapshots:
                slot = (one.frame - first) // self.stretch
                best[slot] = max(best.get(slot, one), one, key=lambda s: s.quality)
            self.snapshots = list(best.values())


class TrackletLinker:
    """Links the faces of consecutive frames to tracklets.

    Args:
        recogniser: Makes the embeddings of faces.

    Attributes:
        tracklets: All tracklets so far, in order of their first frames.
        together: Pairs of tracklet numbers, the smaller first, that one frame shows.
    """

    def __init__(self, recogniser: Recogniser) -> None:
        self.recogniser = recogniser
        self.tracklets: list[Tracklet] = []
        self.together: set[tuple[int, int]] = set()
        self._live: list[int] = []
        self._shot = 0

    def take(self, frame: int, rgb: Image, faces: list[Array], cut: bool) -> None:
        """Link the faces of the next frame.

        Args:
            frame: Number of the frame.
            rgb: Upright image, uint8 (H, W, 3).
            faces: Landmarks of its faces, each (478, 3) in pixels.
            cut: Whether a shot begins at this frame.
        """
        self._shot += int(cut)
        live = [] if cut else [n for n in self._live if frame - self.tracklets[n].frames[-1] <= LINK_PATIENCE]
        boxes = [face_box(face) for face in faces]
        fits = self._fits(frame, live, boxes)
        ambiguous = self._ambiguous(fits, boxes)
        linked = self._linked(fits, live, ambiguous)
        numbers = []
        for place, (box, face) in enumerate(zip(boxes, faces, strict=True)):
            number = linked.get(place)
            if number is None:
                number = len(self.tracklets)
                self.tracklets.append(Tracklet(self._shot, bool(ambiguous[place])))
            self.tracklets[number].add(frame, box)
            self.tracklets[number].embed(rgb, face, self.recogniser)
            numbers.append(number)
        self.together.update((a, b) for a in numbers for b in numbers if a < b)
        # One whose place another tracklet has taken is not taken up again.
        waiting = [n for i, n in enumerate(live) if n not in numbers and not fits[i].any()]
        self._live = numbers + waiting

    def _fits(self, frame: int, live: list[int], boxes: list[Box]) -> Array:
        """Fit of each face to each live tracklet, (L, F): 1 at the predicted place, 0 out of reach."""
        fits = np.zeros((len(live), len(boxes)), np.float32)
        for i, number in enumerate(live):
            tracklet = self.tracklets[number]
            predicted = tracklet.predict_box(frame)
            for j, box in enumerate(boxes):
                gap = frame - tracklet.frames[-1]
                if abs(np.log(box_size(box) / box_size(predicted))) < LINK_GROWTH * gap:
                    fits[i, j] = max(0.0, 1 - box_distance(box, predicted) / (LINK_DISTANCE * (1 + 0.1 * (gap - 1))))
        return fits

    def _ambiguous(self, fits: Array, boxes: list[Box]) -> BoolArray:
        """Faces that fit several tracklets, or one that another face fits too, or lie very near to another, (F,)."""
        fit = fits > 0
        contested: BoolArray = (fit.sum(axis=0) > 1) | (fit & (fit.sum(axis=1, keepdims=True) > 1)).any(axis=0)
        for i, one in enumerate(boxes):
            contested[i] |= any(i != j and box_distance(one, other) < LINK_DISTANCE for j, other in enumerate(boxes))
        return contested

    def _linked(self, fits: Array, live: list[int], ambiguous: BoolArray) -> dict[int, int]:
        """Number of the tracklet that each face continues, by the face's index."""
        return {
            j: live[i]
            for i, j in best_pairs(fits)
            if fits[i, j] > 0 and self.tracklets[live[i]].ambiguous == ambiguous[j]
        }


def frontality(face: Array) -> float:
    """Return 1 where a face (478, 3) is seen from the front, with the nose amid the cheeks, down to 0 in profile."""
    angle = roll(face)
    left, right = (face[[234, 454], :2] - face[1, :2]) @ np.array([np.cos(angle), np.sin(angle)])
    return min(abs(left), abs(right)) / max(abs(left), abs(right), 1e-6) if left * right < 0 else 0.0


def _jpeg(rgb: Image, box: Box) -> bytes:
    """Encode a face and its surroundings as a small image."""
    side = SNAPSHOT_SPAN * box_size(box)
    scale = SNAPSHOT_SIDE / side
    corner = box_centre(box) - side / 2
    matrix = np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]]], np.float32)
    crop = cv2.warpAffine(rgb, matrix, (SNAPSHOT_SIDE, SNAPSHOT_SIDE), flags=cv2.INTER_LINEAR)
    _, coded = cv2.imencode(".jpg", np.ascontiguousarray(crop[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 92])
    return bytes(coded)
