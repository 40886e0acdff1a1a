"""The training loop that all trainers share, on one process or many (Lightning Fabric).

What is sampled at a step depends on the seed, the step and the place in the global batch alone, and so do the random
numbers of the networks. A training that was stopped therefore goes on exactly as if it had not been. Several processes
see the samples that one would with the same global batch, and compute the same but for rounding and for dropout, whose
masks belong to a process.
"""

from __future__ import annotations

import copy
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.tensorboard import SummaryWriter

from ..errors import PersonaTalkError
from .checkpoints import EMA, load_checkpoint, save_checkpoint
from .config import TrainConfig
from .data.shards import write_json

Sample = TypeVar("Sample")

# AdamW's decay of the means of the gradient and of its square.
ADAM_BETAS = (0.9, 0.99)
# Steps of a training that follows the clock, at most.
MOST_STEPS = 1 << 40
# Fields in which a run that goes on may differ.
CHANGEABLE_FIELDS = ("steps", "log_every", "validate_every", "save_every", "workers")


@dataclass(frozen=True)
class Validation:
    """The result of a validation.

    Attributes:
        metrics: Numbers by name.
        criterion: Name of the metric by which the best weights are kept; higher is better.
        images: Images by name, uint8 (H, W, 3).
    """

    metrics: dict[str, float]
    criterion: str
    images: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """The step that a part takes.

    Attributes:
        number: Number of the step, from 0.
        progress: Share of the training that is done, 0..1.
        part: Name of the part, as in `Task.parameter_groups`.
        outputs: Outputs of the part that took this step before; empty for the first.
    """

    number: int
    progress: float
    part: str
    outputs: Sequence[torch.Tensor] = ()


class PartResult(NamedTuple):
    """The result of a part's forward pass.

    Attributes:
        terms: Terms of the loss by name, each the mean over the samples.
        outputs: Tensors without gradient for the part that takes this step next.
    """

    terms: dict[str, torch.Tensor]
    outputs: Sequence[torch.Tensor] = ()


class Batch:
    """Samples and their step on their way through Fabric, which copies what it knows, but not frozen dataclasses."""

    def __init__(self, samples: Sequence[Any], step: Step) -> None:
        self.samples, self.step = samples, step


class Task(nn.Module, ABC, Generic[Sample]):
    """The networks, data and losses of a training.

    Attributes:
        network: The network that is shipped; it is averaged, validated and saved.
    """

    network: nn.Module

    @abstractmethod
    def parameter_groups(self) -> dict[str, list[dict[str, Any]]]:
        """Return the parameter groups of each part's optimiser, in the order in which the parts take their steps.

        A group's "scale" is its share of the learning rate.
        """

    def should_step(self, part: str, progress: float) -> bool:
        """Return whether a part takes a step when this share of the training, 0..1, is done."""
        return True

    @abstractmethod
    def sample(self, random: np.random.Generator, place: int) -> Sample:
        """Return one random training sample for a place in the batch, from 0."""

    @abstractmethod
    def losses(self, samples: Sequence[Sample], step: Step) -> PartResult:
        """Return the loss of a part over samples."""

    def forward(self, batch: Batch) -> PartResult:
        """Return `losses` of a batch, as the distributed engine calls it."""
        return self.losses(batch.samples, batch.step)

    @abstractmethod
    def validate(self, network: Any) -> Validation:
        """Evaluate a network of the kind of `network` on held-out speakers."""

    @abstractmethod
    def save(self, network: Any, path: Path) -> None:
        """Write a network as it is shipped."""


def make_fabric(config: TrainConfig, accelerator: str = "auto", devices: int | str = "auto", nodes: int = 1) -> Fabric:
    """Return Lightning Fabric as configured; under `torchrun` it takes the world from there."""
    many = devices not in (1, "1") or nodes > 1
    return Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy=DDPStrategy(find_unused_parameters=True) if many else "auto",
        precision=config.precision,  # type: ignore[arg-type]
    )


def lr_at(config: TrainConfig, step: int, progress: float) -> float:
    """Return the learning rate of a step: it rises linearly and falls along a cosine to a share of its highest.

    Args:
        config: The fields that all trainers share.
        step: Number of the step, from 0.
        progress: Share of the training that is done, 0..1.
    """
    rise = min(1.0, (step + 1) / max(1, config.warmup_steps))
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.lr * rise * (config.final_lr_ratio + (1 - config.final_lr_ratio) * fall)


def fit(
    task: Task[Any], config: TrainConfig, output: Path, fabric: Fabric, minutes: float | None = None
) -> dict[str, float]:
    """Train, or go on with a training that was stopped.

    Args:
        task: The networks, data and losses.
        config: The fields that all trainers share.
        output: Folder of the run: checkpoint, curves (TensorBoard), the images of the last validation,
            `best.safetensors` and `last.safetensors`.
        fabric: The processes and devices to train on; already launched.
        minutes: Stop after so long, with a checkpoint; the schedule stays that of `config.steps`. Where these are 0,
            the schedule follows the clock and ends then.

    Returns:
        The metrics of the last validation.

    Raises:
        PersonaTalkError: Neither steps nor minutes are given, or the folder holds another run.
    """
    if not config.steps and minutes is None:
        raise PersonaTalkError("a training of 0 steps follows the clock; tell it how long with --minutes")
    return _Training(task, config, output, fabric).run(minutes)


class _Steps(Dataset[list[Any]]):
    """The samples of every step: what a step's number, the seed and the place in the batch say, whoever draws them."""

    def __init__(self, task: Task[Any], config: TrainConfig, places: range) -> None:
        self.task, self.config, self.places = task, config, places

    def __getitem__(self, number: int) -> list[Any]:
        return [self.task.sample(np.random.default_rng([self.config.seed, number, i]), i) for i in self.places]


class _Training:
    """One training in progress."""

    def __init__(self, task: Task[Any], config: TrainConfig, output: Path, fabric: Fabric) -> None:
        self.task, self.config, self.output, self.fabric = task, config, output, fabric
        if config.batch_size % fabric.world_size:
            raise PersonaTalkError(
                f"a batch of {config.batch_size} cannot be shared by {fabric.world_size} processes evenly"
            )
        output.mkdir(parents=True, exist_ok=True)
        _check_same_run(output, config, fabric)
        self.ema = EMA(task.network, config.ema_decay)
        groups = task.parameter_groups()
        self.optimisers = {
            part: torch.optim.AdamW(g, lr=config.lr, betas=ADAM_BETAS, weight_decay=config.weight_decay)
            for part, g in groups.items()
        }
        self.wrapped_task, *optimisers = fabric.setup(task, *self.optimisers.values())
        self.ema.network.to(fabric.device)
        self.wrapped_optimisers = dict(zip(groups, optimisers, strict=True))
        self.state = load_checkpoint(output, task, self.ema, self.optimisers)
        steps: Any = fabric.all_gather(torch.tensor(self.state.step))
        if steps.min() != steps.max():
            raise PersonaTalkError(f"{output}: not all processes find the same checkpoint; use a folder that all see")
        places = range(fabric.global_rank, config.batch_size, fabric.world_size)
        self.samples: Iterator[list[Any]] = iter(
            DataLoader(
                _Steps(task, config, places),
                batch_size=None,
                sampler=range(self.state.step, config.steps or MOST_STEPS),
                num_workers=config.workers,
            )
        )
        self.writer = self._writer()
        self.metrics: dict[str, float] = {}

    def _writer(self) -> SummaryWriter | None:
        """Open the curves after the last checkpoint: what a killed run wrote after it is hidden."""
        if not self.fabric.is_global_zero:
            return None
        return SummaryWriter(str(self.output), purge_step=self.state.step + 1 if self.state.step else None)

    def run(self, minutes: float | None) -> dict[str, float]:
        """Train to the end of the schedule or of the time, and return the last metrics."""
        begin, seconds = time.monotonic(), math.inf if minutes is None else 60 * minutes
        progress = self._progress(begin, seconds)
        while progress < 1 and not self._over(begin + seconds):
            terms = self.step(progress)
            self.state.step += 1
            if self.state.step % self.config.log_every == 0:
                self._log({name: float(value) for name, value in terms.items()})
            if self.state.step % self.config.validate_every == 0:
                self.validate()
            if self.state.step % self.config.save_every == 0:
                self.save()
            progress = self._progress(begin, seconds)
        self.save()
        # A run that was stopped early validates where an unbroken one would, and nowhere else.
        if progress >= 1 and (self.state.step % self.config.validate_every or not self.metrics):
            self.validate()
            self.save()
        if self.writer is not None:
            self.writer.close()
        return self.metrics

    def _progress(self, begin: float, seconds: float) -> float:
        """Return the share of the training that is done, by steps or by the first process's clock."""
        if self.config.steps:
            return self.state.step / self.config.steps
        return float(self.fabric.broadcast((time.monotonic() - begin) / seconds))

    def _over(self, end: float) -> bool:
        """Return whether time is up, by the first process's clock: all must stop at the same step."""
        return bool(self.fabric.broadcast(time.monotonic() > end))

    def step(self, progress: float) -> dict[str, torch.Tensor]:
        """Take one step with every part and return the terms of their losses."""
        config, number = self.config, self.state.step
        samples = to_device(next(self.samples), self.fabric.device)
        torch.manual_seed(hash((config.seed, number, self.fabric.global_rank)) % (1 << 62))
        self.task.train()
        terms: dict[str, torch.Tensor] = {}
        outputs: Sequence[torch.Tensor] = ()
        for part, optimiser in self.wrapped_optimisers.items():
            if not self.task.should_step(part, progress):
                continue
            for group in optimiser.param_groups:
                group["lr"] = lr_at(config, number, progress) * group.get("scale", 1.0)
            losses, outputs = self.wrapped_task(Batch(samples, Step(number, progress, part, outputs)))
            self.task.zero_grad()
            self.fabric.backward(torch.stack(list(losses.values())).sum())
            self.fabric.clip_gradients(self.wrapped_task, optimiser, max_norm=config.grad_clip)
            optimiser.step()
            terms.update({name: value.detach() for name, value in losses.items()})
        self.ema.update(self.task.network)
        return terms

    def _log(self, terms: dict[str, float]) -> None:
        # The mean over the processes, so that curves do not depend on their number.
        together = torch.tensor(list(terms.values()), device=self.fabric.device)
        reduced: Any = self.fabric.all_reduce(together, reduce_op="mean")
        means = dict(zip(terms, reduced.tolist(), strict=True))
        if self.writer is not None:
            for name, value in means.items():
                self.writer.add_scalar(f"train/{name}", value, self.state.step)
            print(f"step {self.state.step} " + " ".join(f"{k} {v:.4f}" for k, v in means.items()), flush=True)

    def validate(self) -> None:
        """Evaluate the average of the weights, and keep it if it is the best so far."""
        if self.writer is not None:
            found = self.task.validate(copy.deepcopy(self.ema.network).cpu())
            self.metrics = found.metrics
            for name, value in found.metrics.items():
                self.writer.add_scalar(f"val/{name}", value, self.state.step)
            for name, image in found.images.items():
                self.writer.add_image(name, image, self.state.step, dataformats="HWC")
                cv2.imwrite(str(self.output / f"{name}.png"), image[..., ::-1])
            print(
                f"step {self.state.step} val " + " ".join(f"{k} {v:.4f}" for k, v in found.metrics.items()), flush=True
            )
            if found.metrics[found.criterion] > self.state.best:
                self.state.best = found.metrics[found.criterion]
                self.task.save(self.ema.network, self.output / "best.safetensors")
        self.fabric.barrier()

    def save(self) -> None:
        """Write what a resumption needs, and the average as it stands."""
        if self.writer is not None:
            save_checkpoint(self.output, self.state, self.task, self.ema, self.optimisers)
            self.task.save(self.ema.network, self.output / "last.safetensors")
        self.fabric.barrier()


def _check_same_run(output: Path, config: TrainConfig, fabric: Fabric) -> None:
    """Keep the configuration with the run, and go on with the same one only; it may be made longer.

    Raises:
        PersonaTalkError: The folder holds a run of another configuration.
    """
    path = output / "config.json"
    # JSON holds lists where the configuration holds tuples.
    fields_now = json.loads(json.dumps(asdict(config)))
    if path.exists():
        before = json.loads(path.read_text())
        other = [k for k, v in fields_now.items() if k not in CHANGEABLE_FIELDS and before.get(k) != v]
        if other:
            raise PersonaTalkError(f"{output}: holds a run with another {', '.join(other)}; choose another folder")
    fabric.barrier()
    if fabric.is_global_zero:
        write_json(path, fields_now)
    fabric.barrier()


def to_device(value: Any, device: torch.device) -> Any:
    """Return a value with the tensors anywhere inside its lists, tuples and dataclasses moved to a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, (list, tuple)):
        return type(value)(to_device(v, device) for v in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: to_device(getattr(value, f.name), device) for f in fields(value)})
    return value


def clip_sampler(
    frames: Sequence[int], speakers: Sequence[str], max_frames: int
) -> Callable[[np.random.Generator], int]:
    """Return a function that samples the index of a clip in proportion to its frames.

    Args:
        frames: Number of frames of every clip.
        speakers: Speaker of every clip.
        max_frames: Frames at most that are counted of one speaker.
    """
    total: dict[str, int] = {}
    for count, speaker in zip(frames, speakers, strict=True):
        total[speaker] = total.get(speaker, 0) + count
    share = np.array([n * min(1.0, max_frames / total[s]) for n, s in zip(frames, speakers, strict=True)])
    edges = np.cumsum(share / share.sum())
    return lambda random: min(int(np.searchsorted(edges, random.random())), len(edges) - 1)
