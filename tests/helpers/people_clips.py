"""Clips of two people, made from two clips of one person each, with the truth about who is where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from helpers.sample_clips import sample_frames, write_video
from personatalk.faces.boxes import face_box
from personatalk.faces.landmarks import open_tracker
from personatalk.faces.people import People

Frames = Sequence[np.ndarray]
SIDE = 288
"""Side of the square that shows one person, in pixels."""
NOBODY = np.nan
COVERED = 0.75
"""Distance of two people in squares below which the one in front may hide the other's face."""
UNCLEAR = 0.08
"""Distance of two people in squares below which their places do not tell them apart."""


@dataclass(frozen=True)
class Scene:
    """A clip and the middle of each person's face in each frame, (T, 2, 2) in pixels; NaN where away."""

    path: Path
    truth: np.ndarray


def fitted(frames: Frames, side: int = SIDE) -> list[np.ndarray]:
    """The upper square of frames, at a size."""
    cut = [frame[: frame.shape[1], : frame.shape[0]] for frame in frames]
    return [cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA) for frame in cut]


def sample_pair(count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The sample's character, and somebody made of it: another build, mirrored, of other colours."""
    one = fitted(sample_frames(count))
    return one, [somebody_else(frame) for frame in one]


def somebody_else(frame: np.ndarray) -> np.ndarray:
    """The sample's character with a slim face and dark skin, in less light."""
    side = len(frame)
    narrow = cv2.resize(frame[:, ::-1], (round(0.8 * side), side), interpolation=cv2.INTER_AREA)
    left = (side - narrow.shape[1]) // 2
    wide = np.pad(narrow, ((0, 0), (left, side - narrow.shape[1] - left), (0, 0)), mode="edge")
    return (wide * np.array([0.6, 0.55, 0.5])).astype(np.uint8)


def canvas(width: int = 3 * SIDE, height: int = SIDE) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([70 + x * 30 // width, 80 + y * 30 // height, np.full_like(x, 90)], axis=-1).astype(np.uint8)


def scene(path: Path, one: Frames, two: Frames, places: Callable[[int], tuple[float, float]]) -> Scene:
    """Paste two people over an empty room, the second in front.

    Args:
        path: The file to write.
        one: Frames of the first person.
        two: Frames of the second.
        places: Left edge of each square, in shares of the picture's room for it, by frame; NaN where away.
    """
    frames, truth = [], []
    middles = list(zip(centres(one), centres(two), strict=True))
    for number, pair in enumerate(zip(one, two, strict=True)):
        room = canvas()
        edges = [np.nan if np.isnan(p) else p * (room.shape[1] - SIDE) for p in places(number)]
        for picture, edge in zip(pair, edges, strict=True):
            if not np.isnan(edge):
                room[:, round(edge) : round(edge) + SIDE] = picture
        frames.append(room)
        truth.append([np.array([edge, 0 * edge]) + at for edge, at in zip(edges, middles[number], strict=True)])
    return Scene(write_video(path, frames), np.array(truth))


def centres(frames: Frames) -> list[np.ndarray]:
    """Middle of the one face of each frame, (2,); where it is not seen, the last one."""
    middles, last = [], np.full(2, SIDE / 2, np.float32)
    with closing(open_tracker()) as tracker:
        for frame in frames:
            for face in tracker.detect(frame):
                box = face_box(face)
                last = (box[:2] + box[2:]) / 2
            middles.append(last)
    return middles


def beside(path: Path, one: Frames, two: Frames) -> Scene:
    """Two people side by side."""
    return scene(path, one, two, lambda i: (0.05, 0.95))


def crossing(path: Path, one: Frames, two: Frames) -> Scene:
    """Two people who walk past each other, the second in front."""
    last = len(one) - 1
    return scene(path, one, two, lambda i: (i / last, 1 - i / last))


def swapped(path: Path, one: Frames, two: Frames) -> Scene:
    """A cut in the middle, after which the two sit in each other's place."""
    half = len(one) // 2
    return scene(path, one, two, lambda i: (0.05, 0.95) if i < half else (0.95, 0.05))


def away(path: Path, one: Frames, two: Frames, first: int, last: int) -> Scene:
    """The second person is away from one frame to another."""
    return scene(path, one, two, lambda i: (0.05, NOBODY if first <= i < last else 0.9))


def assigned(people: People, truth: np.ndarray, number: int) -> np.ndarray:
    """Return the person found under a number in each frame, (T,): 0 or 1, -2 where neither.

    It is -1 where nobody is, and where both are in one place, since a box's middle is some pixels off the truth.
    """
    boxes = people.track(number)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    far = np.linalg.norm(middle[:, None] - truth, axis=-1)
    far = np.where(np.isnan(far), np.inf, far)
    who = np.where(far.min(axis=1) < 0.25 * SIDE, far.argmin(axis=1), -2)
    unclear = (np.abs(truth[:, 0, 0] - truth[:, 1, 0]) < UNCLEAR * SIDE) & (who >= 0)
    return np.where(np.isnan(boxes[:, 0]) | unclear, -1, who)


def mistakes(people: People, truth: np.ndarray) -> int:
    """Frames in which a number means another person than it does in most frames, or 10,000 if two numbers mean one."""
    counted, owners = 0, []
    for person in people.persons:
        who = assigned(people, truth, person.number)
        owners.append(int(np.bincount(who[who >= 0], minlength=2).argmax()))
        counted += int((who[who != -1] != owners[-1]).sum())
    return counted + (10_000 if len(set(owners)) < len(owners) else 0)


def found(people: People, truth: np.ndarray) -> float:
    """Share that was found of the faces that nobody hides."""
    apart = ~(np.abs(truth[:, 0, 0] - truth[:, 1, 0]) < COVERED * SIDE)
    return float(people.seen()[:, apart].sum() / (~np.isnan(truth[apart, :, 0])).sum())
