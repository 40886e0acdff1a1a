"""HuBERT (Hsu et al. 2021), the audio encoder that the paper names, run by `transformers`."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..errors import WeightsError


class HubertEncoder(nn.Module):
    """HuBERT with all of its hidden states.

    Args:
        config: Configuration for `transformers.HubertConfig`.

    Raises:
        WeightsError: `transformers` is not installed.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        transformers = import_transformers()
        self.hubert = transformers.HubertModel(transformers.HubertConfig(**config)).eval()
        sizes = self.hubert.config
        self.width: int = sizes.hidden_size
        self.num_states: int = sizes.num_hidden_layers + 1
        field, step = 1, 1
        for kernel, stride in zip(sizes.conv_kernel, sizes.conv_stride, strict=True):
            field += (kernel - 1) * step
            step *= stride
        # Samples on either side that make feature k lie in the middle of its 320 samples.
        self.edge = (field - step) // 2

    def train(self, mode: bool = True) -> HubertEncoder:
        """Stay in evaluation mode: it is never trained, and layers that are dropped would leave states out."""
        return super().train(False)

    def forward(self, samples: torch.Tensor, position: int = 0) -> torch.Tensor:
        """Return the hidden states of audio; see `backbone.Backbone`. HuBERT has no absolute positions."""
        return self.encode(samples)

    def encode(self, samples: torch.Tensor) -> torch.Tensor:
        """See `backbone.Backbone.encode`."""
        padded = nn.functional.pad(samples, (self.edge, self.edge))
        states = self.hubert(padded, output_hidden_states=True).hidden_states
        return torch.stack(states, dim=1)


def import_transformers() -> Any:
    """Import `transformers`.

    Raises:
        WeightsError: It is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise WeightsError(
            "HuBERT and Whisper checkpoints need transformers; install: pip install 'personatalk[train]'"
        ) from error
    return transformers
