"""Trains the renderer (stage 2) on prepared clips.

Losses, on which the paper is silent: L1 on the generated region, the same on a Laplacian pyramid (which asks for
detail at every scale), both with more weight on the mouth; a perceptual term; and, from some step on, a patch
discriminator with feature matching. Targets that share a window share its references, which saves most of the
encoding; a target is never its own reference, or its texture would be copied.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..errors import PersonaTalkError
from ..geometry.camera import CROP_SIZE, apply_transform, crop_transform, project
from ..geometry.morphable_model import MorphableModel
from ..stage2.geometry_map import GeometryMap, geometry_map
from ..stage2.references import (
    FACE_REFERENCES,
    LIP_REFERENCES_TRAINING,
    training_face_references,
    training_lip_references,
)
from ..stage2.renderer import Renderer, to_tensor
from ..utils.arrays import Array
from .config import TrainConfig
from .data.shards import Clip, Row, read_datasets
from .discriminator import Discriminator, FeatureNetwork, hinge, matched
from .engine import Task, Validation, clip_sampler
from .plots import sheet

LEVELS = 3
SHORTEST = 25
"""Frames of the shortest clip that references and targets can be drawn from."""
VALIDATIONS = 24
"""Windows of a validation."""


@dataclass(frozen=True, kw_only=True)
class Stage2Config(TrainConfig):
    """Configuration of stage 2's training; `configs/stage2.yaml` says what the fields mean."""

    most_frames: int
    size: int
    targets: int
    tint: float
    start: str | None
    channels: int
    width: int
    use_lip: bool
    use_face: bool
    sharpness: float
    use_selection: bool
    pixels: float
    pyramid: float
    mouth: float
    perceptual: float
    features: str | None
    adversarial: float
    matching: float
    adversarial_from: int


@dataclass(frozen=True)
class Window:
    """One training sample: references and the targets that share them. Pictures are (N, 3, S, S) in 0..1."""

    lip_textures: torch.Tensor
    lip_maps: list[GeometryMap]
    face_textures: torch.Tensor
    face_maps: list[GeometryMap]
    targets: torch.Tensor
    target_maps: list[GeometryMap]


class Sampler:
    """Draws windows from clips.

    Args:
        model: The morphable model.
        rows: Clips; those too short to draw from are left out.
        size: Side of the crops wanted; 256 or a whole fraction of it.
        most_frames: Frames at most counted of one speaker.
        tint: Spread of a window's random colour cast.
        use_selection: False draws all references at random from the clip.
    """

    def __init__(
        self,
        model: MorphableModel,
        rows: list[Row],
        size: int,
        most_frames: int = 750,
        tint: float = 0.08,
        use_selection: bool = True,
    ) -> None:
        self.model, self.size, self.tint, self.use_selection = model, size, tint, use_selection
        self.rows = [r for r in rows if r.frames >= SHORTEST]
        if not self.rows:
            raise PersonaTalkError(f"no clip of {SHORTEST} frames or more to draw references and targets from")
        self.choose = clip_sampler([r.frames for r in self.rows], [r.speaker for r in self.rows], most_frames)
        self._clip = functools.lru_cache(maxsize=256)(lambda i: self.rows[i].load())

    def draw(self, random: np.random.Generator, targets: int) -> Window:
        """Draw one window by Algorithm 1's training strategy."""
        clip: Clip = self._clip(self.choose(random))
        length = len(clip.crops)
        centre = int(random.integers(length))
        near = np.arange(max(0, centre - 4), min(length, centre + 5))
        face = training_face_references(centre, length)
        if not self.use_selection:
            face = np.sort(random.choice(np.setdiff1d(np.arange(length), near), FACE_REFERENCES, replace=False))
        chosen = random.choice(np.setdiff1d(near, face), targets, replace=False)
        others = np.setdiff1d(np.arange(length), chosen)
        lips = others[training_lip_references(len(others), random, LIP_REFERENCES_TRAINING)]
        tint = 1 + self.tint * random.standard_normal(3).astype(np.float32)
        return Window(
            self._pictures(clip, lips, tint),
            [self._map(clip, i) for i in lips],
            self._pictures(clip, face, tint),
            [self._map(clip, i) for i in face],
            self._pictures(clip, chosen, tint),
            [self._map(clip, i, int(random.integers(length))) for i in chosen],
        )

    def _pictures(self, clip: Clip, frames: npt.NDArray[np.int64], tint: Array) -> torch.Tensor:
        pictures = torch.stack([to_tensor(clip.crops[int(i)]) for i in frames])
        if pictures.shape[-1] != self.size:
            pictures = nn.functional.avg_pool2d(pictures, CROP_SIZE // self.size)
        return (pictures * torch.from_numpy(tint)[:, None, None]).clamp(0, 1)

    def _map(self, clip: Clip, frame: int, other: int | None = None) -> GeometryMap:
        """Geometry of a frame; for a target also the region that another frame's mouth would have asked for."""
        pose = clip.pose[frame]
        transform = crop_transform(pose, self.size)

        def drawn(expression: int) -> Array:
            vertices = self.model.vertices(clip.alpha, clip.beta[expression])
            return apply_transform(transform, project(vertices, pose))

        others = () if other is None else (drawn(other),)
        return geometry_map(self.model, drawn(frame), self.size, others)


def region(maps: list[GeometryMap], mouth: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Generated region (N, 1, S, S) of targets, and the same with `mouth` times the weight on the lips."""
    face = torch.stack([m.face for m in maps])[:, None]
    lips = torch.stack([m.lips for m in maps])[:, None]
    wide = nn.functional.interpolate(lips, face.shape[-2:], mode="bilinear", align_corners=False)
    return face, face * (1 + (mouth - 1) * wide)


def pixel_losses(pictures: torch.Tensor, window: Window, mouth: float) -> dict[str, torch.Tensor]:
    """L1 and L1 of a Laplacian pyramid, over the generated region of a window's targets."""
    _, weight = region(window.target_maps, mouth)
    difference = pictures - window.targets
    terms = {"pixels": (difference.abs() * weight).sum() / weight.sum()}
    bands = []
    for level in range(LEVELS):
        smaller = nn.functional.avg_pool2d(difference, 2)
        band = difference - nn.functional.interpolate(
            smaller, difference.shape[-2:], mode="bilinear", align_corners=False
        )
        bands.append((2.0 if level == 0 else 1.0) * (band.abs() * weight).sum() / weight.sum())
        difference, weight = smaller, nn.functional.avg_pool2d(weight, 2)
    return {**terms, "pyramid": torch.stack(bands).sum()}


def psnr(pictures: torch.Tensor, window: Window) -> float:
    """PSNR over the generated region in dB."""
    face, _ = region(window.target_maps, 1.0)
    error = ((pictures - window.targets).square() * face).sum() / (3 * face.sum())
    return float(-10 * error.clamp(min=1e-10).log10())


def render_window(network: Renderer, window: Window) -> torch.Tensor:
    """The targets of a window, (N, 3, S, S)."""
    lips = network.encode_references(window.lip_textures, window.lip_maps)
    faces = network.encode_references(window.face_textures, window.face_maps)
    return network(window.target_maps, lips, faces).float()


class Stage2Task(Task[Window]):
    """Stage 2's training.

    Args:
        config: How.
        model: The morphable model.
        rows: Clips to train on.
        held_out: Clips of other speakers.
    """

    network: Renderer

    def __init__(self, config: Stage2Config, model: MorphableModel, rows: list[Row], held_out: list[Row]) -> None:
        super().__init__()
        torch.manual_seed(config.seed)
        self.config = config
        sizes = {"channels": config.channels, "width": config.width}
        self.network = (
            Renderer(**sizes, use_lip=config.use_lip, use_face=config.use_face)
            if config.start is None
            else Renderer.load(config.start)
        )
        self.network.sharpen(config.sharpness)
        for name in ("channels", "width", "use_lip", "use_face"):
            if self.network.config[name] != getattr(config, name):
                raise PersonaTalkError(f"{config.start}: trained with another {name}; start anew, without 'start'")
        self.discriminator = Discriminator() if config.adversarial > 0 else None
        self.features = None
        if config.perceptual > 0 and config.features is not None:
            self.features = FeatureNetwork.read(Path(config.features))
        elif config.perceptual > 0:
            raise PersonaTalkError("a perceptual loss needs a network: set features=FILE, or train one of our own")
        self.sampler, self.judge = (
            Sampler(model, r, config.size, config.most_frames, tint, config.use_selection)
            for r, tint in ((rows, config.tint), (held_out, 0.0))
        )
        self._adversarial = False
        self._made: list[torch.Tensor] = []

    @classmethod
    def from_config(cls, config: Stage2Config, morphable: Path | None = None) -> Stage2Task:
        """The task on the data sets that the configuration names.

        Raises:
            PersonaTalkError: A data set or weights file cannot be read.
        """
        rows, held_out = (read_datasets(config.dataset, splits) for splits in (config.train, config.val))
        return cls(config, MorphableModel.load(morphable), rows, held_out)

    def groups(self) -> dict[str, list[dict[str, Any]]]:
        """The renderer, then the discriminator where there is one."""
        parts: dict[str, list[dict[str, Any]]] = {"network": [{"params": list(self.network.parameters())}]}
        if self.discriminator is not None:
            parts["discriminator"] = [{"params": list(self.discriminator.parameters())}]
        return parts

    def due(self, part: str, step: int) -> bool:
        """The discriminator begins late: before, it would only punish blur that is going away anyway."""
        self._adversarial = self.discriminator is not None and step >= self.config.adversarial_from
        return part == "network" or self._adversarial

    def draw(self, random: np.random.Generator) -> Window:
        """A random window of a random clip."""
        return self.sampler.draw(random, self.config.targets)

    def losses(self, samples: Sequence[Window], part: str) -> dict[str, torch.Tensor]:
        """Terms of the loss of the renderer, or of the discriminator on what the renderer just made."""
        if part == "discriminator":
            judged = [self._scores(window, made) for window, made in zip(samples, self._made, strict=True)]
            return {"discriminator": torch.stack([hinge(real[-1], fake[-1]) for real, fake in judged]).mean()}
        pictures = [render_window(self.network, window) for window in samples]
        found = [self._terms(window, made) for window, made in zip(samples, pictures, strict=True)]
        self._made = [made.detach() for made in pictures]
        return {name: torch.stack([terms[name] for terms in found]).mean() for name in found[0]}

    def _terms(self, window: Window, made: torch.Tensor) -> dict[str, torch.Tensor]:
        config = self.config
        terms = pixel_losses(made, window, config.mouth)
        terms = {"pixels": config.pixels * terms["pixels"], "pyramid": config.pyramid * terms["pyramid"]}
        if self.features is not None:
            real, fake = self.features(window.targets), self.features(_composed(window, made))
            steps = [(a - b).square().sum(dim=1).mean() for a, b in zip(real, fake, strict=True)]
            terms["perceptual"] = config.perceptual * torch.stack(steps).mean()
        if self._adversarial:
            real, fake = self._scores(window, made)
            terms["adversarial"] = -config.adversarial * fake[-1].mean()
            terms["matching"] = config.adversarial * config.matching * matched(real[:-1], fake[:-1])
        return terms

    def _scores(self, window: Window, made: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """What the discriminator says of the targets, and of the same with the generated region put in."""
        assert self.discriminator is not None
        pncc = torch.stack([m.pncc for m in window.target_maps])
        return self.discriminator(window.targets, pncc), self.discriminator(_composed(window, made), pncc)

    def validate(self, network: Renderer) -> Validation:
        """PSNR over the generated region of fixed windows of held-out people, true geometry; and pictures."""
        values, rows = [], []
        with torch.no_grad():
            for number in range(VALIDATIONS):
                window = self.judge.draw(np.random.default_rng([1234, number]), 1)
                made = render_window(network, window)
                values.append(psnr(made, window))
                if number < 6:
                    rows.append([_picture(window.targets[0]), _picture(_composed(window, made)[0])])
        return Validation({"psnr": float(np.mean(values))}, "psnr", {"real_and_rendered": sheet(rows)})

    def save(self, network: Renderer, path: Path) -> None:
        """Write a renderer."""
        network.save(path)


def _composed(window: Window, made: torch.Tensor) -> torch.Tensor:
    """The targets with their generated region replaced."""
    face, _ = region(window.target_maps, 1.0)
    return window.targets + face * (made - window.targets)


def _picture(picture: torch.Tensor) -> npt.NDArray[np.uint8]:
    return (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
