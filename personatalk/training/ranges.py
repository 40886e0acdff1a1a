"""Ranges of what convolutions are given, by which processors may compute them in 8 bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn


@contextmanager
def observed_ranges(network: nn.Module, names: list[str]) -> Iterator[dict[str, list[float]]]:
    """Note the least and the largest number that convolutions are given while the block runs.

    Args:
        network: Has the convolutions.
        names: Their names in it.

    Yields:
        Least and largest number, and 0 between them, by name.
    """
    ranges: dict[str, list[float]] = {}

    def note(name: str, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        low, high = (float(end) for end in inputs[0].detach().aminmax())
        known = ranges.get(name, [0.0, 0.0])
        ranges[name] = [round(min(known[0], low), 3), round(max(known[1], high), 3)]

    hooks = [network.get_submodule(name).register_forward_pre_hook(partial(note, name)) for name in names]
    try:
        yield ranges
    finally:
        for hook in hooks:
            hook.remove()
