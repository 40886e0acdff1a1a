"""Trains the renderer (stage 2) on prepared clips.

Losses, on which the paper is silent: L1 on the generated region, the same on a Laplacian pyramid (which asks for
detail at every scale), both with more weight on the mouth; a perceptual term; and, from some step on, a patch
discriminator with feature matching. Targets that share a window share its references, which saves most of the
encoding; a target is never its own reference, or its texture would be copied.
"""

from __future__ import annotations

import copy
import functools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..errors import PersonaTalkError
from ..geometry.morphable_model import MorphableModel
from ..stage2.renderer import Renderer
from ..stage2.runtime import RendererRuntime
from .batches import Batch, judged, make_batches, render_batch
from .config import Stage2Config
from .data.shards import IndexEntry, evenly_spaced, read_datasets
from .discriminator import Discriminator, feature_matching_loss, hinge_loss
from .engine import PartResult, Step, Task, Validation
from .frames import FrameTable, read_all
from .perceptual import PerceptualFeatures, perceptual_distance
from .plots import draw_grid
from .ranges import observed_ranges
from .renderer_meter import RendererMeter, summary
from .windows import Window, WindowSampler

PYRAMID_LEVELS = 3
# Windows of a validation, of each kind.
VALIDATION_WINDOWS = 12
# Windows by which the ranges of the decoder's activations are found.
RANGE_WINDOWS = 32
# Measurements of obedience that a validation tells.
OBEDIENCE = ("opening_slope", "opening_correlation", "width_slope", "detail")
# Held-out clips on which a validation measures how far mouths open.
VALIDATION_CLIPS = 3


def pixel_losses(
    images: torch.Tensor, targets: torch.Tensor, face: torch.Tensor, lips: torch.Tensor, mouth: float
) -> dict[str, torch.Tensor]:
    """Return L1 and L1 of a Laplacian pyramid, over the generated region.

    Args:
        images: The rendered images, (B, 3, h, w).
        targets: The real ones.
        face: Share in which a pixel is judged, (B, h, w).
        lips: M_lip, (B, h/4, w/4).
        mouth: Weight of the lips against the rest.
    """
    wide = nn.functional.interpolate(lips[:, None], face.shape[-2:], mode="bilinear", align_corners=False)
    weight = face[:, None] * (1 + (mouth - 1) * wide)
    difference = images - targets
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


def tensor_psnr(images: torch.Tensor, targets: torch.Tensor, face: torch.Tensor) -> float:
    """Return the PSNR over the generated region in dB; arguments as in `pixel_losses`."""
    error = ((images - targets).square() * face[:, None]).sum() / (3 * face.sum())
    return float(-10 * error.clamp(min=1e-10).log10())


@dataclass(frozen=True)
class Judged:
    """What was rendered of a batch of windows, and what it is judged by.

    Attributes:
        images: The rendered images, (M, 3, h, w).
        targets: The real ones.
        composed: The real ones with their generated region replaced.
        face: Share in which a pixel is judged, (M, h, w).
        lips: M_lip, (M, h/4, w/4).
        geometry: Drawn geometry, (M, 8, h, w).
    """

    images: torch.Tensor
    targets: torch.Tensor
    composed: torch.Tensor
    face: torch.Tensor
    lips: torch.Tensor
    geometry: torch.Tensor

    @classmethod
    def of(cls, batch: Batch, rendered: torch.Tensor) -> Judged:
        """Return it for images (B, T, 3, h, w), with all windows' targets one after the other."""
        views, face = batch.rendered, judged(batch)
        composed = views.images + face[:, :, None] * (rendered - views.images)
        tables = (rendered, views.images, composed, face, views.lips, views.geometry)
        return cls(*(table.flatten(0, 1) for table in tables))


class Stage2Task(Task[Window]):
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
        sizes: dict[str, Any] = {"channels": config.channels, "width": config.width}
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
        # One for the mouth at its own size, one for whole faces.
        self.discriminator = None
        if config.adversarial_weight > 0:
            self.discriminator = nn.ModuleDict({"mouth": Discriminator(), "face": Discriminator()})
        self.features = PerceptualFeatures() if config.perceptual_weight > 0 else None
        self.held_out = held_out
        make_sampler = functools.partial(
            WindowSampler,
            model,
            size=config.crop_size,
            max_frames_per_speaker=config.max_frames_per_speaker,
            use_selection=config.use_selection,
        )
        self.sampler = make_sampler(entries, tint=config.tint_std, resident=config.resident)
        self.val_sampler = make_sampler(held_out, tint=0.0)
        self._resident: FrameTable | None = None

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
            parts["discriminator"] = [{"params": list(self.discriminator.parameters()), "scale": 2.0}]
        return parts

    def should_step(self, part: str, progress: float) -> bool:
        """Return whether a part takes a step: the discriminator begins late, when plain blur is gone."""
        return part == "network" or self._is_adversarial(progress)

    def _is_adversarial(self, progress: float) -> bool:
        return self.discriminator is not None and progress >= self.config.adversarial_start

    def sample(self, random: np.random.Generator, place: int) -> Window:
        """Return a random window of a random clip, of the mouth alone in a fixed share of the batch's places."""
        # By place and not by chance: engines prepare themselves for each number of images.
        mouth = place < round(self.config.mouth_share * self.config.batch_size)
        return self.sampler.sample(random, self.config.targets_per_window, mouth)

    def _table(self) -> FrameTable | None:
        """Return the table of all frames, read at the first step, if there is to be one."""
        if self.config.resident and self._resident is None:
            device, sampler = next(self.network.parameters()).device, self.sampler
            self._resident = read_all(sampler.model, sampler.entries, sampler.size, device, self.config.workers)
        return self._resident

    def losses(self, samples: Sequence[Window], step: Step) -> PartResult:
        """Return the loss of the renderer, or that of the discriminator on what the renderer has just rendered."""
        batches = list(make_batches(samples, self._table()))
        if step.part == "discriminator":
            pairs = zip(batches, step.outputs, strict=True)
            found = [self._discriminator_terms(batch, rendered) for batch, rendered in pairs]
            outputs: list[torch.Tensor] = []
        else:
            images = [render_batch(self.network, batch) for batch in batches]
            adversarial = self._is_adversarial(step.progress)
            found = [self._terms(batch, image, adversarial) for batch, image in zip(batches, images, strict=True)]
            outputs = [image.detach() for image in images]
        shares = [len(batch.targets.start) / len(samples) for batch in batches]
        means = {
            name: torch.stack([share * terms[name] for share, terms in zip(shares, found, strict=True)]).sum()
            for name in found[0]
        }
        return PartResult(means, outputs)

    def _terms(self, batch: Batch, rendered: torch.Tensor, adversarial: bool) -> dict[str, torch.Tensor]:
        """Return the terms of the renderer's loss for the targets of a batch."""
        config, seen = self.config, Judged.of(batch, rendered)
        terms = pixel_losses(seen.images, seen.targets, seen.face, seen.lips, config.mouth_weight)
        terms = {"pixels": config.pixel_weight * terms["pixels"], "pyramid": config.pyramid_weight * terms["pyramid"]}
        if self.features is not None:
            real, fake = self.features(seen.targets), self.features(seen.composed)
            terms["perceptual"] = config.perceptual_weight * perceptual_distance(real, fake)
        if adversarial:
            real, fake = self._scores(batch, seen)
            terms["adversarial"] = -config.adversarial_weight * fake[-1].mean()
            terms["matching"] = (
                config.adversarial_weight * config.feature_matching_weight * feature_matching_loss(real[:-1], fake[:-1])
            )
        return terms

    def _discriminator_terms(self, batch: Batch, rendered: torch.Tensor) -> dict[str, torch.Tensor]:
        real, fake = self._scores(batch, Judged.of(batch, rendered))
        return {"discriminator": hinge_loss(real[-1], fake[-1])}

    def _scores(self, batch: Batch, seen: Judged) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return the discriminator's features and scores of the targets and of the composed rendered images."""
        assert self.discriminator is not None
        judge = self.discriminator["mouth" if batch.mouth else "face"]
        return judge(seen.targets, seen.geometry), judge(seen.composed, seen.geometry)

    def validate(self, network: Renderer) -> Validation:
        """Measure fixed windows with true geometry: PSNR over the generated region and the mouth's features.

        And on whole crops of some clips, as dubbing renders them, whether mouths open as far as they are asked.
        """
        found: dict[str, list[float]] = {"psnr": [], "psnr_mouth": [], "perceptual": []}
        rows: list[list[npt.NDArray[np.uint8]]] = []
        with torch.no_grad():
            for number in range(2 * VALIDATION_WINDOWS):
                mouth = number % 2 == 1
                window = self.val_sampler.sample(np.random.default_rng([1234, number]), 1, mouth)
                (batch,) = make_batches([window], None)
                seen = Judged.of(batch, render_batch(network, batch))
                found["psnr_mouth" if mouth else "psnr"].append(tensor_psnr(seen.images, seen.targets, seen.face))
                if mouth and self.features is not None:
                    device = next(self.features.parameters()).device
                    both = [self.features(images.to(device)) for images in (seen.targets, seen.composed)]
                    found["perceptual"].append(-float(perceptual_distance(*both)))
                if mouth and len(rows) < 8:
                    rows.append([_to_image(seen.targets[0]), _to_image(seen.composed[0])])
        means = {name: float(np.mean(values)) for name, values in found.items() if values}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.safetensors"
            network.save(path)
            Renderer.export(path)
            meter = RendererMeter(self.sampler.model, RendererRuntime(path, "cpu"))
        targets = [target for target, _, _ in meter.measure(evenly_spaced(self.held_out, VALIDATION_CLIPS))]
        if targets:
            told = summary(targets)
            means |= {name: told[name] for name in OBEDIENCE}
        criterion = "perceptual" if "perceptual" in means else "psnr_mouth"
        return Validation(means, criterion, {"real_and_rendered": draw_grid(rows)})

    def save(self, network: Renderer, path: Path) -> None:
        """Write a renderer, with the ranges by which its decoder may be computed in 8 bits."""
        network.config["ranges"] = self._ranges(copy.deepcopy(network).cpu().eval())
        network.save(path)

    def _ranges(self, network: Renderer) -> dict[str, list[float]]:
        """Return the ranges of the decoder's activations on fixed windows."""
        with torch.no_grad(), observed_ranges(network, network.roundable()) as ranges:
            for number in range(RANGE_WINDOWS):
                window = self.val_sampler.sample(np.random.default_rng([4321, number]), 1, mouth=False)
                render_batch(network, next(make_batches([window], None)))
        return ranges


def _to_image(image: torch.Tensor) -> npt.NDArray[np.uint8]:
    return (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
