"""The audio encoder's backbone at work, without PyTorch."""

from __future__ import annotations

from typing import Any

from ..utils.arrays import Array
from ..utils.graphs import Graphs
from ..utils.serialization import packaged
from .spectrum import log_mel

# Name of the backbone's graph.
GRAPH = "states"
# The backbone that comes with the package, by its name in a configuration.
PACKAGED_BACKBONE = "whisper-base"
# Kind and version of its weights file.
WHISPER_KIND, WHISPER_VERSION = "whisper-encoder", 1


def heard(backbone: str | dict[str, Any], samples: Array) -> Array:
    """Return what a backbone hears of audio at 16 kHz (B, N): Whisper its log-mel spectrum, HuBERT the samples."""
    hubert = isinstance(backbone, dict) and backbone.get("kind") == "hubert"
    return samples if hubert else log_mel(samples)


def open_packaged_backbone(device: str) -> Graphs:
    """Open the backbone of the package.

    Raises:
        PersonaTalkError: See `Graphs`.
    """
    return Graphs(
        packaged(f"{PACKAGED_BACKBONE}.safetensors"),
        [GRAPH],
        kind=WHISPER_KIND,
        version=WHISPER_VERSION,
        device=device,
        parallel=False,
    )
