"""Trains the renderer (stage 2) on prepared clips.

Losses, on which the paper is silent: L1 on the generated region, the same on a Laplacian pyramid (which asks for
detail at every scale), both with more weight on the mouth. Targets that share a window share its references, which
saves most of the encoding; a target is never its own reference, or its texture would be copied.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..geometry import Array, MorphableModel, apply_transform, crop_transform, project
from ..references import training_face_references, training_lip_references
from ..stage2 import GeometryMap, Renderer, geometry_map, to_tensor
from .checkpoints import Averaged, load_checkpoint, save_checkpoint
from .data import Clip, load_clips

TARGETS = 3
"""Targets of one window."""
MOUTH_WEIGHT = 4.0
LEVELS = 3


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
        clips: Clips with crops.
        size: Side of the crops wanted; 256 or a whole fraction of it.
        seed: Seed.
    """

    def __init__(self, model: MorphableModel, clips: list[Clip], size: int, seed: int) -> None:
        self.model, self.size = model, size
        self.clips = [c for c in clips if c.crops is not None and len(c.crops) >= 25]
        # Long clips are drawn more often, but not in proportion: people matter more than minutes.
        share = np.sqrt([min(len(c.crops), 250) for c in self.clips if c.crops is not None])
        self.share = share / share.sum()
        self.random = np.random.default_rng(seed)

    def draw(self, targets: int = TARGETS) -> Window:
        """Draw one window by Algorithm 1's training strategy."""
        random = self.random
        clip = self.clips[int(random.choice(len(self.clips), p=self.share))]
        assert clip.crops is not None
        length = len(clip.crops)
        centre = int(random.integers(length))
        face = training_face_references(centre, length)
        near = np.arange(max(0, centre - 4), min(length, centre + 5))
        chosen = random.choice(np.setdiff1d(near, face), targets, replace=False)
        others = np.setdiff1d(np.arange(length), chosen)
        lips = others[training_lip_references(len(others), random)]
        tint = 1 + 0.08 * random.standard_normal(3).astype(np.float32)
        return Window(
            self._pictures(clip, lips, tint),
            [self._map(clip, i) for i in lips],
            self._pictures(clip, face, tint),
            [self._map(clip, i) for i in face],
            self._pictures(clip, chosen, tint),
            [self._map(clip, i, int(random.integers(length))) for i in chosen],
        )

    def _pictures(self, clip: Clip, frames: npt.NDArray[np.int64], tint: Array) -> torch.Tensor:
        assert clip.crops is not None
        pictures = torch.stack([to_tensor(np.asarray(clip.crops[i])) for i in frames])
        if pictures.shape[-1] != self.size:
            pictures = nn.functional.avg_pool2d(pictures, pictures.shape[-1] // self.size)
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


def losses(pictures: torch.Tensor, window: Window) -> tuple[torch.Tensor, torch.Tensor]:
    """Training loss and plain mean squared error over the generated region."""
    face = torch.stack([m.face for m in window.target_maps])[:, None]
    lips = torch.stack([m.lips for m in window.target_maps])[:, None]
    mouth = nn.functional.interpolate(lips, face.shape[-2:], mode="bilinear", align_corners=False)
    weight = face * (1 + (MOUTH_WEIGHT - 1) * mouth)
    difference = pictures - window.targets
    total = (difference.abs() * weight).sum() / weight.sum()
    for level in range(LEVELS):
        smaller = nn.functional.avg_pool2d(difference, 2)
        band = difference - nn.functional.interpolate(
            smaller, difference.shape[-2:], mode="bilinear", align_corners=False
        )
        total = total + (2.0 if level == 0 else 1.0) * (band.abs() * weight).sum() / weight.sum()
        difference, weight = smaller, nn.functional.avg_pool2d(weight, 2)
    squared = ((pictures - window.targets).square() * face).sum() / (3 * face.sum())
    return total, squared.detach()


def render_window(network: Renderer, window: Window) -> torch.Tensor:
    """The targets of a window, (N, 3, S, S); convolutions in bfloat16."""
    with torch.autocast(window.targets.device.type, torch.bfloat16):
        lips = network.encode_references(window.lip_textures, window.lip_maps)
        faces = network.encode_references(window.face_textures, window.face_maps)
        return network(window.target_maps, lips, faces).float()


def validate(network: Renderer, sampler: Sampler, windows: int = 24) -> float:
    """PSNR over the generated region of fixed windows of held-out people, in dB."""
    sampler.random = np.random.default_rng(1234)
    with torch.no_grad():
        errors = [losses(render_window(network, w), w)[1] for w in (sampler.draw(1) for _ in range(windows))]
    return float(np.mean([-10 * np.log10(float(e)) for e in errors]))


def main() -> None:
    """Command line of the training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path, help="folder of prepared clips")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the run; it is resumed from there")
    parser.add_argument("--train", nargs="+", default=["train__", "train_generated__", "train_mute__"])
    parser.add_argument("--val", nargs="+", default=["val__"])
    parser.add_argument("--model", type=Path, help="morphable model (default: the package's)")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--windows", type=int, default=2, help="windows of one step")
    parser.add_argument("--seed", type=int, default=0)
    train(parser.parse_args())


def train(arguments: argparse.Namespace) -> None:
    """Train for the given minutes; the learning rate falls to a tenth along a cosine."""
    torch.manual_seed(arguments.seed)
    model, network = MorphableModel.load(arguments.model), Renderer().train()
    averaged = Averaged(network, decay=0.998)
    optimiser = torch.optim.AdamW(network.parameters(), lr=arguments.rate, betas=(0.9, 0.99), weight_decay=1e-3)
    arguments.output.mkdir(parents=True, exist_ok=True)
    state = load_checkpoint(arguments.output, network, averaged, optimiser)
    sampler = Sampler(
        model,
        load_clips(arguments.dataset, tuple(arguments.train)),
        arguments.size,
        arguments.seed + state.step,
    )
    held_out = Sampler(model, load_clips(arguments.dataset, tuple(arguments.val)), arguments.size, 0)
    start = saved = time.monotonic()
    recent: list[tuple[float, float]] = []
    while (done := (time.monotonic() - start) / (60 * arguments.minutes)) < 1:
        rate = arguments.rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done))) * min(1.0, (state.step + 1) / 100)
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad()
        for _ in range(arguments.windows):
            window = sampler.draw()
            loss, squared = losses(render_window(network, window), window)
            (loss / arguments.windows).backward()
            recent.append((loss.item(), squared.item()))
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        averaged.update(network)
        state.step += 1
        if state.step % 50 == 0:
            mean_loss, mean_squared = np.mean(recent, axis=0)
            recent = []
            print(
                f"step {state.step} minutes {(time.monotonic() - start) / 60:.1f} loss {mean_loss:.4f}"
                f" psnr {-10 * np.log10(mean_squared):.2f}",
                flush=True,
            )
        if state.step % 500 == 0:
            print(f"step {state.step} val psnr {validate(averaged.network, held_out):.2f}", flush=True)
        if time.monotonic() - saved > 240:
            save_checkpoint(arguments.output, state, network, averaged, optimiser)
            averaged.network.save(arguments.output / "stage2.safetensors")
            saved = time.monotonic()
    print(f"step {state.step} val psnr {validate(averaged.network, held_out):.2f}", flush=True)
    save_checkpoint(arguments.output, state, network, averaged, optimiser)
    averaged.network.save(arguments.output / "stage2.safetensors")


if __name__ == "__main__":
    main()
