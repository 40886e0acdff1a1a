"""Gradual transitions between shots: dissolves, dips to a plain image, and wipes, found while frames stream by.

Between two shots that a transition joins, every small region of the image goes straight from its look in the one to
its look in the other. A camera that moves or zooms, and people who move, show other things in between.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..utils.arrays import Array, Image

# Width and height of the small images.
SIDE = 32
# Seconds of the shortest and of the longest span that is looked at, from the one shot to the other.
SHORTEST, LONGEST = 0.12, 3.4
# Each span is longer than the one before by this factor, and by a frame at least.
SPAN_STEP = 1.18
# Least mean difference of the shots, in grey levels.
MIN_DIFFERENCE = 20.0
# A single step of more than this share of the difference is a cut.
MAX_STEP = 0.6
# Share of the difference by which each shot may change in half the span beside the transition.
MAX_UNREST = 0.4
# Share of the difference by which all but a fifth of the image may be off the straight way, on average.
MAX_DEVIATION = 0.35
DEVIATION_PERCENTILE = 80
# Up to this share nothing has moved from the one shot to the other.
STRAIGHT = 0.2
# Side in small pixels of a region that changes as one.
REGION = 5
# Correlation of the edges from which on two images show the same: in place, and at the best shift and scale.
SAME_EDGES, SAME_MOVED_EDGES = 0.5, 0.65
# Correlation of the details from which on they do.
SAME_DETAILS = 0.75
# Details are what the logarithm of the grey levels, and of this many more, shows beside its blur of this many small
# pixels: light that changes smoothly across the image leaves them alone, whatever its strength and colour.
DETAIL_OFFSET, DETAIL_BLUR = 8.0, 4.0
# Correlation of the colours in a coarse grid from which on they show the same, and the grid's side.
SAME_LAYOUT, LAYOUT = 0.7, 16
# Standard deviation of the grey levels of a plain image, and how much plainer than the shots it is.
PLAIN, PLAINER = 8.0, 0.3
# Side in small pixels of a cell, the shares of its way to the other shot, the second twice the first, that tell when it
# left, and the cells that must have left.
CELL, CELL_SHARES, MIN_CELLS = 4, (0.4, 0.8), 3
# Share of the way to the other shot at which a frame belongs to the transition.
MIN_SHARE = 0.03
# Frames beyond each measured end that belong to it as well: a faint trace of the other shot is not measured.
TRANSITION_MARGIN = 1
# A shot of less contrast is a faded one if the other has much more.
DIM = 20.0
# Consecutive plain frames after which further ones are not kept.
MAX_PLAIN_RUN = 8


@dataclass(frozen=True)
class Transition:
    """Frames that show two shots at once, or neither.

    Attributes:
        start: First frame.
        stop: Frame after the last.
        score: How far apart the shots are, in grey levels, and how straight the way from one to the other is.
    """

    start: int
    stop: int
    score: float


@dataclass(frozen=True)
class ThumbnailClip:
    """Small images of consecutive frames.

    Attributes:
        images: float32 (N, S, S, 3).
        steps: Mean difference of each image from the one before it, (N,).
        contrast: Standard deviation of each image, the largest of its channels, (N,).
    """

    images: Array
    steps: Array
    contrast: Array

    @classmethod
    def empty(cls, count: int) -> ThumbnailClip:
        """Return room for images."""
        return cls(np.zeros((count, SIDE, SIDE, 3), np.float32), *np.zeros((2, count), np.float32))

    def part(self, start: int, stop: int) -> ThumbnailClip:
        """Return a part, which shares its memory."""
        return ThumbnailClip(self.images[start:stop], self.steps[start:stop], self.contrast[start:stop])

    def put(self, place: int, image: Array) -> None:
        """Set an image; the one before it is known."""
        self.images[place] = image
        self.steps[place] = np.abs(image - self.images[place - 1]).mean() if place else 0
        self.contrast[place] = contrast(image)

    def shift(self, count: int) -> None:
        """Move the last images to the beginning."""
        for array in (self.images, self.steps, self.contrast):
            array[:count] = array[-count:]


class TransitionFinder:
    """Finds transitions while small images of the frames stream by; holds some seconds of them.

    Args:
        fps: Frames a second.
    """

    def __init__(self, fps: float) -> None:
        self._spans = np.array(spans(fps))
        self._most = 2 * int(self._spans[-1]) + 2
        self._clip = ThumbnailClip.empty(2 * self._most)  # room for twice as many as are needed
        self._numbers: list[int] = []
        self._count = 0
        self._plain_run = 0
        self._found: list[Transition] = []

    def add(self, small: Image) -> None:
        """Take the small image of the next frame, uint8 (`SIDE`, `SIDE`, 3)."""
        image = small.astype(np.float32)
        self._plain_run = self._plain_run + 1 if contrast(image) < PLAIN else 0
        if self._plain_run <= MAX_PLAIN_RUN:
            self._take(image, self._count)
        self._count += 1

    def finish(self) -> list[Transition]:
        """Return all transitions, in order, once all frames were added."""
        for _ in range(self._spans[-1] // 2 if self._numbers else 0):
            self._take(self._clip.images[len(self._numbers) - 1], self._numbers[-1])
        best: list[Transition] = []
        for one in sorted(self._found, key=lambda t: -t.score):
            if all(one.stop <= other.start or other.stop <= one.start for other in best):
                best.append(one)
        return sorted(best, key=lambda t: t.start)

    def _take(self, image: Array, number: int) -> None:
        if len(self._numbers) == 2 * self._most:
            self._clip.shift(self._most)
            del self._numbers[: self._most]
        self._clip.put(len(self._numbers), image)
        self._numbers.append(number)
        count = len(self._numbers)
        for span in self._spans:
            stop = count - 1 - span // 2
            start = stop - span
            if start < 0:
                break
            if self._numbers[stop - 1] == number:
                continue  # among the copies of the last frame
            first = max(0, start - span // 2)
            found = measure(self._clip.part(first, count), start - first, stop - first)
            if found is not None:
                begin, end = (self._numbers[min(first + i, count - 1)] for i in (found.start, found.stop))
                self._found.append(Transition(begin, end, found.score))


def contrast(image: Array) -> float:
    """Return the standard deviation of an image (S, S, 3), the largest of its channels."""
    return float(cv2.meanStdDev(image)[1].max())


def spans(fps: float) -> list[int]:
    """Return the numbers of frames from one shot to the other that are tried, rising."""
    found = [max(3, round(SHORTEST * fps))]
    while found[-1] < LONGEST * fps:
        found.append(max(found[-1] + 1, round(found[-1] * SPAN_STEP)))
    return found


def measure(clip: ThumbnailClip, start: int, stop: int) -> Transition | None:
    """Return the transition that lies between two frames, or None if it is a cut, a movement or a change of light.

    Args:
        clip: Frames before, between and after the two.
        start: A frame of the one shot.
        stop: A frame of the other.
    """
    images, steps = clip.images, clip.steps
    if _distance(images[start], images[stop]) < MIN_DIFFERENCE:
        return None
    less, more = sorted((float(clip.contrast[start]), float(clip.contrast[stop])))
    if less < max(PLAIN, min(DIM, PLAINER * more)):
        return None  # a fade of one shot alone
    legs = _legs(clip, start, stop)
    lengths = [_distance(images[a], images[b]) for a, b in legs]
    if any(steps[a + 1 : b + 1].max() > MAX_STEP * length for (a, b), length in zip(legs, lengths, strict=True)):
        return None
    difference = min(lengths)
    cuts = np.flatnonzero(steps > MAX_STEP * difference)
    low = max([0, *cuts[cuts <= start]])
    high = min([len(images), *cuts[cuts > stop]]) - 1
    unrest = max(_distance(images[a], images[b]) for a, b in ((low, start), (stop, high)))
    if unrest > MAX_UNREST * difference or is_same_scene(images[start], images[stop]):
        return None
    deviation = float(np.mean([d for a, b in legs for d in _deviations(images, a, b)] or [1.0]))
    if deviation > MAX_DEVIATION or (deviation > STRAIGHT and is_same_moved(images[start], images[stop])):
        return None
    begin, end = _ends(images, low, start, [b for _, b in legs], high)
    if _has_same_details(images[max(0, begin - 1)], images[min(end, len(images) - 1)]):
        return None  # light that moves shows itself in its first and last frame
    return Transition(begin, end, difference * (1 - deviation))


def _distance(one: Array, other: Array) -> float:
    return float(cv2.norm(one, other, cv2.NORM_L1)) / one.size


def is_same_scene(one: Array, other: Array) -> bool:
    """Return whether two images (S, S, 3) show the same in place, in whatever light."""
    layouts = [cv2.resize(image, (LAYOUT, LAYOUT), interpolation=cv2.INTER_AREA) for image in (one, other)]
    return (
        _correlation(*(layout - layout.mean(axis=(0, 1)) for layout in layouts)) > SAME_LAYOUT
        or _alike(_edges(one), _edges(other)) > SAME_EDGES
        or _has_same_details(one, other)
    )


def is_same_moved(one: Array, other: Array) -> bool:
    """Return whether two images (S, S, 3) show the same edges, perhaps shifted or scaled."""
    side, edges = len(one), _edges(one)
    for scale in (0.75, 0.87, 1.0, 1.15, 1.33):
        size = round(side * scale)
        part = round(side * 0.625)
        corner = (size - part) // 2
        middle = _edges(cv2.resize(other, (size, size), interpolation=cv2.INTER_AREA))[corner:, corner:]
        if _alike(edges, np.ascontiguousarray(middle[:part, :part])) > SAME_MOVED_EDGES:
            return True
    return False


def _has_same_details(one: Array, other: Array) -> bool:
    return _correlation(_details(one), _details(other)) > SAME_DETAILS


def _correlation(one: Array, other: Array) -> float:
    return float((one * other).sum() / np.sqrt((one * one).sum() * (other * other).sum() + 1e-6))


def _details(image: Array) -> Array:
    levels = np.log(image.mean(axis=2) + DETAIL_OFFSET)
    return levels - cv2.GaussianBlur(levels, (0, 0), DETAIL_BLUR)


def _alike(edges: Array, part: Array) -> float:
    """Return the correlation of edges with those of a part, at the best shift: up to 1."""
    return float(cv2.matchTemplate(edges, part, cv2.TM_CCORR_NORMED).max())


def _edges(image: Array) -> Array:
    grey = image.mean(axis=2)
    across, down = (np.diff(grey, axis=axis, append=grey.take([-1], axis)) for axis in (1, 0))
    return np.dstack([across, down]).astype(np.float32)


def _legs(clip: ThumbnailClip, start: int, stop: int) -> list[tuple[int, int]]:
    """Return the parts, as (first, last), of the way between two shots: two where a plain image lies between them."""
    plainest = start + int(clip.contrast[start : stop + 1].argmin())
    bound = max(PLAIN, PLAINER * float(min(clip.contrast[start], clip.contrast[stop])))
    if start < plainest < stop and clip.contrast[plainest] < bound:
        return [(start, plainest), (plainest, stop)]
    return [(start, stop)]


def _shares(images: Array, first: Array, last: Array, weight: Array | float = 1.0) -> Array:
    """Return how far each image (N, S, S, 3) is on the way from one to another, (N,); pixels may weigh differently."""
    way = last - first
    return ((images - first) * way * weight).sum(axis=(1, 2, 3)) / (way * way * weight).sum()


def _deviations(images: Array, start: int, stop: int) -> list[float]:
    """Return how far frames in the middle of a leg are off the straight way, each region with a pace of its own."""
    first, last = images[start], images[stop]
    way = last - first
    size = np.sqrt((way * way).sum(axis=2)).mean()
    total = cv2.boxFilter((way * way).sum(axis=2), -1, (REGION, REGION)) + 30
    found = []
    for image in images[np.unique(np.linspace(start + 1, stop - 1, 10).round().astype(int))]:
        if 0.15 <= _shares(image[None], first, last)[0] <= 0.85:
            gone = cv2.boxFilter(((image - first) * way).sum(axis=2), -1, (REGION, REGION))
            share = np.clip(gone / total, 0, 1)[..., None]
            off = np.sqrt(((image - first - share * way) ** 2).sum(axis=2))
            found.append(float(np.percentile(off, DEVIATION_PERCENTILE) / size))
    return found


def _ends(images: Array, low: int, start: int, turns: list[int], high: int) -> tuple[int, int]:
    """Return the first frame of a transition and the one after its last.

    Args:
        images: Small images, (N, S, S, 3).
        low: First frame of the one shot that is known.
        start: Its last one that was tried.
        turns: The plainest frame, if there is one, and the first frame of the other shot that was tried.
        high: Last frame of the other shot that is known.
    """
    stop = turns[-1]
    early = images[low : (low + start) // 2 + 1]
    late = images[(stop + high + 1) // 2 : high + 1]
    first, last = early.mean(axis=0), late.mean(axis=0)
    via_last = images[turns[0]] if len(turns) > 1 else last
    via_first = images[turns[0]] if len(turns) > 1 else first
    # What moves in the shots themselves says less.
    weight = 1 / (4 + early.std(axis=0) + late.std(axis=0))
    gone = _shares(images, first, via_last, weight)
    left = 1 - _shares(images, via_first, last, weight)
    least_gone = min(0.15, max(MIN_SHARE, float(np.abs(gone[low : low + len(early)]).max())))
    least_left = min(0.15, max(MIN_SHARE, float(np.abs(left[high + 1 - len(late) : high + 1]).max())))
    middle = turns[0] if len(turns) > 1 else start + int((gone[start : stop + 1] > 0.5).argmax())
    begin = max([low - 1, *(np.flatnonzero(gone[:middle] < least_gone))]) + 1
    end = min([high + 1, *(middle + np.flatnonzero(left[middle:] < least_left))])
    # A circle that opens, or a corner, is little of the image for long.
    begin = min(begin, low + _onset(images[low : middle + 1], len(early), via_last - first))
    end = max(end, high + 1 - _onset(images[middle : high + 1][::-1], len(late), via_first - last))
    return max(0, int(begin) - TRANSITION_MARGIN), min(len(images), int(end) + TRANSITION_MARGIN)


def _onset(images: Array, quiet: int, way: Array) -> int:
    """Return the number of the first image in which some cells begin to leave their shot for good, N if none does.

    A cell that has gone far enough to be told from what moves in the shot began before: as long before as it takes from
    the one share of its way to the other, but not longer than half the time that is left of the transition's half. A
    cell in which the shot moves by more than all of that way cannot tell, and leaves with the first one beside it.

    Args:
        images: Small images from the shot to the middle of the transition, (N, S, S, 3).
        quiet: Number of the first images, which show the shot alone.
        way: Difference of the other shot from this one, (S, S, 3).
    """
    shares = _cells((images - images[:quiet].mean(axis=0)) * way) / (_cells(way[None] * way) + 30)
    unrest = 2 * np.abs(shares[:quiet]).max(axis=0)
    gone = [(shares > np.maximum(share, unrest))[::-1] for share in CELL_SHARES]
    near, far = (len(images) - np.logical_and.accumulate(ones).sum(axis=0) for ones in gone)
    taken = np.where(far < len(images), np.minimum(far - near, (len(images) - near) // 2), 0)
    left = (near - taken).astype(np.float32)
    left = np.where(unrest > 1, cv2.erode(left, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))), left)
    return max(0, int(np.sort(left, axis=None)[MIN_CELLS - 1]))


def _cells(images: Array) -> Array:
    """Return the means of cells, (N, S, S, 3) to (N, C, C)."""
    count = images.shape[1] // CELL
    means: Array = images.reshape(len(images), count, CELL, count, CELL, 3).mean(axis=(2, 4, 5))
    return means
