"""Whisper's encoder (Radford et al. 2022): log-mel spectrum, convolutions, and the lower transformer layers.

The layers in the middle tell which sound is said; those above turn to words, and are not needed. Two things in Whisper
depend on the whole input, and would make the features of a stretch depend on where a recording was cut: the log-mel
spectrum is cut off below the loudest frame, and positions count from the beginning. Here the cut-off is absolute, so
speech must come at a common loudness (`loudness.match_loudness`), and training draws the position at random.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import nn

from ..utils.serialization import PackagedModule

# Samples per frame of the spectrum at 16 kHz, and of its window [Whisper].
HOP, WINDOW = 160, 400
# Bands of the spectrum [Whisper].
BANDS = 80
# Largest value that the log10 of the band energies of speech at the common loudness takes, nearly; Whisper measures it.
CEILING = 1.5
# Span of the log spectrum below the ceiling [Whisper].
SPAN = 8.0
# Frames of features, at 50 a second, for which there are positions: 30 s [Whisper].
POSITIONS = 1500


class WhisperEncoder(PackagedModule):
    """Convolutions and lower layers of Whisper's encoder.

    Args:
        width: Feature size D; 512 for the size `base`.
        heads: Attention heads.
        layers: Transformer layers that are kept, from below.
    """

    KIND, VERSION, FILE = "whisper-encoder", 1, "whisper-base.safetensors"

    def __init__(self, width: int = 512, heads: int = 8, layers: int = 4) -> None:
        super().__init__()
        self.config = {"width": width, "heads": heads, "layers": layers}
        self.width, self.num_states = width, layers + 1
        self.conv1 = nn.Conv1d(BANDS, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(EncoderLayer(width, heads) for _ in range(layers))
        self.positions: torch.Tensor
        self.register_buffer("positions", sinusoids(POSITIONS, width), persistent=False)

    def forward(self, samples: torch.Tensor, position: int = 0) -> torch.Tensor:
        """Return the hidden states of audio: after the convolutions, and after each layer.

        See `encoder.Backbone.forward`. At most 30 s from position 0 on.
        """
        spectrum = log_mel(samples)
        x = nn.functional.gelu(self.conv1(spectrum))
        x = nn.functional.gelu(self.conv2(x)).transpose(1, 2)[:, : spectrum.shape[2] // 2]
        states = [x]
        x = x + self.positions[position : position + x.shape[1]]
        for layer in self.layers:
            x = layer(x)
            states.append(x)
        return torch.stack(states, dim=1)


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


def log_mel(samples: torch.Tensor) -> torch.Tensor:
    """Return the log-mel spectrum of speech at the common loudness, as Whisper scales it.

    Args:
        samples: 16 kHz, (B, N).

    Returns:
        (B, 80, N // 160), about -1 to 1.
    """
    window = torch.hann_window(WINDOW, device=samples.device)
    spectrum = torch.stft(samples, WINDOW, HOP, window=window, return_complex=True)
    power = spectrum[..., : samples.shape[-1] // HOP].abs().square()
    log = (mel_filters().to(power) @ power).clamp(min=10.0 ** (CEILING - SPAN)).log10()
    return (log + 4) / 4


@functools.cache
def mel_filters() -> torch.Tensor:
    """Return Slaney's mel filters from 0 to 8 kHz, (80, 201): linear below 1 kHz, logarithmic above, of equal area."""
    top = 15 + 27 * np.log(8.0) / np.log(6.4)
    mels = np.linspace(0, top, BANDS + 2)
    hertz = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (mels - 15)))
    rising = (np.linspace(0, 8000, WINDOW // 2 + 1) - hertz[:-2, None]) / np.diff(hertz)[:-1, None]
    falling = (hertz[2:, None] - np.linspace(0, 8000, WINDOW // 2 + 1)) / np.diff(hertz)[1:, None]
    filters = np.clip(np.minimum(rising, falling), 0, None) * (2 / (hertz[2:] - hertz[:-2]))[:, None]
    return torch.from_numpy(filters.astype(np.float32))


def sinusoids(length: int, width: int) -> torch.Tensor:
    """Return Whisper's positions, (length, width)."""
    rate = torch.exp(-np.log(10000.0) / (width // 2 - 1) * torch.arange(width // 2))
    angle = torch.arange(length)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1)
