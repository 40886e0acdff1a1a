"""The network of HuBERT (Hsu et al. 2021) in the layout that our own encoder has: norms over channels, and first.

`transformers` has all layouts, and takes three seconds to import, which is a third of the time that a short video
takes. This one has its names, so that weights fit both; tests hold the two against each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

# What `transformers.HubertConfig` calls this layout.
LAYOUT = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}


@dataclass(frozen=True)
class HubertSizes:
    """Sizes and dropout rates, by the names of `transformers.HubertConfig`."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    conv_dim: list[int]
    conv_kernel: list[int]
    conv_stride: list[int]
    num_conv_pos_embeddings: int
    num_conv_pos_embedding_groups: int
    layerdrop: float
    activation_dropout: float
    attention_dropout: float
    feat_proj_dropout: float
    hidden_dropout: float = 0.1

    def __post_init__(self) -> None:
        if not len(self.conv_dim) == len(self.conv_kernel) == len(self.conv_stride) > 0:
            raise ValueError("conv_dim, conv_kernel and conv_stride must be of one length")

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> HubertSizes | None:
        """The sizes of a configuration; None if it says more than these, or is of another layout."""
        said = {name: value for name, value in config.items() if name not in LAYOUT}
        if any(config.get(name) != value for name, value in LAYOUT.items()) or said.get("layerdrop") != 0:
            return None
        names = {f.name for f in fields(cls)}
        return cls(**said) if names - {"hidden_dropout"} <= said.keys() <= names else None


class Hubert(nn.Module):
    """Temporal convolutions, a projection, and a transformer encoder.

    Args:
        config: Sizes.
    """

    def __init__(self, config: HubertSizes) -> None:
        super().__init__()
        self.config = config
        self.feature_extractor = Convolutions(config)
        self.feature_projection = Projection(config)
        self.masked_spec_embed = nn.Parameter(torch.rand(config.hidden_size))
        self.encoder = Transformer(config)
        self.apply(_initialise)


class Convolution(nn.Module):
    """One temporal convolution with a norm over channels."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels_in, channels, kernel, stride)
        self.layer_norm = nn.LayerNorm(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, N) to (B, C', N')."""
        normed = self.layer_norm(self.conv(x).transpose(1, 2))
        return nn.functional.gelu(normed.transpose(1, 2))


class Convolutions(nn.Module):
    """The temporal convolutions, from samples to features."""

    def __init__(self, config: HubertSizes) -> None:
        super().__init__()
        sizes = zip([1, *config.conv_dim[:-1]], config.conv_dim, config.conv_kernel, config.conv_stride, strict=True)
        self.conv_layers = nn.ModuleList(Convolution(*size) for size in sizes)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """(B, N) to (B, C, F)."""
        x = samples[:, None]
        for layer in self.conv_layers:
            x = layer(x)
        return x


class Projection(nn.Module):
    """From the convolutions' features to the transformer's."""

    def __init__(self, config: HubertSizes) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(config.conv_dim[-1])
        self.projection = nn.Linear(config.conv_dim[-1], config.hidden_size)
        self.dropout = nn.Dropout(config.feat_proj_dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, F, C) to (B, F, D)."""
        projected: torch.Tensor = self.dropout(self.projection(self.layer_norm(x)))
        return projected


class Position(nn.Module):
    """A wide grouped convolution, which stands for embeddings of the relative position."""

    def __init__(self, config: HubertSizes) -> None:
        super().__init__()
        width, kernel = config.hidden_size, config.num_conv_pos_embeddings
        conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=config.num_conv_pos_embedding_groups)
        nn.init.normal_(conv.weight, std=2 * math.sqrt(1 / (kernel * width)))
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        self.conv = weight_norm(conv, dim=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, F, D) to the same."""
        # An even kernel with padding gives one more than it takes.
        return nn.functional.gelu(self.conv(x.transpose(1, 2))[:, :, : x.shape[1]]).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, config: HubertSizes) -> None:
        super().__init__()
        width = config.hidden_size
        if width % config.num_attention_heads:
            raise ValueError(f"{config.num_attention_heads} heads do not share {width} features evenly")
        self.heads, self.dropout = config.num_attention_heads, config.attention_dropout
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, F, D) to the same."""
        projected = (layer(x) for layer in (self.q_proj, self.k_proj, self.v_proj))
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in projected)
        dropout = self.dropout if self.training else 0.0
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        joined: torch.Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return joined


class FeedForward(nn.Module):
    """The two-layer network of a layer."""

    def __init__(self, config: HubertSizes) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.output_dense = nn.Linear(config.intermediate_size, config.hidden_size)
        self.inner, self.outer = nn.Dropout(config.activation_dropout), nn.Dropout(config.hidden_dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, F, D) to the same."""
        fed: torch.Tensor = self.outer(self.output_dense(self.inner(nn.functional.gelu(self.intermediate_dense(x)))))
        return fed


class Layer(nn.Module):
    """One layer, norms first."""

    def __init__(self, config: HubertSizes) -> None:
        super().__init__()
        self.attention, self.feed_forward = Attention(config), FeedForward(config)
        self.layer_norm, self.final_layer_norm = nn.LayerNorm(config.hidden_size), nn.LayerNorm(config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, F, D) to the same."""
        x = x + self.dropout(self.attention(self.layer_norm(x)))
        return x + self.feed_forward(self.final_layer_norm(x))


class Transformer(nn.Module):
    """The transformer encoder."""

    def __init__(self, config: HubertSizes) -> None:
        super().__init__()
        self.pos_conv_embed = Position(config)
        self.layer_norm, self.dropout = nn.LayerNorm(config.hidden_size), nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        """(B, F, D) to the same, first and alone in what `transformers` returns more in."""
        x = self.dropout(x + self.pos_conv_embed(x))
        for layer in self.layers:
            x = layer(x)
        return (self.layer_norm(x),)


def _initialise(module: nn.Module) -> None:
    """Weights as `transformers` draws them."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, Convolution):
        nn.init.kaiming_normal_(module.conv.weight)
        nn.init.zeros_(module.conv.bias)  # type: ignore[arg-type]
