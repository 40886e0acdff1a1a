"""The renderer measured alone, with true geometry, on prepared clips of people that it has never seen.

The target is never among its references. They are chosen as in dubbing, but at least `APART` frames away, and the
targets are mouths at the ends of what the clip shows: half of them wide open or closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import cv2
import numpy as np

from ..geometry import masks
from ..geometry.camera import project_into_crop
from ..geometry.morphable_model import MorphableModel
from ..stage2.geometry_map import ArrayMap, geometry_map
from ..stage2.reference_cells import Reference
from ..stage2.references import lip_references
from ..stage2.runtime import RendererRuntime
from ..utils.arrays import Array, Image, IntArray
from .data.shards import Clip, IndexEntry
from .obedience import MouthReader, Obedience

# Frames between a target and its nearest reference.
APART = 5
# Frames of the shortest clip that is measured.
MIN_FRAMES = 40
# Places of the targets in the order of all frames by opening, as shares.
TARGETS = (1.0, 0.93, 0.6, 0.05)


@dataclass(frozen=True)
class RenderedTarget:
    """One rendered frame and what was measured of it.

    Attributes:
        clip: Name of the clip.
        frame: Number of the frame in it.
        face_psnr: PSNR in the generated region in dB.
        lip_psnr: PSNR in M_lip in dB.
        detail: Spread of the Laplacian in M_lip over the real one's.
        beyond: Whether the mouth is wider open than in any lip reference.
        opening: Opening in the real crop, in eye distances.
        seen_opening: The same in the rendered one.
        width: Width of the mouth in the real crop, in eye distances.
        seen_width: The same in the rendered one.
        lpips: LPIPS of the crop; None without a network.
        flicker: Of the clip: how much the mouth changes from frame to frame over what the real one does, where the lips
            stand still; None where that cannot be told.
    """

    clip: str
    frame: int
    face_psnr: float
    lip_psnr: float
    detail: float
    beyond: bool
    opening: float
    seen_opening: float
    width: float
    seen_width: float
    lpips: float | None = None
    flicker: float | None = None


class RendererMeter:
    """Renders targets of clips and measures them.

    Args:
        model: The morphable model of the clips.
        renderer: The renderer.
        lpips: Distance of two crops, uint8 (S, S, 3), such as LPIPS; None leaves it out.
    """

    def __init__(
        self,
        model: MorphableModel,
        renderer: RendererRuntime,
        lpips: Callable[[Image, Image], float] | None = None,
    ) -> None:
        self.model, self.renderer, self.lpips = model, renderer, lpips
        self._reader = MouthReader()

    def measure(self, entries: Iterable[IndexEntry]) -> Iterator[tuple[RenderedTarget, Image, Image]]:
        """Yield measurements with the real crop and the one with the rendered mouth."""
        for entry in entries:
            if entry.frames >= MIN_FRAMES:
                yield from self._clip(entry.load())

    def _clip(self, clip: Clip) -> Iterator[tuple[RenderedTarget, Image, Image]]:
        canonical = self.model.vertices(clip.alpha, clip.beta)
        opening = self.model.mouth_opening(canonical)
        rendered = _RenderedClip(self.model, self.renderer, clip, opening)
        order, flicker = np.argsort(opening), rendered.flicker(canonical[:, self.model.lips])
        for target in dict.fromkeys(int(order[round(share * (len(order) - 1))]) for share in TARGETS):
            lips, near = rendered.references([target])
            if len(near):
                real, (composed, face) = clip.crops[target], rendered.compose(target, lips, near)
                beyond = bool(opening[target] > opening[lips].max())
                measured = self._measured(clip.key, target, beyond, rendered.vertices(target), face, real, composed)
                yield replace(measured, flicker=flicker), real, composed

    def _measured(
        self, key: str, frame: int, beyond: bool, vertices: Array, face: Array, real: Image, composed: Image
    ) -> RenderedTarget:
        lips = masks.lip_region(self.model, vertices, len(real))
        (opening, width), (seen_opening, seen_width) = (self._reader.read(i, vertices) for i in (real, composed))
        return RenderedTarget(
            key,
            frame,
            face_psnr=_psnr(real, composed, face),
            lip_psnr=_psnr(real, composed, lips),
            detail=_detail(composed, lips) / max(_detail(real, lips), 1e-3),
            beyond=beyond,
            opening=opening,
            seen_opening=seen_opening,
            width=width,
            seen_width=seen_width,
            lpips=self.lpips and self.lpips(real, composed),
        )


class _RenderedClip:
    """Renders frames of a clip from others of it."""

    def __init__(self, model: MorphableModel, renderer: RendererRuntime, clip: Clip, opening: Array) -> None:
        self.model, self.renderer, self.clip, self.opening = model, renderer, clip, opening
        self._known: dict[int, Reference] = {}

    def references(self, targets: Sequence[int]) -> tuple[IntArray, IntArray]:
        """Return lip and face references of targets next to each other; no face references where the clip ends."""
        distance = np.abs(np.arange(len(self.opening))[:, None] - np.array(targets)).min(axis=1)
        far = np.flatnonzero(distance >= APART)
        return far[lip_references(self.opening[far])], far[distance[far] <= APART + 1]

    def compose(self, target: int, lips: IntArray, faces: IntArray) -> tuple[Image, Array]:
        """Return a target's crop with the rendered mouth, and the generated region, (S, S)."""
        drawn, real = self._drawn(target), self.clip.crops[target]
        rendered = self.renderer.render(drawn, self._encoded(lips), self._encoded(faces))
        face = drawn.face[..., None]
        return np.clip(real * (1 - face) + rendered * face + 0.5, 0, 255).astype(np.uint8), drawn.face

    def flicker(self, lips: Array) -> float | None:
        """Return how much the lips' region changes from one frame to the next, over what it really does.

        Args:
            lips: The lips' vertices without head pose, (T, L, 3). The two frames between which they move least are
                taken, among those with an open mouth.

        Returns:
            The ratio; None where there are no references.
        """
        motion = np.abs(np.diff(lips, axis=0)).mean(axis=(1, 2))
        motion[self.opening[:-1] < np.median(self.opening)] = np.inf
        pair = [int(motion.argmin()), int(motion.argmin()) + 1]
        chosen, near = self.references(pair)
        if not len(near):
            return None
        where = masks.lip_region(self.model, self.vertices(pair[0]), len(self.clip.crops[0]))[..., None]
        real, seen = (
            float((np.abs(np.subtract(*images, dtype=np.float32)) * where).sum())
            for images in zip(*((self.clip.crops[i], self.compose(i, chosen, near)[0]) for i in pair), strict=True)
        )
        return seen / max(real, 1e-3)

    def vertices(self, frame: int) -> Array:
        """Return the vertices of a frame in its crop, (V, 3)."""
        vertices = self.model.vertices(self.clip.alpha, self.clip.beta[frame])
        return project_into_crop(vertices, self.clip.pose[frame], len(self.clip.crops[frame]))

    def _drawn(self, frame: int) -> ArrayMap:
        return geometry_map(self.model, self.vertices(frame), len(self.clip.crops[frame]))

    def _encoded(self, frames: IntArray) -> list[Reference]:
        for frame in (int(f) for f in frames if int(f) not in self._known):
            self._known[frame] = self.renderer.encode([self.clip.crops[frame]], [self._drawn(frame)])[0]
        return [self._known[int(frame)] for frame in frames]


def summary(found: list[RenderedTarget]) -> dict[str, float]:
    """Return means over the targets, the median flicker of clips, and the obedience of all and beyond references."""
    names = [name for name in ("face_psnr", "lip_psnr", "lpips", "detail") if getattr(found[0], name) is not None]
    told = {name: float(np.mean([getattr(target, name) for target in found])) for name in names}
    by_clip = {target.clip: target.flicker for target in found if target.flicker is not None}
    if by_clip:
        told["flicker"] = float(np.median(list(by_clip.values())))
    beyond = [target for target in found if target.beyond]
    for prefix, chosen in (("", found), ("beyond_", beyond)):
        line = Obedience.of([t.opening for t in chosen], [t.seen_opening for t in chosen])
        told |= {f"{prefix}opening_{name}": float(value) for name, value in asdict(line).items()}
    line = Obedience.of([t.width for t in found], [t.seen_width for t in found])
    return told | {"width_slope": line.slope, "width_correlation": line.correlation}


def _psnr(real: Image, composed: Image, weight: Array) -> float:
    error = (np.square(real.astype(np.float32) - composed).mean(axis=2) * weight).sum() / weight.sum()
    return float(-10 * np.log10(error / 255**2 + 1e-10))


def _detail(crop: Image, lips: Array) -> float:
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.Laplacian(grey, cv2.CV_32F)[lips > 0.5].std())
