"""Several faces at once: a detector that sees small faces, and one tracker for each face found.

MediaPipe's face mesh looks for faces with its short-range detector alone, which misses those narrower than about a
tenth of the image: the second person of a wide shot, as a rule. Here its full-range detector, which is in the same
wheel, searches the image and square tiles of it, turned as well where nobody is found upright. Every face found gets a
tracker of one face of its own, on a crop that moves, scales and turns with the face.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import cv2
import numpy as np

from ..geometry.camera import apply_transform, invert_transform
from ..utils.arrays import Array, Image
from .boxes import Box, face_box, same_face
from .landmarks import MAX_FACES, FaceTracker, open_tracker, quiet_native_stderr
from .presence import FacePresence, agree, roll, turned_crop
from .shots import CutDetector

# Side in pixels of the crop that a face's tracker sees.
TRACKER_CROP = 320
# Side of that crop in sizes of the face.
CROP_FACES = 2.5
# The crop stands still, as its moves would shake the landmarks, until the face is off by this share of its size.
DRIFT = 0.2
# A face that moves by more than this share of its size from one frame to the next must be found anew by the detector:
# trackers go on for some frames with landmarks that wander about where a face has been.
LEAP = 0.4
# An image longer than this share of its shorter side is also searched in square tiles.
TILED_ASPECT = 1.2
# Side in pixels of the smaller tiles of a large image, in which the detector sees faces of 80 pixels.
SMALL_TILE = 720
# Pixels by which they overlap, so that a face on the edge of one is inside another.
SMALL_TILE_OVERLAP = 120
# Smaller tiles that are searched in a frame that shows nobody, and in one that does.
SMALL_TILES_UNHELD, SMALL_TILES_HELD = 8, 1

# A part of an image: left, top, right and bottom in pixels.
Part = tuple[int, int, int, int]
Item = TypeVar("Item")


class FullRangeDetector:
    """MediaPipe's full-range face detector, as it comes inside the wheel: boxes of faces from some 8 % of the image.

    Args:
        min_confidence: Detection threshold, 0..1.
    """

    def __init__(self, min_confidence: float = 0.5) -> None:
        with quiet_native_stderr():
            import mediapipe as mp

            detection = mp.solutions.face_detection
            self._detector = detection.FaceDetection(model_selection=1, min_detection_confidence=min_confidence)
            self._detector.process(np.zeros((64, 64, 3), np.uint8))

    def detect(self, rgb: Image) -> list[Box]:
        """Return the boxes in pixels of the faces of an image, uint8 (H, W, 3)."""
        height, width = rgb.shape[:2]
        found = self._detector.process(np.ascontiguousarray(rgb)).detections or []
        boxes = (one.location_data.relative_bounding_box for one in found)
        scale = np.array([width, height, width, height], np.float32)
        return [np.array([b.xmin, b.ymin, b.xmin + b.width, b.ymin + b.height], np.float32) * scale for b in boxes]

    def close(self) -> None:
        """Free the network."""
        self._detector.close()


@dataclass
class _Slot:
    """One followed face.

    Attributes:
        tracker: Sees only the crop around this face.
        box: Box of the face in the last frame; None where the slot is free.
        face: Its landmarks there, None before it was first seen.
        window: Centre and side of the crop, (3,); None before the first.
        angle: Clockwise angle of the face that is undone in the crop, in radians.
        moved: Distance of the face's middle from the last frame's, in pixels.
    """

    tracker: FaceTracker
    box: Box | None = None
    face: Array | None = None
    window: Array | None = None
    angle: float = 0.0
    moved: float = 0.0


class _Rota(Generic[Item]):
    """Deals items in turn.

    Args:
        first: Number of the item to begin with.
    """

    def __init__(self, first: int = 0) -> None:
        self._next = first

    def take(self, items: Sequence[Item], count: int) -> list[Item]:
        """Return the next items, at most all of them once."""
        count = min(count, len(items))
        start, self._next = self._next % max(1, len(items)), (self._next + count) % max(1, len(items))
        return [items[(start + i) % len(items)] for i in range(count)]


class MultiFaceTracker:
    """A `FaceTracker` of several faces.

    Every frame some parts of the image are searched for new faces in turn (the whole, square tiles of it, and smaller
    tiles of a large one), all of them in the first frame of a shot and where a face was lost. A face that enters is
    found within a few frames, a small one of a large image within a second. Where nobody is found, the image is also
    searched turned by a quarter, a half and three quarters. What is found is followed only if `FacePresence` agrees.

    Args:
        open_one: Opens a tracker of one face.
        max_faces: Most faces followed at once.
    """

    def __init__(self, open_one: Callable[[], FaceTracker], max_faces: int = MAX_FACES) -> None:
        self._open_one, self._max_faces = open_one, max_faces
        self._detector, self._presence = FullRangeDetector(), FacePresence()
        self._slots = [_Slot(open_one())]
        self._cuts = CutDetector()
        self._large, self._small, self._turned = _Rota[Part](1), _Rota[Part](), _Rota[int]()
        self._first = True

    def detect(self, rgb: Image) -> list[Array]:
        """See `FaceTracker.detect`; the order of the faces has no meaning."""
        before = self._held()
        fresh, self._first = self._cuts.is_cut(rgb) or self._first, False
        if fresh:
            for slot in self._slots:
                slot.box = None
        self._follow(rgb)
        held = self._held()
        fresh |= held < before
        self._search(rgb, self._parts(rgb, fresh, held), turns=0)
        if not self._held():
            for turns in self._turned.take([1, 2, 3], 3 if fresh else 1):
                self._search(rgb, tiles(rgb.shape[1], rgb.shape[0]), turns)
        return [slot.face for slot in self._slots if slot.box is not None and slot.face is not None]

    def close(self) -> None:
        """See `FaceTracker.close`."""
        self._detector.close()
        for slot in self._slots:
            slot.tracker.close()

    def _held(self) -> int:
        return sum(slot.box is not None for slot in self._slots)

    def _follow(self, rgb: Image) -> None:
        """Follow all faces; of two trackers that end up on one face the one that moved further gives up."""
        for slot in self._slots:
            if slot.box is not None:
                _track(slot, rgb, LEAP)
        steady = sorted((slot for slot in self._slots if slot.box is not None), key=lambda slot: slot.moved)
        for i, one in enumerate(steady):
            for other in steady[i + 1 :]:
                if one.box is not None and other.box is not None and same_face(one.box, other.box):
                    other.box = None

    def _parts(self, rgb: Image, fresh: bool, held: int) -> list[Part]:
        """Return the parts of the image whose turn it is to be searched."""
        height, width = rgb.shape[:2]
        large, small = tiles(width, height), small_tiles(width, height)
        turn = self._large.take(large, 1)
        few = SMALL_TILES_HELD if held else SMALL_TILES_UNHELD
        return [
            *(turn if held and not fresh else large),
            *self._small.take(small, len(small) if fresh else few),
        ]

    def _search(self, rgb: Image, parts: list[Part], turns: int) -> None:
        """Follow the new faces in parts of an image whose heads are turned by some clockwise quarters."""
        boxes = []
        for left, top, right, bottom in parts:
            shift = np.array([left, top, left, top], np.float32)
            turned = np.rot90(rgb[top:bottom, left:right], turns)
            found = self._detector.detect(turned)
            boxes += [_unturned(box, right - left, bottom - top, turns) + shift for box in found]
        for box in sorted(boxes, key=lambda box: -float((box[2] - box[0]) * (box[3] - box[1]))):
            self._start(rgb, box, turns * np.pi / 2)

    def _start(self, rgb: Image, box: Box, angle: float) -> None:
        held = [slot.box for slot in self._slots if slot.box is not None]
        if len(held) == self._max_faces or any(same_face(box, other) for other in held):
            return
        slot = next((slot for slot in self._slots if slot.box is None), None)
        if slot is None:
            slot = _Slot(self._open_one())
            self._slots.append(slot)
        _fill(slot, rgb, box, angle)
        if not self._confirmed(slot, rgb) or (
            slot.box is not None and any(same_face(slot.box, other) for other in held)
        ):
            slot.box = None

    def _confirmed(self, slot: _Slot, rgb: Image) -> bool:
        """Return whether a second look agrees with the landmarks of a slot, if need be after it got an upright crop."""
        for last in (False, True):
            face = None if slot.box is None or slot.face is None else self._presence.look(rgb, slot.face)
            if face is None or slot.face is None:
                return False
            if agree(slot.face, face):
                return True
            if not last:
                _fill(slot, rgb, face_box(face), roll(face))
        return False


def _fill(slot: _Slot, rgb: Image, box: Box, angle: float) -> None:
    """Let a slot look for the face in a box, whose head is turned by an angle."""
    slot.box = None
    for _ in range(2):  # a tracker that still looks for its last face only finds another when it is asked again
        if slot.box is None:
            slot.box, slot.face, slot.window, slot.angle = box, None, None, angle
            _track(slot, rgb, 1.0)


def _track(slot: _Slot, rgb: Image, reach: float) -> None:
    """Find the face of a slot in the next frame; free the slot where it is further off than `reach` sizes."""
    assert slot.box is not None
    box, slot.box = slot.box, None
    slot.window = window = _window(box, slot.window)
    side = window[2]
    matrix = turned_crop(window, slot.angle, TRACKER_CROP)
    back = invert_transform(matrix)
    crop = cv2.warpAffine(rgb, matrix, (TRACKER_CROP, TRACKER_CROP), flags=cv2.INTER_LINEAR)
    for face in slot.tracker.detect(crop):
        slot.face = apply_transform(back, face)
        found = face_box(slot.face)
        slot.moved = float(np.linalg.norm(found[:2] + found[2:] - box[:2] - box[2:])) / 2
        if slot.moved < reach * side / CROP_FACES:
            slot.box = found


def _unturned(box: Box, width: int, height: int, turns: int) -> Box:
    """Return where a box of an image that was turned by counter-clockwise quarters lies in the image before that."""
    left, top, right, bottom = box
    corners = {
        0: (left, top, right, bottom),
        1: (width - bottom, left, width - top, right),
        2: (width - right, height - bottom, width - left, height - top),
        3: (top, height - right, bottom, height - left),
    }
    return np.array(corners[turns], np.float32)


def _window(box: Box, last: Array | None) -> Array:
    """Centre and side of the crop of a face, (3,): the last one as long as the face is well inside it."""
    wanted = np.array([*(box[:2] + box[2:]) / 2, CROP_FACES * max((box[2:] - box[:2]).max(), 4)], np.float32)
    if last is not None:
        off, grown = np.abs(wanted - last)[:2].max() * CROP_FACES / last[2], abs(np.log(wanted[2] / last[2]))
        if max(off, grown) < DRIFT:
            return last
    return wanted


def tiles(width: int, height: int) -> list[Part]:
    """Return the whole image, then the squares that cover it, as (left, top, right, bottom)."""
    side, length = min(width, height), max(width, height)
    whole = [(0, 0, width, height)]
    if length < TILED_ASPECT * side:
        return whole
    starts = np.linspace(0, length - side, -(-length // side)).round().astype(int).tolist()
    if width > height:
        return whole + [(s, 0, s + side, height) for s in starts]
    return whole + [(0, s, width, s + side) for s in starts]


def small_tiles(width: int, height: int) -> list[Part]:
    """Return the smaller squares that cover a large image, and overlap; none where the image is about as small."""
    if min(width, height) < TILED_ASPECT * SMALL_TILE:
        return []
    across, down = (
        np.linspace(0, length - SMALL_TILE, 1 - (SMALL_TILE - length) // (SMALL_TILE - SMALL_TILE_OVERLAP))
        for length in (width, height)
    )
    return [(round(x), round(y), round(x) + SMALL_TILE, round(y) + SMALL_TILE) for y in down for x in across]


def open_multi_face_tracker(model: Path | str | None = None, max_faces: int = MAX_FACES) -> MultiFaceTracker:
    """Open a tracker of several faces on the backend that `landmarks.open_tracker` opens.

    Raises:
        FaceError: The model file is missing or is not a face landmarker.
    """
    return MultiFaceTracker(lambda: open_tracker(model, max_faces=1), max_faces)
