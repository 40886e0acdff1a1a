"""Several faces at once: a detector that sees small faces, and one tracker for each face found.

MediaPipe's face mesh looks for faces with its short-range detector alone, which misses those narrower than about a
tenth of the image: the second person of a wide shot, as a rule. Here its full-range detector searches the image and
square tiles of it, turned as well where nobody is found upright. Every face found is followed by the landmark network
on a crop of its own, which moves, scales and turns with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from ..utils.arrays import Array, Image
from .boxes import Box, box_centre, box_size, face_box, same_face
from .crops import Crop, box_crop, face_crop
from .detector import FaceDetector
from .landmarks import MAX_FACES, MIN_SCORE
from .mesh import FaceMesh
from .presence import FacePresence, agree
from .shots import CutDetector

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


@dataclass(frozen=True)
class _Followed:
    """One followed face.

    Attributes:
        face: Its landmarks in the last frame, (478, 3).
        moved: Distance of its middle from the one in the frame before, in pixels.
    """

    face: Array
    moved: float = 0.0

    @property
    def box(self) -> Box:
        """Return the box of the face."""
        return face_box(self.face)


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
        mesh: The landmark network.
        max_faces: Most faces followed at once.
        presence: Takes the second look; one of its own where None.
    """

    def __init__(self, mesh: FaceMesh, max_faces: int = MAX_FACES, presence: FacePresence | None = None) -> None:
        self._mesh, self._max_faces = mesh, max_faces
        self._detector, self._presence = FaceDetector.full_range(), presence or FacePresence(mesh)
        self._held: list[_Followed] = []
        self._cuts = CutDetector()
        self._large, self._small, self._turned = _Rota[Part](1), _Rota[Part](), _Rota[int]()
        self._first = True

    def detect(self, rgb: Image) -> list[Array]:
        """See `FaceTracker.detect`; the order of the faces has no meaning."""
        fresh = self._cuts.is_cut(rgb)
        if fresh:
            self._presence.forget()
            self._held = []
        fresh, self._first = fresh or self._first, False
        before = len(self._held)
        self._follow(rgb)
        fresh |= len(self._held) < before
        self._search(rgb, self._parts(rgb, fresh, len(self._held)), turns=0)
        if not self._held:
            for turns in self._turned.take([1, 2, 3], 3 if fresh else 1):
                self._search(rgb, tiles(rgb.shape[1], rgb.shape[0]), turns)
        faces = [one.face for one in self._held]
        self._presence.remember(faces)
        return faces

    def close(self) -> None:
        """See `FaceTracker.close`; the faces are forgotten."""
        self._held = []

    def _follow(self, rgb: Image) -> None:
        """Follow all faces; of two that end up as one the one that moved further is given up."""
        found = []
        for last in self._held:
            face = self._seen(rgb, face_crop(last.face))
            if face is not None:
                moved = float(np.linalg.norm(box_centre(face_box(face)) - box_centre(last.box)))
                if moved < LEAP * box_size(last.box):
                    found.append(_Followed(face, moved))
        self._held = []
        for one in sorted(found, key=lambda one: one.moved):
            if not self._is_held(one.box):
                self._held.append(one)

    def _seen(self, rgb: Image, crop: Crop) -> Array | None:
        """Return the landmarks of the face in a crop, (478, 3); None where it shows none."""
        face, score = self._mesh.look(rgb, crop)
        return face if score > MIN_SCORE else None

    def _is_held(self, box: Box) -> bool:
        return any(same_face(box, other.box) for other in self._held)

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
            found = self._detector.detect(np.rot90(rgb[top:bottom, left:right], turns))
            boxes += [_unturned(one.box, right - left, bottom - top, turns) + shift for one in found]
        for box in sorted(boxes, key=lambda box: -float((box[2:] - box[:2]).prod())):
            if len(self._held) < self._max_faces and not self._is_held(box):
                face = self._confirmed(rgb, box_crop(box, turns * np.pi / 2))
                if face is not None and not self._is_held(face_box(face)):
                    self._held.append(_Followed(face))

    def _confirmed(self, rgb: Image, crop: Crop) -> Array | None:
        """Return the face in the crop of a detector, if a second look agrees, maybe after it got an upright crop."""
        for _ in range(2):
            face = self._seen(rgb, crop)
            face = None if face is None else self._seen(rgb, face_crop(face))  # the detector's crop is a rough one
            again = None if face is None else self._presence.look(rgb, face)
            if face is None or again is None:
                return None
            if agree(face, again):
                return face
            crop = face_crop(again)
        return None


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


def open_multi_face_tracker(max_faces: int = MAX_FACES) -> MultiFaceTracker:
    """Open a tracker of several faces."""
    return MultiFaceTracker(FaceMesh(), max_faces)
