"""Samples windows for stage 2's training: references, and the targets that share them.

Two kinds of windows alternate. One shows the generated region whole. The other, cheaper by far, shows the mouth alone,
where the renderer has most to learn.

A target is never its own reference, nor are frames next to it lip references: their texture would be copied.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..errors import PersonaTalkError
from ..geometry.morphable_model import MorphableModel
from ..stage2.references import (
    FACE_REFERENCES,
    LIP_REFERENCES_TRAINING,
    lip_references,
    training_face_references,
    training_lip_references,
)
from ..utils.arrays import Array, IntArray
from .data.shards import IndexEntry
from .engine import clip_sampler
from .frames import FrameTable, read_frames

# Frames of the shortest clip that references and targets can be sampled from.
MIN_CLIP_FRAMES = 25
# Frames on either side of a window's centre among which its targets are.
TARGET_REACH = 4
# Lip references are at least so many frames away from every target.
LIP_DISTANCE = 3
# Face references of a window that shows the mouth alone.
MOUTH_FACE_REFERENCES = 2
# Shares of windows whose lip references are: those less open than the targets; and even steps through all openings, as
# in inference. All others are random, as in the paper.
CLOSED, EVEN = 0.3, 0.3
# Share of the windows whose face references are the targets' neighbours, as in inference; the others are the paper's.
NEIGHBOURS = 0.4


@dataclass(frozen=True)
class Window:
    """One training sample: references and the targets that share them, by their numbers in a table of frames.

    Attributes:
        lips: Lip references, (L,).
        faces: Face references, (N,).
        targets: The targets, (T,).
        others: Frames whose lower faces belong to the targets' regions too, as the source's does in dubbing, (T,).
        tint: Factors on red, green and blue, (3,).
        mouth: Whether the window shows the mouth alone.
        table: The frames; None where the numbers are those of a table of all frames.
    """

    lips: IntArray
    faces: IntArray
    targets: IntArray
    others: IntArray
    tint: Array
    mouth: bool
    table: FrameTable | None = None

    def numbered(self, number: Callable[[IntArray], IntArray]) -> Window:
        """Return the window with other numbers for its frames."""
        lips, faces, targets, others = map(number, (self.lips, self.faces, self.targets, self.others))
        return replace(self, lips=lips, faces=faces, targets=targets, others=others)


class WindowSampler:
    """Samples windows from clips.

    Args:
        model: The morphable model.
        entries: Clips; those too short to sample from are left out.
        size: Side of the crops wanted; 256 or a whole fraction of it.
        max_frames_per_speaker: Frames at most counted of one speaker.
        tint: Spread of a window's random colour cast.
        use_selection: False samples all references at random from the clip.
        resident: Windows hold numbers of the table that `frames.read_all` makes of `entries`, and no table.
    """

    def __init__(
        self,
        model: MorphableModel,
        entries: list[IndexEntry],
        size: int,
        max_frames_per_speaker: int = 750,
        tint: float = 0.08,
        use_selection: bool = True,
        resident: bool = False,
    ) -> None:
        self.model, self.size, self.tint, self.use_selection, self.resident = model, size, tint, use_selection, resident
        self.entries = [r for r in entries if r.frames >= MIN_CLIP_FRAMES]
        if not self.entries:
            raise PersonaTalkError(f"no clip of {MIN_CLIP_FRAMES} frames or more to draw references and targets from")
        self.sample_clip = clip_sampler(
            [r.frames for r in self.entries], [r.speaker for r in self.entries], max_frames_per_speaker
        )
        self._starts = np.cumsum([0, *(r.frames for r in self.entries)])
        self._clip = functools.lru_cache(maxsize=256)(lambda i: self.entries[i].load())
        self._opening = functools.cache(self._measured_opening)

    def _measured_opening(self, index: int) -> Array:
        clip = self.entries[index].load(crops=False)
        return self.model.mouth_opening(self.model.vertices(clip.alpha, clip.beta))

    def sample(self, random: np.random.Generator, targets: int, mouth: bool) -> Window:
        """Return one random window by Algorithm 1's training strategy, of the mouth alone or of the whole region."""
        index = self.sample_clip(random)
        opening = self._opening(index)
        faces, chosen = self._faces_and_targets(random, opening, targets, mouth)
        apart = np.abs(np.arange(len(opening))[:, None] - chosen).min(axis=1) >= LIP_DISTANCE
        lips = self._lips(random, np.flatnonzero(apart), opening, float(opening[chosen].min()))
        others = random.choice(lips, len(chosen))
        tint = 1 + self.tint * random.standard_normal(3).astype(np.float32)
        window = Window(lips, faces, chosen, others, tint, mouth)
        if self.resident:
            return window.numbered(lambda frames: frames + self._starts[index])
        needed = np.unique(np.concatenate([lips, faces, chosen, others]))
        table = read_frames(self.model, self._clip(index), needed.tolist(), self.size)
        return replace(window.numbered(lambda frames: np.searchsorted(needed, frames)), table=table)

    def _faces_and_targets(
        self, random: np.random.Generator, opening: Array, targets: int, mouth: bool
    ) -> tuple[IntArray, IntArray]:
        """Choose face references, and targets that are none of them."""
        length, centre = len(opening), _centre(random, opening)
        near = np.arange(max(0, centre - TARGET_REACH), min(length, centre + TARGET_REACH + 1))
        if not self.use_selection:
            faces = np.sort(random.choice(np.setdiff1d(np.arange(length), near), FACE_REFERENCES, replace=False))
        elif random.random() < NEIGHBOURS:
            around = np.arange(centre - FACE_REFERENCES, centre + FACE_REFERENCES + 1, 2)
            faces = around[(around >= 0) & (around < length)][:FACE_REFERENCES]
        else:
            faces = training_face_references(centre, length)
        chosen = random.permutation(np.setdiff1d(near, faces))
        count = MOUTH_FACE_REFERENCES if mouth else FACE_REFERENCES
        kept = random.permutation(faces)[:count] if mouth else faces
        return np.sort(np.resize(kept, count)), np.resize(chosen, targets)

    def _lips(self, random: np.random.Generator, frames: IntArray, opening: Array, least: float) -> IntArray:
        """Choose lip references among frames: at random, only less open than `least`, or evenly by opening."""
        kind = random.random()
        if kind < CLOSED and self.use_selection:
            closed = frames[opening[frames] < least]
            if len(closed) >= LIP_REFERENCES_TRAINING:
                frames = closed
        elif kind < CLOSED + EVEN and self.use_selection:
            chosen = frames[lip_references(opening[frames], LIP_REFERENCES_TRAINING)]
            return np.resize(chosen, LIP_REFERENCES_TRAINING)
        return frames[training_lip_references(len(frames), random, LIP_REFERENCES_TRAINING)]


def _centre(random: np.random.Generator, opening: Array) -> int:
    """Choose the frame around which targets are: any one, or as often one by a random opening.

    Wide open mouths are rare among the frames, but the hardest to draw.
    """
    if random.random() < 0.5:
        return int(random.integers(len(opening)))
    wanted = random.uniform(opening.min(), opening.max())
    return int(np.abs(opening - wanted).argmin())
