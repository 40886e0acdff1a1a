"""The renderer measured alone, with true geometry, on prepared clips of people that it has never seen.

The target is never among its references. They are chosen as in dubbing, but at least `APART` frames away, and the
targets are mouths at the ends of what the clip shows: half of them wide open or closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass

import cv2
import numpy as np

from ..geometry import masks
from ..geometry.camera import apply_transform, crop_transform, project
from ..geometry.morphable_model import MorphableModel
from ..stage2.geometry_map import geometry_map
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
        opening = self.model.mouth_opening(self.model.vertices(clip.alpha, clip.beta))
        order, known = np.argsort(opening), dict[int, Reference]()

        def references(frames: IntArray) -> list[Reference]:
            for frame in (int(f) for f in frames if int(f) not in known):
                drawn = geometry_map(self.model, self._vertices(clip, frame), len(clip.crops[frame]))
                known[frame] = self.renderer.encode([clip.crops[frame]], [drawn])[0]
            return [known[int(frame)] for frame in frames]

        for target in dict.fromkeys(int(order[round(share * (len(order) - 1))]) for share in TARGETS):
            far = np.flatnonzero(np.abs(np.arange(len(order)) - target) >= APART)
            near = far[np.abs(far - target) <= APART + 1]
            lips = far[lip_references(opening[far])]
            if not len(near):
                continue
            vertices = self._vertices(clip, target)
            drawn = geometry_map(self.model, vertices, len(clip.crops[target]))
            rendered = self.renderer.render(drawn, references(lips), references(near))
            real, face = clip.crops[target], drawn.face[..., None]
            composed = np.clip(real * (1 - face) + rendered * face + 0.5, 0, 255).astype(np.uint8)
            beyond = bool(opening[target] > opening[lips].max())
            yield self._measured(clip.key, target, beyond, vertices, face[..., 0], real, composed), real, composed

    def _vertices(self, clip: Clip, frame: int) -> Array:
        pose = clip.pose[frame]
        vertices = project(self.model.vertices(clip.alpha, clip.beta[frame]), pose)
        return apply_transform(crop_transform(pose, len(clip.crops[frame])), vertices)

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


def summary(found: list[RenderedTarget]) -> dict[str, float]:
    """Return means over the targets and the obedience of all, and of those beyond their references."""
    names = [name for name in ("face_psnr", "lip_psnr", "lpips", "detail") if getattr(found[0], name) is not None]
    told = {name: float(np.mean([getattr(target, name) for target in found])) for name in names}
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
