"""Checkpoints that a training resumes from, and the moving average of the weights that is saved."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import nn

from ..errors import WeightsError
from ..utils.files import atomic_write

Network = TypeVar("Network", bound=nn.Module)


class EMA(Generic[Network]):
    """Exponential moving average of a network's parameters.

    Args:
        network: The network to follow.
        decay: Share that is kept in every step, once warm.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    def update(self, network: Network) -> None:
        """Take in the parameters of one more step; the first steps count more."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))
        with torch.no_grad():
            for mean, new in zip(self.network.parameters(), network.parameters(), strict=True):
                mean.lerp_(new, 1 - decay)
            for buffer, current in zip(self.network.buffers(), network.buffers(), strict=True):
                buffer.copy_(current)


@dataclass
class State:
    """The progress of a training: steps done, and the best validation so far."""

    step: int = 0
    best: float = -math.inf


def save_checkpoint(
    folder: Path,
    state: State,
    task: nn.Module,
    averaged: EMA[Network],
    optimisers: dict[str, torch.optim.AdamW],
) -> None:
    """Write `checkpoint.pt` at once or not at all."""
    content = {
        "step": state.step,
        "best": state.best,
        "task": task.state_dict(),
        "averaged": averaged.network.state_dict(),
        "updates": averaged.updates,
        "optimisers": {part: optimiser.state_dict() for part, optimiser in optimisers.items()},
    }
    with atomic_write(folder / "checkpoint.pt") as draft:
        torch.save(content, draft)


def load_checkpoint(
    folder: Path, task: nn.Module, averaged: EMA[Network], optimisers: dict[str, torch.optim.AdamW]
) -> State:
    """Load `checkpoint.pt` into the task, the average and the optimisers, if there is one.

    Raises:
        WeightsError: It is damaged, or of another configuration.
    """
    path = folder / "checkpoint.pt"
    if not path.exists():
        return State()
    try:
        stored = torch.load(path, weights_only=True, map_location="cpu")
        task.load_state_dict(stored["task"])
        averaged.network.load_state_dict(stored["averaged"])
        for part, optimiser in optimisers.items():
            optimiser.load_state_dict(stored["optimisers"][part])
    except (RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path}: does not fit this training ({reason}); choose another folder") from error
    averaged.updates = stored["updates"]
    return State(stored["step"], stored["best"])
