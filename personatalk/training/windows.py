"""Samples windows for stage 2's training: references, and the targets that share them.

Two kinds of windows alternate. One shows the generated region whole. The other, cheaper by far, shows the mouth alone,
where the renderer has most to learn; all that lies outside its box is cut off before anything is computed.

A target is never its own reference, nor are frames next to it lip references: their texture would be copied.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from ..errors import PersonaTalkError
from ..geometry.camera import CROP_SIZE, apply_transform, crop_transform, project
from ..geometry.morphable_model import MorphableModel
from ..stage2.geometry_map import CELL_SIZE, GeometryMap, geometry_map
from ..stage2.references import (
    FACE_REFERENCES,
    LIP_REFERENCES_TRAINING,
    lip_references,
    training_face_references,
    training_lip_references,
)
from ..stage2.regions import Box, bounding_box, pixel_span
from ..stage2.renderer import TensorMap, map_tensors, to_tensor
from ..utils.arrays import Array, IntArray
from .data.shards import Clip, IndexEntry
from .engine import clip_sampler

# Frames of the shortest clip that references and targets can be sampled from.
MIN_CLIP_FRAMES = 25
# Frames on either side of a window's centre among which its targets are.
TARGET_REACH = 4
# Lip references are at least so many frames away from every target.
LIP_DISTANCE = 3
# Height and width of the mouth's box, as shares of the crop's side.
MOUTH_BOX = (0.375, 0.5)
# Face references of a window that shows the mouth alone.
MOUTH_FACE_REFERENCES = 2
# Cells by which the references' box is larger than that of the targets.
REFERENCE_MARGIN = 3
# Cells around the generated region that encoders and decoder see.
REGION_MARGIN = 2
# Shares of windows whose lip references are: random ones, as in the paper; those less open than the targets; and even
# steps through all openings, as in inference.
RANDOM, CLOSED, EVEN = 0.4, 0.3, 0.3


@dataclass(frozen=True)
class RenderWindow:
    """One training sample: references and the targets that share them.

    Attributes:
        lip_textures: Face crops of the lip references, (N, 3, S, S) in 0..1.
        lip_maps: Their geometry.
        face_textures: The same of the face references.
        face_maps: Their geometry.
        targets: Images of the targets within the box, (T, 3, h, w) in 0..1.
        target_maps: Their geometry.
        box: Rows and columns of cells that are rendered.
        mouth: Whether the box holds the mouth alone.
    """

    lip_textures: torch.Tensor
    lip_maps: list[TensorMap]
    face_textures: torch.Tensor
    face_maps: list[TensorMap]
    targets: torch.Tensor
    target_maps: list[TensorMap]
    box: Box
    mouth: bool = False


@dataclass(frozen=True)
class MapStack:
    """Geometry maps cut to a box, in half precision, as they travel between processes and to a device.

    Attributes:
        image: Drawn geometry within the box, (N, 8, h, w).
        code: Place codes, (N, 9, h/4, w/4).
        lips: M_lip, (N, h/4, w/4).
        face: Lower-face region, (N, h, w).
        region: Its cells, bool (N, h/4, w/4).
        box: The box in cells.
        grid: Cells of a side of the whole crop.
    """

    image: torch.Tensor
    code: torch.Tensor
    lips: torch.Tensor
    face: torch.Tensor
    region: torch.Tensor
    box: Box
    grid: int

    @classmethod
    def pack(cls, maps: list[TensorMap], box: Box) -> MapStack:
        """Cut maps to a box."""
        rows, columns = pixel_span(box[0]), pixel_span(box[1])
        return cls(
            torch.stack([m.image[:, rows, columns] for m in maps]).half(),
            torch.stack([m.code[:, box[0], box[1]] for m in maps]),
            torch.stack([m.lips[box] for m in maps]).half(),
            torch.stack([m.face[rows, columns] for m in maps]).half(),
            torch.stack([m.region[box] for m in maps]),
            box,
            maps[0].code.shape[1],
        )

    def unpack(self) -> list[TensorMap]:
        """Return the maps on the whole crop, 0 outside the box."""
        cells, pixels = self.box, (pixel_span(self.box[0]), pixel_span(self.box[1]))
        whole = [_padded(self.image, pixels, self.grid * CELL_SIZE), _padded(self.code, cells, self.grid)]
        whole += [_padded(self.lips, cells, self.grid), _padded(self.face, pixels, self.grid * CELL_SIZE)]
        return [GeometryMap(*found) for found in zip(*whole, _padded(self.region, cells, self.grid), strict=True)]


@dataclass(frozen=True)
class PackedWindow:
    """A window cut to what is computed of it; see `RenderWindow`."""

    lip_textures: torch.Tensor
    lip_maps: MapStack
    face_textures: torch.Tensor
    face_maps: MapStack
    targets: torch.Tensor
    target_maps: MapStack
    mouth: bool

    def unpack(self) -> RenderWindow:
        """Return the window with whole crops, 0 where nothing of them is computed."""
        textures = []
        for stack, images in ((self.lip_maps, self.lip_textures), (self.face_maps, self.face_textures)):
            pixels = pixel_span(stack.box[0]), pixel_span(stack.box[1])
            textures.append(_padded(images, pixels, stack.grid * CELL_SIZE))
        maps = [stack.unpack() for stack in (self.lip_maps, self.face_maps, self.target_maps)]
        return RenderWindow(
            textures[0], maps[0], textures[1], maps[1], self.targets.float(), maps[2], self.target_maps.box, self.mouth
        )


def _padded(part: torch.Tensor, place: Box, side: int) -> torch.Tensor:
    """Put a part (..., h, w) into zeros (..., side, side), in single precision where it was in half."""
    whole = part.new_zeros(*part.shape[:-2], side, side)
    whole[..., place[0], place[1]] = part
    return whole.float() if part.dtype == torch.float16 else whole


class WindowSampler:
    """Samples windows from clips.

    Args:
        model: The morphable model.
        entries: Clips; those too short to sample from are left out.
        size: Side of the crops wanted; 256 or a whole fraction of it.
        max_frames_per_speaker: Frames at most counted of one speaker.
        tint: Spread of a window's random colour cast.
        use_selection: False samples all references at random from the clip.
        mouth_share: Share of the windows that show the mouth alone.
    """

    def __init__(
        self,
        model: MorphableModel,
        entries: list[IndexEntry],
        size: int,
        max_frames_per_speaker: int = 750,
        tint: float = 0.08,
        use_selection: bool = True,
        mouth_share: float = 0.0,
    ) -> None:
        self.model, self.size, self.tint, self.use_selection = model, size, tint, use_selection
        self.mouth_share = mouth_share
        self.entries = [r for r in entries if r.frames >= MIN_CLIP_FRAMES]
        if not self.entries:
            raise PersonaTalkError(f"no clip of {MIN_CLIP_FRAMES} frames or more to draw references and targets from")
        self.sample_clip = clip_sampler(
            [r.frames for r in self.entries], [r.speaker for r in self.entries], max_frames_per_speaker
        )
        self._clip = functools.lru_cache(maxsize=256)(lambda i: self.entries[i].load())

    def sample(self, random: np.random.Generator, targets: int) -> PackedWindow:
        """Return one random window by Algorithm 1's training strategy."""
        clip: Clip = self._clip(self.sample_clip(random))
        length = len(clip.crops)
        opening = self.model.mouth_opening(self.model.vertices(clip.alpha, clip.beta))
        centre = _centre(random, opening)
        near = np.arange(max(0, centre - TARGET_REACH), min(length, centre + TARGET_REACH + 1))
        face = training_face_references(centre, length)
        if not self.use_selection:
            face = np.sort(random.choice(np.setdiff1d(np.arange(length), near), FACE_REFERENCES, replace=False))
        free = np.setdiff1d(near, face)
        chosen = random.choice(free, min(targets, len(free)), replace=False)
        apart = np.abs(np.arange(length)[:, None] - chosen).min(axis=1) >= LIP_DISTANCE
        lips = self._lips(random, np.flatnonzero(apart), opening, float(opening[chosen].min()))
        tint = 1 + self.tint * random.standard_normal(3).astype(np.float32)
        target_maps = [self._map(clip, i, int(random.integers(length))) for i in chosen]
        mouth = random.random() < self.mouth_share
        if mouth:
            face = np.sort(random.choice(face, MOUTH_FACE_REFERENCES, replace=False))
        lip_maps, face_maps = ([self._map(clip, i) for i in indices] for indices in (lips, face))
        if mouth:
            box = _mouth_box(target_maps[0], self.size)
            around = _grown(box, REFERENCE_MARGIN, self.size)
            target_maps = [_within(drawn, box) for drawn in target_maps]
            lip_maps, face_maps = ([_within(drawn, around) for drawn in maps] for maps in (lip_maps, face_maps))
        else:
            box = _region_box(target_maps)
            around = _region_box([*lip_maps, *face_maps])
        return PackedWindow(
            self._images(clip, lips, tint, around),
            MapStack.pack(lip_maps, around),
            self._images(clip, face, tint, around),
            MapStack.pack(face_maps, around),
            self._images(clip, chosen, tint, box),
            MapStack.pack(target_maps, box),
            mouth,
        )

    def _lips(self, random: np.random.Generator, frames: IntArray, opening: Array, least: float) -> IntArray:
        """Choose lip references among frames: at random, only less open than `least`, or evenly by opening."""
        kind = random.random()
        if kind < CLOSED and self.use_selection:
            closed = frames[opening[frames] < least]
            if len(closed) >= LIP_REFERENCES_TRAINING:
                frames = closed
        elif kind < CLOSED + EVEN and self.use_selection:
            return frames[lip_references(opening[frames], LIP_REFERENCES_TRAINING)]
        return frames[training_lip_references(len(frames), random, LIP_REFERENCES_TRAINING)]

    def _images(self, clip: Clip, frames: IntArray, tint: Array, box: Box) -> torch.Tensor:
        """Return the crops of frames within a box, half precision (N, 3, h, w) in 0..1."""
        images = torch.stack([to_tensor(clip.crops[int(i)]) for i in frames])
        if images.shape[-1] != self.size:
            images = nn.functional.avg_pool2d(images, CROP_SIZE // self.size)
        images = images[:, :, pixel_span(box[0]), pixel_span(box[1])]
        return (images * torch.from_numpy(tint)[:, None, None]).clamp(0, 1).half()

    def _map(self, clip: Clip, frame: int, other: int | None = None) -> TensorMap:
        """Return the geometry map of a frame, for a target with the region of another frame's mouth."""
        pose = clip.pose[frame]
        transform = crop_transform(pose, self.size)

        def drawn(expression: int) -> Array:
            vertices = self.model.vertices(clip.alpha, clip.beta[expression])
            return apply_transform(transform, project(vertices, pose))

        others = () if other is None else (drawn(other),)
        return map_tensors(geometry_map(self.model, drawn(frame), self.size, others))


def _centre(random: np.random.Generator, opening: Array) -> int:
    """Choose the frame around which targets are: any one, or as often one by a random opening.

    Wide open mouths are rare among the frames, but the hardest to draw.
    """
    if random.random() < 0.5:
        return int(random.integers(len(opening)))
    wanted = random.uniform(opening.min(), opening.max())
    return int(np.abs(opening - wanted).argmin())


def _mouth_box(drawn: TensorMap, size: int) -> Box:
    """Return the box of fixed size around the lips, in cells."""
    grid = size // CELL_SIZE
    sides = []
    for axis, share in enumerate(MOUTH_BOX):
        length = round(grid * share)
        weights = drawn.lips.sum(dim=1 - axis)
        middle = float((weights * torch.arange(grid)).sum() / weights.sum().clamp(min=1e-6))
        start = min(max(0, round(middle + 0.5 - length / 2)), grid - length)
        sides.append(slice(start, start + length))
    return sides[0], sides[1]


def _region_box(maps: list[TensorMap]) -> Box:
    """Return the box of cells around the regions and lips of maps, and what the networks see beside them."""
    region = torch.stack([drawn.region | (drawn.lips > 0) for drawn in maps]).any(dim=0)
    return bounding_box(region.cpu().numpy(), REGION_MARGIN)


def _grown(box: Box, margin: int, size: int) -> Box:
    grid = size // CELL_SIZE
    rows, columns = (slice(max(0, side.start - margin), min(grid, side.stop + margin)) for side in box)
    return rows, columns


def _within(drawn: TensorMap, box: Box) -> TensorMap:
    """Cut the regions of a map off outside a box; the outermost cells are not judged, since they lack neighbours."""
    face, lips, region = map(torch.zeros_like, (drawn.face, drawn.lips, drawn.region))
    rows, columns = (slice(side.start + 1, side.stop - 1) for side in box)
    inner = pixel_span(rows), pixel_span(columns)
    face[inner], lips[box], region[box] = drawn.face[inner], drawn.lips[box], drawn.region[box]
    return replace(drawn, face=face, lips=lips, region=region)
