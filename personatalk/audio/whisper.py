"""Whisper's encoder (Radford et al. 2022): log-mel spectrum, convolutions, and the lower transformer layers.

The layers in the middle tell which sound is said; those above turn to words, and are not needed. Two things in Whisper
depend on the whole input, and would make the features of a stretch depend on where a recording was cut: the log-mel
spectrum is cut off below the loudest frame, and positions count from the beginning. Here the cut-off is absolute, so
speech must come at a common loudness (`loudness.match_loudness`), and training draws the position at random.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..utils.export import ExportedModule, GraphSpec
from .backbone import states_graph
from .ears import PACKAGED_BACKBONE, WHISPER_KIND, WHISPER_VERSION
from .spectrum import BANDS, HOP, log_mel

# Frames of features, at 50 a second, for which there are positions: 30 s [Whisper].
POSITIONS = 1500


class WhisperEncoder(ExportedModule):
    """Convolutions and lower layers of Whisper's encoder.

    Args:
        width: Feature size D; 512 for the size `base`.
        heads: Attention heads.
        layers: Transformer layers that are kept, from below.
    """

    KIND, VERSION, FILE = WHISPER_KIND, WHISPER_VERSION, f"{PACKAGED_BACKBONE}.safetensors"
    LICENCE = "MIT (OpenAI); see whisper-base.LICENSE"

    def __init__(self, width: int = 512, heads: int = 8, layers: int = 4) -> None:
        super().__init__()
        self.config = {"width": width, "heads": heads, "layers": layers}
        self.width, self.num_states = width, layers + 1
        self.conv1 = nn.Conv1d(BANDS, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(EncoderLayer(width, heads) for _ in range(layers))

    def forward(self, samples: torch.Tensor, position: int = 0) -> torch.Tensor:
        """Return the hidden states of audio: after the convolutions, and after each layer.

        See `encoder.Backbone.forward`. At most 30 s from position 0 on.
        """
        if position + samples.shape[-1] // (2 * HOP) > POSITIONS:
            raise ValueError("Whisper knows positions for 30 s")
        spectrum = torch.from_numpy(log_mel(samples.detach().cpu().numpy()))
        return self.encode(spectrum.to(self.conv1.weight), position)

    def encode(self, spectrum: torch.Tensor, position: int = 0) -> torch.Tensor:
        """Return the hidden states (B, S, F // 2, C) of a spectrum (B, 80, F)."""
        x = nn.functional.gelu(self.conv1(spectrum))
        x = nn.functional.gelu(self.conv2(x)).transpose(1, 2)[:, : spectrum.shape[2] // 2]
        states = [x]
        x = x + sinusoids(torch.arange(x.shape[1], device=x.device) + position, self.width)
        for layer in self.layers:
            x = layer(x)
            states.append(x)
        return torch.stack(states, dim=1)

    def graphs(self) -> list[GraphSpec]:
        """See `ExportedModule.graphs`."""
        return [states_graph(self, self, torch.zeros(1, BANDS, 200))]


class EncoderLayer(nn.Module):
    """One transformer layer, norms first.

    Args:
        width: Feature size D.
        heads: Attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the layer: (B, F, D) to (B, F, D)."""
        parts = self.query_key_value(self.attention_norm(x)).unflatten(2, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        fed: torch.Tensor = x + self.down(nn.functional.gelu(self.up(self.norm(x))))
        return fed


def sinusoids(positions: torch.Tensor, width: int) -> torch.Tensor:
    """Return Whisper's embedding of positions (F,), (F, width)."""
    rate = torch.exp(-np.log(10000.0) / (width // 2 - 1) * torch.arange(width // 2, device=positions.device))
    angle = positions[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1)
