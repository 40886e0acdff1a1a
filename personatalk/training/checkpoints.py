"""Checkpoints that a training resumes from, and the running average of the weights that is shipped."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class Averaged(Generic[Network]):
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
    """Where a training stands."""

    step: int = 0
    best: float = 0.0


def save_checkpoint(
    folder: Path,
    state: State,
    network: nn.Module,
    averaged: Averaged[Network],
    optimiser: torch.optim.Optimizer,
) -> None:
    """Write `checkpoint.pt` at once or not at all."""
    path = folder / "checkpoint.pt"
    torch.save(
        {
            "step": state.step,
            "best": state.best,
            "network": network.state_dict(),
            "averaged": averaged.network.state_dict(),
            "updates": averaged.updates,
            "optimiser": optimiser.state_dict(),
        },
        path.with_suffix(".new"),
    )
    path.with_suffix(".new").replace(path)


def load_checkpoint(
    folder: Path, network: nn.Module, averaged: Averaged[Network], optimiser: torch.optim.Optimizer
) -> State:
    """Fill everything from `checkpoint.pt` if there is one."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        return State()
    stored = torch.load(path, weights_only=True)
    network.load_state_dict(stored["network"])
    averaged.network.load_state_dict(stored["averaged"])
    averaged.updates = stored["updates"]
    optimiser.load_state_dict(stored["optimiser"])
    return State(stored["step"], stored["best"])
