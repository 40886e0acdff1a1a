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
from .config import Stage2Config
from .data.shards import Clip, IndexEntry, read_datasets
from .discriminator import Discriminator, VggFeatures, feature_matching_loss, hinge_loss
from .engine import PartResult, Step, Task, Validation, clip_sampler
from .plots import draw_grid

PYRAMID_LEVELS = 3
# Frames of the shortest clip that references and targets can be sampled from.
MIN_CLIP_FRAMES = 25
# Windows of a validation.
VALIDATION_WINDOWS = 24


@dataclass(frozen=True)
class RenderWindow:
    """One training sample: references and the targets that share them. Images are (N, 3, S, S) in 0..1."""

    lip_textures: torch.Tensor
    lip_maps: list[GeometryMap]
    face_textures: torch.Tensor
    face_maps: list[GeometryMap]
    targets: torch.Tensor
    target_maps: list[GeometryMap]


class WindowSampler:
    """Samples windows from clips.

    Args:
        model: The morphable model.
        entries: Clips; those too short to sample from are left out.
        size: Side of the crops wanted; 256 or a whole fraction of it.
        max_frames_per_speaker: Frames at most counted of one speaker.
        tint: Spread of a window's random colour cast.
        use_selection: False samples all references at random from the clip.
    """

    def __init__(
        self,
        model: MorphableModel,
        entries: list[IndexEntry],
        size: int,
        max_frames_per_speaker: int = 750,
        tint: float = 0.08,
        use_selection: bool = True,
    ) -> None:
        self.model, self.size, self.tint, self.use_selection = model, size, tint, use_selection
        self.entries = [r for r in entries if r.frames >= MIN_CLIP_FRAMES]
        if not self.entries:
            raise PersonaTalkError(f"no clip of {MIN_CLIP_FRAMES} frames or more to draw references and targets from")
        self.sample_clip = clip_sampler(
            [r.frames for r in self.entries], [r.speaker for r in self.entries], max_frames_per_speaker
        )
        self._clip = functools.lru_cache(maxsize=256)(lambda i: self.entries[i].load())

    def sample(self, random: np.random.Generator, targets: int) -> RenderWindow:
        """Return one random window by Algorithm 1's training strategy."""
        clip: Clip = self._clip(self.sample_clip(random))
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
        return RenderWindow(
            self._images(clip, lips, tint),
            [self._map(clip, i) for i in lips],
            self._images(clip, face, tint),
            [self._map(clip, i) for i in face],
            self._images(clip, chosen, tint),
            [self._map(clip, i, int(random.integers(length))) for i in chosen],
        )

    def _images(self, clip: Clip, frames: npt.NDArray[np.int64], tint: Array) -> torch.Tensor:
        images = torch.stack([to_tensor(clip.crops[int(i)]) for i in frames])
        if images.shape[-1] != self.size:
            images = nn.functional.avg_pool2d(images, CROP_SIZE // self.size)
        return (images * torch.from_numpy(tint)[:, None, None]).clamp(0, 1)

    def _map(self, clip: Clip, frame: int, other: int | None = None) -> GeometryMap:
        """Return the geometry map of a frame, for a target with the region of another frame's mouth."""
        pose = clip.pose[frame]
        transform = crop_transform(pose, self.size)

        def drawn(expression: int) -> Array:
            vertices = self.model.vertices(clip.alpha, clip.beta[expression])
            return apply_transform(transform, project(vertices, pose))

        others = () if other is None else (drawn(other),)
        return geometry_map(self.model, drawn(frame), self.size, others)


def region_masks(maps: list[GeometryMap], mouth: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the generated region (N, 1, S, S) of targets, and the same with `mouth` times the weight on the lips."""
    face = torch.stack([m.face for m in maps])[:, None]
    lips = torch.stack([m.lips for m in maps])[:, None]
    wide = nn.functional.interpolate(lips, face.shape[-2:], mode="bilinear", align_corners=False)
    return face, face * (1 + (mouth - 1) * wide)


def pixel_losses(images: torch.Tensor, window: RenderWindow, mouth: float) -> dict[str, torch.Tensor]:
    """Return Return L1 and L1 of a Laplacian pyramid, over the generated region of a window's targets."""
    _, weight = region_masks(window.target_maps, mouth)
    difference = images - window.targets
    terms = {"pixels": (difference.abs() * weight).sum() / weight.sum()}
    bands = []
    for level in range(PYRAMID_LEVELS):
        smaller = nn.functional.avg_pool2d(difference, 2)
        band = difference - nn.functional.interpolate(
            smaller, difference.shape[-2:], mode="bilinear", align_corners=False
        )
        bands.append((2.0 if level == 0 else 1.0) * (band.abs() * weight).sum() / weight.sum())
        difference, weight = smaller, nn.functional.avg_pool2d(weight, 2)
    return {**terms, "pyramid": torch.stack(bands).sum()}


def tensor_psnr(images: torch.Tensor, window: RenderWindow) -> float:
    """Return the PSNR over the generated region in dB."""
    face, _ = region_masks(window.target_maps, 1.0)
    error = ((images - window.targets).square() * face).sum() / (3 * face.sum())
    return float(-10 * error.clamp(min=1e-10).log10())


def render_window(network: Renderer, window: RenderWindow) -> torch.Tensor:
    """Render the targets of a window, (N, 3, S, S)."""
    lips = network.encode_references(window.lip_textures, window.lip_maps)
    faces = network.encode_references(window.face_textures, window.face_maps)
    return network(window.target_maps, lips, faces).float()


class Stage2Task(Task[RenderWindow]):
    """Stage 2's training.

    Args:
        config: The fields that configure it.
        model: The morphable model.
        entries: Clips to train on.
        held_out: Clips of other speakers.
    """

    network: Renderer

    def __init__(
        self, config: Stage2Config, model: MorphableModel, entries: list[IndexEntry], held_out: list[IndexEntry]
    ) -> None:
        super().__init__()
        torch.manual_seed(config.seed)
        self.config = config
        sizes = {"channels": config.channels, "width": config.width}
        self.network = (
            Renderer(**sizes, use_lip=config.use_lip, use_face=config.use_face)
            if config.init_from is None
            else Renderer.load(config.init_from)
        )
        self.network.sharpen(config.sharpness)
        for name in ("channels", "width", "use_lip", "use_face"):
            if self.network.config[name] != getattr(config, name):
                raise PersonaTalkError(
                    f"{config.init_from}: trained with another {name}; start anew, without 'init_from'"
                )
        self.discriminator = Discriminator() if config.adversarial_weight > 0 else None
        self.features = None
        if config.perceptual_weight > 0 and config.feature_network is not None:
            self.features = VggFeatures.read(Path(config.feature_network))
        elif config.perceptual_weight > 0:
            raise PersonaTalkError(
                "a perceptual loss needs a network: set feature_network=FILE, or train one of our own"
            )
        self.sampler, self.val_sampler = (
            WindowSampler(model, r, config.crop_size, config.max_frames_per_speaker, tint, config.use_selection)
            for r, tint in ((entries, config.tint_std), (held_out, 0.0))
        )

    @classmethod
    def from_config(cls, config: Stage2Config, morphable: Path | None = None) -> Stage2Task:
        """Return the task on the data sets that the configuration names.

        Raises:
            PersonaTalkError: A data set or weights file cannot be read.
        """
        entries = read_datasets(config.datasets, config.train_splits)
        held_out = read_datasets(config.datasets, config.val_splits)
        return cls(config, MorphableModel.load(morphable), entries, held_out)

    def parameter_groups(self) -> dict[str, list[dict[str, Any]]]:
        """Return the renderer's group, then the discriminator's where there is one."""
        parts: dict[str, list[dict[str, Any]]] = {"network": [{"params": list(self.network.parameters())}]}
        if self.discriminator is not None:
            parts["discriminator"] = [{"params": list(self.discriminator.parameters())}]
        return parts

    def should_step(self, part: str, number: int) -> bool:
        """Return whether a part takes a step: the discriminator begins late, when plain blur is gone."""
        return part == "network" or self._is_adversarial(number)

    def _is_adversarial(self, number: int) -> bool:
        return self.discriminator is not None and number >= self.config.adversarial_start_step

    def sample(self, random: np.random.Generator) -> RenderWindow:
        """Return a random window of a random clip."""
        return self.sampler.sample(random, self.config.targets_per_window)

    def losses(self, samples: Sequence[RenderWindow], step: Step) -> PartResult:
        """Return the loss of the renderer, or that of the discriminator on what the renderer has just rendered."""
        if step.part == "discriminator":
            scores = [self._scores(window, image) for window, image in zip(samples, step.outputs, strict=True)]
            losses = [hinge_loss(real[-1], fake[-1]) for real, fake in scores]
            return PartResult({"discriminator": torch.stack(losses).mean()})
        images = [render_window(self.network, window) for window in samples]
        adversarial = self._is_adversarial(step.number)
        found = [self._terms(window, image, adversarial) for window, image in zip(samples, images, strict=True)]
        means = {name: torch.stack([terms[name] for terms in found]).mean() for name in found[0]}
        return PartResult(means, [image.detach() for image in images])

    def _terms(self, window: RenderWindow, rendered: torch.Tensor, adversarial: bool) -> dict[str, torch.Tensor]:
        """Return the terms of the renderer's loss for the targets of a window."""
        config = self.config
        terms = pixel_losses(rendered, window, config.mouth_weight)
        terms = {"pixels": config.pixel_weight * terms["pixels"], "pyramid": config.pyramid_weight * terms["pyramid"]}
        if self.features is not None:
            real, fake = self.features(window.targets), self.features(_composed(window, rendered))
            steps = [(a - b).square().sum(dim=1).mean() for a, b in zip(real, fake, strict=True)]
            terms["perceptual"] = config.perceptual_weight * torch.stack(steps).mean()
        if adversarial:
            real, fake = self._scores(window, rendered)
            terms["adversarial"] = -config.adversarial_weight * fake[-1].mean()
            terms["matching"] = (
                config.adversarial_weight * config.feature_matching_weight * feature_matching_loss(real[:-1], fake[:-1])
            )
        return terms

    def _scores(self, window: RenderWindow, rendered: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return the discriminator's features and scores of the targets and of the composed rendered images."""
        assert self.discriminator is not None
        pncc = torch.stack([m.pncc for m in window.target_maps])
        return self.discriminator(window.targets, pncc), self.discriminator(_composed(window, rendered), pncc)

    def validate(self, network: Renderer) -> Validation:
        """Measure PSNR over the generated region of fixed windows of held-out speakers, with true geometry."""
        values, rows = [], []
        with torch.no_grad():
            for number in range(VALIDATION_WINDOWS):
                window = self.val_sampler.sample(np.random.default_rng([1234, number]), 1)
                rendered = render_window(network, window)
                values.append(tensor_psnr(rendered, window))
                if number < 6:
                    rows.append([_to_image(window.targets[0]), _to_image(_composed(window, rendered)[0])])
        return Validation({"psnr": float(np.mean(values))}, "psnr", {"real_and_rendered": draw_grid(rows)})

    def save(self, network: Renderer, path: Path) -> None:
        """Write a renderer."""
        network.save(path)


def _composed(window: RenderWindow, rendered: torch.Tensor) -> torch.Tensor:
    """Return the targets with their generated region replaced."""
    face, _ = region_masks(window.target_maps, 1.0)
    return window.targets + face * (rendered - window.targets)


def _to_image(image: torch.Tensor) -> npt.NDArray[np.uint8]:
    return (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
