"""The training loop that all trainers share, on one process or many (Lightning Fabric).

What is drawn at a step depends on the seed, the step and the place in the global batch alone, and so do the random
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
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from ..errors import PersonaTalkError
from .checkpoints import EMA, load_checkpoint, save_checkpoint
from .config import TrainConfig
from .data.shards import write_json

Sample = TypeVar("Sample")


@dataclass(frozen=True)
class Validation:
    """What a validation found.

    Attributes:
        figures: Numbers by name.
        decides: Name of the one by which the best weights are kept; higher is better.
        pictures: Pictures by name, uint8 (H, W, 3).
    """

    figures: dict[str, float]
    decides: str
    pictures: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict)


class Batch:
    """Samples on their way through Fabric, which would copy what it knows, and knows no frozen dataclasses."""

    def __init__(self, samples: Sequence[Any]) -> None:
        self.samples = samples


class Task(nn.Module, ABC, Generic[Sample]):
    """What is trained: networks, data and losses.

    Attributes:
        network: The network that is shipped; it is averaged, validated and saved.
    """

    network: nn.Module

    @abstractmethod
    def groups(self) -> dict[str, list[dict[str, Any]]]:
        """Parameter groups of the optimiser of each part, in the order in which the parts take their steps.

        A group's "scale" is its share of the learning rate.
        """

    def due(self, part: str, step: int) -> bool:
        """Whether a part takes a step now."""
        return True

    @abstractmethod
    def draw(self, random: np.random.Generator) -> Sample:
        """One training sample."""

    @abstractmethod
    def losses(self, samples: Sequence[Sample], part: str) -> dict[str, torch.Tensor]:
        """Terms of the loss of a part over samples: each the mean over the samples."""

    def forward(self, held: Batch, part: str) -> dict[str, torch.Tensor]:
        """`losses`, as the distributed engine calls it."""
        return self.losses(held.samples, part)

    @abstractmethod
    def validate(self, network: Any) -> Validation:
        """Judge a network of the kind of `network` on held-out speakers."""

    @abstractmethod
    def save(self, network: Any, path: Path) -> None:
        """Write a network as it is shipped."""


def fabric(config: TrainConfig, accelerator: str = "auto", devices: int | str = "auto", nodes: int = 1) -> Fabric:
    """PyTorch's distributed engine, as configured; under `torchrun` it takes the world from there."""
    many = devices not in (1, "1") or nodes > 1
    return Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy=DDPStrategy(find_unused_parameters=True) if many else "auto",
        precision=config.precision,  # type: ignore[arg-type]
    )


def rate_at(config: TrainConfig, step: int) -> float:
    """Learning rate of a step: it rises linearly and falls along a cosine to a share of its highest."""
    rise = min(1.0, (step + 1) / max(1, config.warmup))
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, config.steps))))
    return config.rate * rise * (config.final_rate + (1 - config.final_rate) * fall)


def fit(
    task: Task[Any], config: TrainConfig, output: Path, engine: Fabric, minutes: float | None = None
) -> dict[str, float]:
    """Train, or go on with a training that was stopped.

    Args:
        task: What is trained.
        config: How.
        output: Folder of the run: checkpoint, curves (TensorBoard), `best.safetensors` and `last.safetensors`.
        engine: Where; already launched.
        minutes: Stop after so long, with a checkpoint; the schedule stays that of `config.steps`.

    Returns:
        The figures of the last validation.
    """
    return _Run(task, config, output, engine).go(minutes)


class _Run:
    """One training in progress."""

    def __init__(self, task: Task[Any], config: TrainConfig, output: Path, engine: Fabric) -> None:
        self.task, self.config, self.output, self.engine = task, config, output, engine
        if config.batch % engine.world_size:
            raise PersonaTalkError(
                f"a batch of {config.batch} cannot be shared by {engine.world_size} processes evenly"
            )
        output.mkdir(parents=True, exist_ok=True)
        _same_run(output, config, engine)
        self.averaged = EMA(task.network, config.average)
        groups = task.groups()
        betas = (0.9, 0.99)
        self.optimisers = {
            part: torch.optim.AdamW(g, lr=config.rate, betas=betas, weight_decay=config.weight_decay)
            for part, g in groups.items()
        }
        self.wrapped, *optimisers = engine.setup(task, *self.optimisers.values())
        self.averaged.network.to(engine.device)
        self.stepping = dict(zip(groups, optimisers, strict=True))
        self.state = load_checkpoint(output, task, self.averaged, self.optimisers)
        steps: Any = engine.all_gather(torch.tensor(self.state.step))
        if steps.min() != steps.max():
            raise PersonaTalkError(f"{output}: not all processes find the same checkpoint; use a folder that all see")
        self.writer = self._writer()
        self.figures: dict[str, float] = {}

    def _writer(self) -> SummaryWriter | None:
        """Curves go on after the last checkpoint: what a killed run wrote after it is hidden."""
        if not self.engine.is_global_zero:
            return None
        return SummaryWriter(str(self.output), purge_step=self.state.step + 1 if self.state.step else None)

    def go(self, minutes: float | None) -> dict[str, float]:
        """The loop."""
        end = math.inf if minutes is None else time.monotonic() + 60 * minutes
        while self.state.step < self.config.steps and not self._over(end):
            terms = self.step()
            self.state.step += 1
            if self.state.step % self.config.log_every == 0:
                self._log({name: float(value) for name, value in terms.items()})
            if self.state.step % self.config.validate_every == 0:
                self.validate()
            if self.state.step % self.config.save_every == 0:
                self.save()
        # A run that was stopped early validates where an unbroken one would, and nowhere else.
        if self.state.step >= self.config.steps and (self.state.step % self.config.validate_every or not self.figures):
            self.validate()
        self.save()
        if self.writer is not None:
            self.writer.close()
        return self.figures

    def _over(self, end: float) -> bool:
        """Whether time is up, by the first process's clock: all must stop at the same step."""
        return bool(self.engine.broadcast(time.monotonic() > end))

    def step(self) -> dict[str, torch.Tensor]:
        """One step of every part; returns the terms of their losses."""
        config, step = self.config, self.state.step
        rank, world = self.engine.global_rank, self.engine.world_size
        randoms = [np.random.default_rng([config.seed, step, i]) for i in range(rank, config.batch, world)]
        samples = [to_device(self.task.draw(random), self.engine.device) for random in randoms]
        torch.manual_seed(hash((config.seed, step, rank)) % (1 << 62))
        self.task.train()
        found: dict[str, torch.Tensor] = {}
        for part, optimiser in self.stepping.items():
            if not self.task.due(part, step):
                continue
            for group in optimiser.param_groups:
                group["lr"] = rate_at(config, step) * group.get("scale", 1.0)
            terms = self.wrapped(Batch(samples), part)
            self.task.zero_grad()
            self.engine.backward(torch.stack(list(terms.values())).sum())
            self.engine.clip_gradients(self.wrapped, optimiser, max_norm=config.clip)
            optimiser.step()
            found.update({name: value.detach() for name, value in terms.items()})
        self.averaged.update(self.task.network)
        return found

    def _log(self, terms: dict[str, float]) -> None:
        # The mean over the processes, so that curves do not depend on their number.
        together = torch.tensor(list(terms.values()), device=self.engine.device)
        reduced: Any = self.engine.all_reduce(together, reduce_op="mean")
        means = dict(zip(terms, reduced.tolist(), strict=True))
        if self.writer is not None:
            for name, value in means.items():
                self.writer.add_scalar(f"train/{name}", value, self.state.step)
            print(f"step {self.state.step} " + " ".join(f"{k} {v:.4f}" for k, v in means.items()), flush=True)

    def validate(self) -> None:
        """Judge the average, keep it if it is the best so far."""
        if self.writer is not None:
            found = self.task.validate(copy.deepcopy(self.averaged.network).cpu())
            self.figures = found.figures
            for name, value in found.figures.items():
                self.writer.add_scalar(f"val/{name}", value, self.state.step)
            for name, picture in found.pictures.items():
                self.writer.add_image(name, picture, self.state.step, dataformats="HWC")
            print(
                f"step {self.state.step} val " + " ".join(f"{k} {v:.4f}" for k, v in found.figures.items()), flush=True
            )
            if found.figures[found.decides] > self.state.best:
                self.state.best = found.figures[found.decides]
                self.task.save(self.averaged.network, self.output / "best.safetensors")
        self.engine.barrier()

    def save(self) -> None:
        """Write what a resumption needs, and the average as it stands."""
        if self.writer is not None:
            save_checkpoint(self.output, self.state, self.task, self.averaged, self.optimisers)
            self.task.save(self.averaged.network, self.output / "last.safetensors")
        self.engine.barrier()


def _same_run(output: Path, config: TrainConfig, engine: Fabric) -> None:
    """Keep the configuration with the run, and go on with the same one only; it may be made longer.

    Raises:
        PersonaTalkError: The folder holds a run of another configuration.
    """
    path, fields_now = output / "config.json", asdict(config)
    if path.exists():
        before = json.loads(path.read_text())
        other = [k for k, v in fields_now.items() if k not in MAY_CHANGE and before.get(k) != v]
        if other:
            raise PersonaTalkError(f"{output}: holds a run with another {', '.join(other)}; choose another folder")
    engine.barrier()
    if engine.is_global_zero:
        write_json(path, fields_now)
    engine.barrier()


MAY_CHANGE = ("steps", "log_every", "validate_every", "save_every")
"""Fields in which a run that goes on may differ."""


def to_device(value: Any, device: torch.device) -> Any:
    """Tensors anywhere inside lists, tuples and dataclasses, moved to a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, (list, tuple)):
        return type(value)(to_device(v, device) for v in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: to_device(getattr(value, f.name), device) for f in fields(value)})
    return value


def clip_sampler(frames: Sequence[int], speakers: Sequence[str], most: int) -> Callable[[np.random.Generator], int]:
    """A function that draws a clip in proportion to its frames, with at most `most` frames counted of one speaker."""
    total: dict[str, int] = {}
    for count, speaker in zip(frames, speakers, strict=True):
        total[speaker] = total.get(speaker, 0) + count
    share = np.array([n * min(1.0, most / total[s]) for n, s in zip(frames, speakers, strict=True)])
    edges = np.cumsum(share / share.sum())
    return lambda random: min(int(np.searchsorted(edges, random.random())), len(edges) - 1)
