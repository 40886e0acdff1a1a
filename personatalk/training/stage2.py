"""Trains the renderer (stage 2) on prepared clips.

Losses, on which the paper is silent: L1 on the generated region, the same on a Laplacian pyramid (which asks for
detail at every scale), both with more weight on the mouth; a perceptual term; and, from some step on, a patch
discriminator with feature matching. Targets that share a window share its references, which saves most of the
encoding; a target is never its own reference, or its texture would be copied.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..errors import PersonaTalkError
from ..geometry.morphable_model import MorphableModel
from ..stage2.regions import pixel_span
from ..stage2.renderer import Renderer
from ..stage2.runtime import RendererRuntime
from .config import Stage2Config
from .data.shards import IndexEntry, evenly_spaced, read_datasets
from .discriminator import Discriminator, feature_matching_loss, hinge_loss
from .engine import PartResult, Step, Task, Validation
from .perceptual import PerceptualFeatures, perceptual_distance
from .plots import draw_grid
from .renderer_meter import RendererMeter, summary
from .windows import PackedWindow, RenderWindow, WindowSampler

PYRAMID_LEVELS = 3
# Windows of a validation, of each kind.
VALIDATION_WINDOWS = 12
# Measurements of obedience that a validation tells.
OBEDIENCE = ("opening_slope", "opening_correlation", "width_slope", "detail")
# Held-out clips on which a validation measures how far mouths open.
VALIDATION_CLIPS = 3


def region_masks(window: RenderWindow, mouth: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the generated region (T, 1, h, w) of targets, and the same with `mouth` times the weight on the lips."""
    rows, columns = pixel_span(window.box[0]), pixel_span(window.box[1])
    face = torch.stack([m.face for m in window.target_maps])[:, None]
    lips = torch.stack([m.lips for m in window.target_maps])[:, None]
    wide = nn.functional.interpolate(lips, face.shape[-2:], mode="bilinear", align_corners=False)
    return face[:, :, rows, columns], (face * (1 + (mouth - 1) * wide))[:, :, rows, columns]


def drawn_geometry(window: RenderWindow) -> torch.Tensor:
    """Return the drawn geometry of the targets within the box, (T, 8, h, w)."""
    rows, columns = pixel_span(window.box[0]), pixel_span(window.box[1])
    return torch.stack([m.image[:, rows, columns] for m in window.target_maps])


def pixel_losses(images: torch.Tensor, window: RenderWindow, mouth: float) -> dict[str, torch.Tensor]:
    """Return L1 and L1 of a Laplacian pyramid, over the generated region of a window's targets."""
    _, weight = region_masks(window, mouth)
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
    face, _ = region_masks(window, 1.0)
    error = ((images - window.targets).square() * face).sum() / (3 * face.sum())
    return float(-10 * error.clamp(min=1e-10).log10())


def render_window(network: Renderer, window: RenderWindow) -> torch.Tensor:
    """Render the targets of a window within its box, (T, 3, h, w)."""
    lips = network.encode_references(window.lip_textures, window.lip_maps)
    faces = network.encode_references(window.face_textures, window.face_maps)
    return network(window.target_maps, lips, faces, window.box).float()


class Stage2Task(Task[PackedWindow]):
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
        # One for the mouth at its own size, one for whole faces.
        self.discriminator = None
        if config.adversarial_weight > 0:
            self.discriminator = nn.ModuleDict({"mouth": Discriminator(), "face": Discriminator()})
        self.features = PerceptualFeatures() if config.perceptual_weight > 0 else None
        self.held_out = held_out
        self.sampler = self._sampler(model, entries, config.tint_std, config.mouth_share)
        self.val_samplers = {name: self._sampler(model, held_out, 0.0, i) for i, name in enumerate(("face", "mouth"))}

    def _sampler(
        self, model: MorphableModel, entries: list[IndexEntry], tint: float, mouth_share: float
    ) -> WindowSampler:
        config = self.config
        return WindowSampler(
            model, entries, config.crop_size, config.max_frames_per_speaker, tint, config.use_selection, mouth_share
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

    def sample(self, random: np.random.Generator) -> PackedWindow:
        """Return a random window of a random clip."""
        return self.sampler.sample(random, self.config.targets_per_window)

    def losses(self, samples: Sequence[PackedWindow], step: Step) -> PartResult:
        """Return the loss of the renderer, or that of the discriminator on what the renderer has just rendered."""
        windows = [sample.unpack() for sample in samples]
        if step.part == "discriminator":
            scores = [self._scores(window, image) for window, image in zip(windows, step.outputs, strict=True)]
            losses = [hinge_loss(real[-1], fake[-1]) for real, fake in scores]
            return PartResult({"discriminator": torch.stack(losses).mean()})
        images = [render_window(self.network, window) for window in windows]
        adversarial = self._is_adversarial(step.number)
        found = [self._terms(window, image, adversarial) for window, image in zip(windows, images, strict=True)]
        means = {name: torch.stack([terms[name] for terms in found]).mean() for name in found[0]}
        return PartResult(means, [image.detach() for image in images])

    def _terms(self, window: RenderWindow, rendered: torch.Tensor, adversarial: bool) -> dict[str, torch.Tensor]:
        """Return the terms of the renderer's loss for the targets of a window."""
        config = self.config
        terms = pixel_losses(rendered, window, config.mouth_weight)
        terms = {"pixels": config.pixel_weight * terms["pixels"], "pyramid": config.pyramid_weight * terms["pyramid"]}
        if self.features is not None:
            real, fake = self.features(window.targets), self.features(_composed(window, rendered))
            terms["perceptual"] = config.perceptual_weight * perceptual_distance(real, fake)
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
        judge, geometry = self.discriminator["mouth" if window.mouth else "face"], drawn_geometry(window)
        return judge(window.targets, geometry), judge(_composed(window, rendered), geometry)

    def validate(self, network: Renderer) -> Validation:
        """Measure fixed windows with true geometry: PSNR over the generated region and the mouth's features.

        And on whole crops of some clips, as dubbing renders them, whether mouths open as far as they are asked.
        """
        found: dict[str, list[float]] = {"psnr": [], "psnr_mouth": [], "perceptual": []}
        rows: list[list[npt.NDArray[np.uint8]]] = []
        with torch.no_grad():
            for number in range(2 * VALIDATION_WINDOWS):
                mouth = number % 2 == 1
                sampler = self.val_samplers["mouth" if mouth else "face"]
                window = sampler.sample(np.random.default_rng([1234, number]), 1).unpack()
                rendered = render_window(network, window)
                found["psnr_mouth" if mouth else "psnr"].append(tensor_psnr(rendered, window))
                if mouth and self.features is not None:
                    both = self.features(window.targets), self.features(_composed(window, rendered))
                    found["perceptual"].append(-float(perceptual_distance(*both)))
                if mouth and len(rows) < 8:
                    rows.append([_to_image(window.targets[0]), _to_image(_composed(window, rendered)[0])])
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
        """Write a renderer."""
        network.save(path)


def _composed(window: RenderWindow, rendered: torch.Tensor) -> torch.Tensor:
    """Return the targets with their generated region replaced."""
    face, _ = region_masks(window, 1.0)
    return window.targets + face * (rendered - window.targets)


def _to_image(image: torch.Tensor) -> npt.NDArray[np.uint8]:
    return (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
