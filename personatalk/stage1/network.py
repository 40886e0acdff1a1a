"""Stage 1: style-aware geometry from speech (paper, section 3.1).

    speech -> audio encoder -> style cross-attention -> template cross-attention -> self-attention -> vertices

A linear decoder stands beside the attention, and the mean of both is generated: they err differently, and what they
guess differently cancels.

The last layer puts out coefficients of the morphable model's expressions. A free layer learns to open the mouth by
thinning the lips, which the losses do not see and no face does: the renderer, which has only seen faces, then shows
three quarters of the opening.

All geometry goes in and comes out as displacements from the morphable model's mean face; otherwise the biases of the
fully connected layers would have to learn that constant.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from ..audio.backbone import states_graph
from ..audio.ears import PACKAGED_BACKBONE, heard
from ..audio.encoder import AudioEncoder
from ..geometry.morphable_model import MorphableModel
from ..utils.arrays import Array
from ..utils.export import ExportedModule, GraphSpec
from .runtime import KIND, MOTION, STYLE, VERSION, check_fits


class LocalAttention(nn.Module):
    """Multi-head attention whose queries see the keys within `reach` frames, with a learned bias per distance.

    Nothing depends on absolute time, so a long recording can be worked on in chunks.

    Args:
        dim: Feature size.
        heads: Number of heads.
        reach: Frames seen on either side.
    """

    def __init__(self, dim: int, heads: int, reach: int) -> None:
        super().__init__()
        self.heads, self.reach = heads, reach
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))
        # At the start every head looks at a neighbourhood of its own width around the frame.
        distance = torch.arange(-reach, reach + 1).abs().float()
        width = torch.logspace(math.log10(1.0), math.log10(max(2.0, reach / 2)), heads)
        self.bias = nn.Parameter(-distance[None] / width[:, None])

    def forward(self, query: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """Attend from (B, T, D) to a memory of the same times (B, T, D)."""
        q = _split(self.query(query), self.heads)
        k, v = _split(self.key(memory), self.heads), _split(self.value(memory), self.heads)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=self._mask(q.shape[2]))
        joined: torch.Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return joined

    def _mask(self, length: int) -> torch.Tensor:
        """Return the bias of every pair of times, (1, heads, T, T), minus infinity out of reach."""
        steps = torch.arange(length, device=self.bias.device)
        distance = steps[None] - steps[:, None]
        bias = self.bias[:, (distance + self.reach).clamp(0, 2 * self.reach)]
        return bias.masked_fill(distance.abs() > self.reach, -torch.inf)[None]


class TemplateAttention(nn.Module):
    """Cross-attention of the stylised audio to the template, a single key and value.

    The softmax over one key is 1 whatever the query, so what comes out is the projected template at every frame;
    the residual of the layer around it carries the audio.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.value, self.out = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, query: torch.Tensor, template: torch.Tensor) -> torch.Tensor:
        """Attend from (B, T, D) to a template (B, D), giving (B, T, D)."""
        projected: torch.Tensor = self.out(self.value(template))
        return projected[:, None].expand_as(query)


class FeedForward(nn.Sequential):
    """The two-layer network of a transformer layer."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * dim, dim))


class Block(nn.Module):
    """One transformer layer, norms first: attention and feed-forward, each with a residual."""

    def __init__(self, attention: nn.Module, dim: int, dropout: float) -> None:
        super().__init__()
        self.attention = attention
        self.norm, self.norm_forward = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.forward_layers = FeedForward(dim, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, memory: torch.Tensor | None = None) -> torch.Tensor:
        """Transform (B, T, D) to (B, T, D), attending to `memory` or, without one, to itself."""
        normed = self.norm(x)
        x = x + self.dropout(self.attention(normed, normed if memory is None else memory))
        fed: torch.Tensor = x + self.dropout(self.forward_layers(self.norm_forward(x)))
        return fed


class StyleEncoder(nn.Module):
    """Speaking style from the statistics of expression-only geometry.

    Args:
        vertex_encoder: E_vtx, shared with the template.
        dim: Feature size D.
    """

    def __init__(self, vertex_encoder: nn.Linear, dim: int) -> None:
        super().__init__()
        self.vertex_encoder = vertex_encoder
        self.out = nn.Linear(2 * dim, dim)

    def forward(self, offsets: torch.Tensor) -> torch.Tensor:
        """Embed expression displacements of a video, (B, T, 3V) in per cent of a model unit, as style S, (B, D)."""
        encoded = self.vertex_encoder(offsets)
        statistics = torch.cat([encoded.mean(dim=1), encoded.std(dim=1)], dim=-1)
        style: torch.Tensor = self.out(statistics)
        return style


class LinearDecoder(nn.Module):
    """Motion by the audio encoder's linear map, about a mean and with a spread that the style tells.

    Args:
        dim: Size D of the style.
        expressions: Number E of expressions.
    """

    def __init__(self, dim: int, expressions: int) -> None:
        super().__init__()
        self.mean, self.log_spread = nn.Linear(dim, expressions), nn.Linear(dim, 1)
        for layer in (self.mean, self.log_spread):
            nn.init.normal_(layer.weight, std=0.1 / dim**0.5)
            nn.init.zeros_(layer.bias)

    def forward(self, mapped: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        """Return coefficients (B, T, E) for what the linear map tells (B, T, E) and a style (B, D)."""
        coefficients: torch.Tensor = self.mean(style)[:, None] + self.log_spread(style).exp()[:, None] * mapped
        return coefficients


class GeometryGenerator(ExportedModule):
    """The whole of stage 1.

    Args:
        vertices: Number V of mesh vertices.
        expressions: Number E of the morphable model's expressions.
        backbone: Speech network of the audio encoder; see `AudioEncoder`.
        dim: Feature size D.
        heads: Attention heads.
        layers: Self-attention layers.
        reach: Frames that an attention sees on either side.
        dropout: Dropout rate in training.
        use_style: False replaces the style by a constant (ablation "w/o style").
    """

    KIND, VERSION, FILE = KIND, VERSION, "stage1.safetensors"

    def __init__(
        self,
        vertices: int,
        expressions: int,
        backbone: str | dict[str, Any] = PACKAGED_BACKBONE,
        dim: int = 192,
        heads: int = 4,
        layers: int = 3,
        reach: int = 12,
        dropout: float = 0.1,
        use_style: bool = True,
    ) -> None:
        super().__init__()
        self.config = {
            "vertices": vertices,
            "expressions": expressions,
            "backbone": backbone,
            "dim": dim,
            "heads": heads,
            "layers": layers,
            "reach": reach,
            "dropout": dropout,
            "use_style": use_style,
        }
        self.use_style = use_style
        self.audio = AudioEncoder(dim, expressions, backbone)
        self.vertex_encoder = nn.Linear(3 * vertices, dim)
        self.style = StyleEncoder(self.vertex_encoder, dim)
        self.style_block = Block(LocalAttention(dim, heads, reach), dim, dropout)
        self.template_block = Block(TemplateAttention(dim), dim, dropout)
        self.blocks = nn.ModuleList(Block(LocalAttention(dim, heads, reach), dim, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.decoder = nn.Linear(dim, expressions)
        # What a linear map of the features alone tells, for everybody alike; the rest refines it.
        self.linear = nn.Linear(dim, expressions)
        self.linear_decoder = LinearDecoder(dim, expressions)
        self.expression: torch.Tensor
        self.register_buffer("expression", torch.zeros(vertices, 3, expressions))

    def encode_style(self, offsets: torch.Tensor) -> torch.Tensor:
        """Embed the style (B, D) of expression displacements (B, T, V, 3) in model units."""
        style: torch.Tensor = self.style(100 * offsets.flatten(2))
        return style if self.use_style else torch.zeros_like(style)

    def forward(self, samples: torch.Tensor, style: torch.Tensor, template: torch.Tensor) -> torch.Tensor:
        """Generate geometry.

        Args:
            samples: Speech at 16 kHz, (B, N).
            style: Style embedding, (B, D).
            template: The speaker's shape as displacement from the mean face, model units, (B, V, 3).

        Returns:
            Displacement of the vertices by the expression, model units, (B, N // 640, V, 3), frame j at time j / 25.
        """
        return self.decode_features(self.audio(samples), style, template)

    def decode_features(self, features: torch.Tensor, style: torch.Tensor, template: torch.Tensor) -> torch.Tensor:
        """Run the part after the audio encoder: its features (B, T, D + E) to displacements (B, T, V, 3)."""
        beta = torch.stack(self.decode_each(features, style, template)).mean(dim=0)
        with torch.autocast(beta.device.type, enabled=False):
            return torch.einsum("bte,vce->btvc", beta, self.expression.float())

    def decode_each(
        self, features: torch.Tensor, style: torch.Tensor, template: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what attention and what the linear decoder say, coefficients (B, T, E) each."""
        features, mapped = features[..., : self.audio.dim], features[..., self.audio.dim :]
        x = style[:, None].expand(-1, features.shape[1], -1)
        x = self.style_block(x, features)
        x = self.template_block(x, self.vertex_encoder(100 * template.flatten(1)))
        for block in self.blocks:
            x = block(x)
        # In full precision also in training: velocities are differences of nearly equal numbers.
        with torch.autocast(x.device.type, enabled=False):
            attended = self.decoder(self.norm(x.float())) + self.linear(features.float())
            return attended, self.linear_decoder(mapped.float(), style.float())

    def set_expressions(self, model: MorphableModel) -> None:
        """Copy the expressions of the morphable model to train on."""
        self.expression.copy_(torch.from_numpy(model.expression))

    def check_fits(self, model: MorphableModel) -> None:
        """See `runtime.check_fits`."""
        check_fits(model, self.expression.cpu().numpy())

    @torch.inference_mode()
    def style_of(self, offsets: Array) -> Array:
        """See `inference.SpeechNetwork.style_of`."""
        return self.encode_style(self._on_device(offsets)[None]).cpu().numpy()

    @torch.inference_mode()
    def displacements(self, samples: Array, style: Array, template: Array) -> Array:
        """See `inference.SpeechNetwork.displacements`."""
        found = self(self._on_device(samples)[None], self._on_device(style), self._on_device(template)[None])
        return found[0].cpu().numpy()

    def _on_device(self, numbers: Array) -> torch.Tensor:
        return torch.from_numpy(numbers).to(self.expression.device)

    def graphs(self) -> list[GraphSpec]:
        """See `ExportedModule.graphs`."""
        vertices, states = self.config["vertices"], self.audio.states(torch.zeros(1, 16000))
        style, template = torch.zeros(1, self.config["dim"]), torch.zeros(1, vertices, 3)
        found = [
            GraphSpec(
                STYLE, StylePart(self), {"offsets": torch.randn(1, 30, vertices, 3)}, ["style"], _times("offsets")
            ),
            GraphSpec(
                MOTION,
                MotionPart(self),
                {"states": states, "style": style, "template": template},
                ["displacements"],
                {"states": {2: "features"}, **_times("displacements")},
            ),
        ]
        if self.audio.own is not None:
            example = torch.from_numpy(heard(self.config["backbone"], torch.zeros(1, 16000).numpy()))
            found.append(states_graph(self, self.audio.own, example))
        return found


class StylePart(nn.Module):
    """The part of stage 1 that embeds a style."""

    def __init__(self, network: GeometryGenerator) -> None:
        super().__init__()
        self.network = network

    def forward(self, offsets: torch.Tensor) -> torch.Tensor:
        """See `GeometryGenerator.encode_style`."""
        return self.network.encode_style(offsets)


class MotionPart(nn.Module):
    """The part of stage 1 after the backbone of the audio encoder."""

    def __init__(self, network: GeometryGenerator) -> None:
        super().__init__()
        self.network = network

    def forward(self, states: torch.Tensor, style: torch.Tensor, template: torch.Tensor) -> torch.Tensor:
        """Return displacements, as `GeometryGenerator.forward`, from the backbone's hidden states."""
        return self.network.decode_features(self.network.audio.features(states), style, template)


def _times(name: str) -> dict[str, dict[int, str]]:
    """Return the free axis of a table with a row for each frame, (B, T, ...)."""
    return {name: {1: "frames"}}


def _split(x: torch.Tensor, heads: int) -> torch.Tensor:
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)
