"""Pretrained speech networks: the common interface, and the graph that dubbing runs."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from ..utils.export import GraphSpec
from .ears import GRAPH


class Backbone(Protocol):
    """A pretrained speech network.

    Attributes:
        width: Feature size C.
        num_states: Hidden states S that it returns.
    """

    width: int
    num_states: int

    def __call__(self, samples: torch.Tensor, position: int = 0) -> torch.Tensor:
        """Return the hidden states of audio.

        Args:
            samples: Audio at 16 kHz and the common loudness, (B, N).
            position: Where an imagined recording has the first sample, in features; for networks that know.

        Returns:
            (B, S, N // 320, C), 50 features a second.
        """
        ...

    def encode(self, heard: torch.Tensor) -> torch.Tensor:
        """Return the hidden states of what `ears.heard` makes of audio."""
        ...


class StatesPart(nn.Module):
    """The part of a network that computes the hidden states of its backbone.

    Args:
        network: The network whose weights file has the backbone's weights.
        backbone: The backbone.
    """

    def __init__(self, network: nn.Module, backbone: Backbone) -> None:
        super().__init__()
        self.network = network
        # In a tuple, so that its weights have no second name.
        self._backbone = (backbone,)

    def forward(self, heard: torch.Tensor) -> torch.Tensor:
        """See `Backbone.encode`."""
        return self._backbone[0].encode(heard)


def states_graph(network: nn.Module, backbone: Backbone, example: torch.Tensor) -> GraphSpec:
    """Return the graph of a backbone; arguments as of `StatesPart`, and an example of what it hears."""
    sizes = {"heard": {example.ndim - 1: "time"}, "states": {2: "features"}}
    return GraphSpec(GRAPH, StatesPart(network, backbone), {"heard": example}, ["states"], sizes)
