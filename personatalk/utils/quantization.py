"""Convolutions in 8 bits, for OpenVINO on processors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .arrays import Array

# Levels of what is between the ends of a range, and of weights, whose levels lie evenly around 0.
LEVELS, WEIGHT_LEVELS = 256, 255
# Ending of the names of convolutions whose bias OpenVINO has taken out.
WITHOUT_BIAS = "/WithoutBiases"


def quantise(model: Any, ranges: Mapping[str, Sequence[float]]) -> None:
    """Mark convolutions of a graph to be computed in 8 bits: weights by output channel, inputs all alike.

    Args:
        model: An `openvino.Model`, which is changed.
        ranges: Least and largest number that a convolution is given, by the name of its node; numbers beyond it are
            clipped.
    """
    if not ranges:
        return
    for node in model.get_ordered_ops():
        limits = ranges.get(node.get_friendly_name().removesuffix(WITHOUT_BIAS))
        if limits is not None and node.get_type_name() == "Convolution":
            low, high = _with_zero(*limits)
            most = np.abs(_constant(node.input_value(1))).max(axis=(1, 2, 3), keepdims=True)
            _insert(node.input(0), low, high, LEVELS)
            _insert(node.input(1), -most, most, WEIGHT_LEVELS)


def _with_zero(low: float, high: float) -> tuple[np.float32, np.float32]:
    """Widen a range so that one of its levels is 0, which convolutions pad with."""
    step = (high - low) / (LEVELS - 1)
    below = np.ceil(-low / step)
    return np.float32(-below * step), np.float32((LEVELS - 1 - below) * step)


def _constant(output: Any) -> Array:
    """Return the numbers of a node's output that are stored in the graph, in whatever type."""
    node = output.get_node()
    while node.get_type_name() != "Constant":
        node = node.input_value(0).get_node()
    return np.asarray(node.data, np.float32)


def _insert(into: Any, low: Array | np.float32, high: Array | np.float32, levels: int) -> None:
    """Round what goes into a node to levels between two ends."""
    from openvino import opset13

    ends = [opset13.constant(np.asarray(end, np.float32)) for end in (low, high, low, high)]
    rounded = opset13.fake_quantize(into.get_source_output(), *ends, levels)
    into.replace_source_output(rounded.output(0))
