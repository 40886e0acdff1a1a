"""Stage 1: style-aware geometry from speech (paper, section 3.1).

    speech -> audio encoder -> style cross-attention -> template cross-attention -> self-attention -> vertices

The last layer is held to the morphable model's expressions. Left free, it learns to open the mouth by thinning the
lips, which the losses do not see and no face does: the renderer, which has only seen faces, then shows three quarters
of the opening.

All geometry goes in and comes out as displacements from the morphable model's mean face: the fully connected
layers' biases would have to learn that constant otherwise.
"""

from __future__ import annotations

import itertools
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from torch import nn

from . import weights
from .audio import FPS, SAMPLE_RATE, AudioEncoder, Sound, at_common_loudness
from .errors import WeightsError
from .geometry import Array, MorphableModel

KIND = "geometry-generator"
VERSION = 2

SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
CHUNK = 200
"""Frames generated together."""
MARGIN = 50
"""Frames of context on either side of a chunk, which are generated with it and dropped."""
FADE = 5
"""Frames on either side of a seam between chunks over which they fade into each other."""
TOLERANCE = 0.03
"""Largest distance in model units (3 % of that between the eyes) by which vertices may depend on the chunking: the
attention of HuBERT's transformer sees its whole input."""


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
        """Bias of every pair of times, (1, heads, T, T), minus infinity out of reach."""
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
        """From (B, T, D) and a template (B, D) to (B, T, D)."""
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
        """(B, T, D) to (B, T, D), attending to `memory` or, without one, to itself."""
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
        """Expression displacements of a video, (B, T, 3V) in per cent of a unit, to the style S, (B, D)."""
        encoded = self.vertex_encoder(offsets)
        statistics = torch.cat([encoded.mean(dim=1), encoded.std(dim=1)], dim=-1)
        style: torch.Tensor = self.out(statistics)
        return style


class GeometryGenerator(nn.Module):
    """The whole of stage 1.

    Args:
        vertices: Number V of mesh vertices.
        expressions: Number E of the morphable model's expressions, of which all geometry that comes out is made.
        hubert: Configuration of the audio encoder.
        dim: Feature size D.
        heads: Attention heads.
        layers: Self-attention layers.
        reach: Frames that an attention sees on either side.
        dropout: Dropout rate in training.
        use_style: False replaces the style by a constant (ablation "w/o style").
    """

    def __init__(
        self,
        vertices: int,
        expressions: int,
        hubert: dict[str, Any],
        dim: int = 192,
        heads: int = 4,
        layers: int = 3,
        reach: int = 12,
        dropout: float = 0.1,
        use_style: bool = True,
    ) -> None:
        super().__init__()
        self.config = {
            **{"vertices": vertices, "expressions": expressions, "hubert": hubert},
            **{"dim": dim, "heads": heads, "layers": layers},
            **{"reach": reach, "dropout": dropout, "use_style": use_style},
        }
        self.use_style = use_style
        self.audio = AudioEncoder(dim, hubert)
        self.vertex_encoder = nn.Linear(3 * vertices, dim)
        self.style = StyleEncoder(self.vertex_encoder, dim)
        self.style_block = Block(LocalAttention(dim, heads, reach), dim, dropout)
        self.template_block = Block(TemplateAttention(dim), dim, dropout)
        self.blocks = nn.ModuleList(Block(LocalAttention(dim, heads, reach), dim, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.decoder = nn.Linear(dim, expressions)
        self.expression: torch.Tensor
        self.register_buffer("expression", torch.zeros(vertices, 3, expressions))

    def encode_style(self, offsets: torch.Tensor) -> torch.Tensor:
        """Style embedding (B, D) of expression displacements (B, T, V, 3) in model units."""
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
        return self.from_heard(self.audio(samples), style, template)

    def from_heard(self, heard: torch.Tensor, style: torch.Tensor, template: torch.Tensor) -> torch.Tensor:
        """The part after the audio encoder: audio features (B, T, D) to displacements (B, T, V, 3)."""
        x = style[:, None].expand(-1, heard.shape[1], -1)
        x = self.style_block(x, heard)
        x = self.template_block(x, self.vertex_encoder(100 * template.flatten(1)))
        for block in self.blocks:
            x = block(x)
        # In full precision also in training: velocities are differences of nearly equal numbers.
        with torch.autocast(x.device.type, enabled=False):
            return torch.einsum("bte,vce->btvc", self.decoder(self.norm(x.float())), self.expression.float())

    def set_expressions(self, model: MorphableModel) -> None:
        """Take over the expressions of the morphable model that is trained on."""
        self.expression.copy_(torch.from_numpy(model.expression))

    def check_fits(self, model: MorphableModel) -> None:
        """Make sure that the network speaks the mesh and the expressions of a morphable model.

        Raises:
            WeightsError: It was trained on another model.
        """
        if self.config["vertices"] != model.num_vertices:
            raise WeightsError(
                f"these stage 1 weights are for a mesh of {self.config['vertices']} vertices, but the morphable"
                f" model has {model.num_vertices}; train stage 1 on it"
            )
        wanted = torch.from_numpy(model.expression).to(self.expression)
        if self.expression.shape != wanted.shape or not torch.allclose(self.expression, wanted, rtol=0.01, atol=1e-4):
            raise WeightsError("these stage 1 weights are for another morphable model; train stage 1 on this one")

    def save(self, path: Path | str) -> None:
        """Write the network with its configuration."""
        weights.save_module(path, self, kind=KIND, version=VERSION, config=self.config)

    @classmethod
    def load(cls, path: Path | str | None = None) -> GeometryGenerator:
        """Read a network; without a path the one of the package.

        Raises:
            WeightsError: The file is missing, damaged or of another kind or version.
        """
        path = weights.packaged("stage1.safetensors") if path is None else path
        return weights.load_module(cls, path, kind=KIND, version=VERSION)


STYLE_FRAMES = 1500
"""Frames whose expressions tell the style: a minute at 25 frames a second."""


def style_sample(beta: Array) -> Array:
    """Expressions spread over a video's, (T, E) to (N, E): as many as tell the style."""
    return beta[np.unique(np.linspace(0, len(beta) - 1, STYLE_FRAMES).astype(np.int64))]


@torch.inference_mode()
def speaking_style(network: GeometryGenerator, model: MorphableModel, beta: Array) -> torch.Tensor:
    """Style embedding (1, D) of a video's expression coefficients (T, E).

    Only statistics over time enter, so a long video is represented well by frames spread over it.
    """
    chosen = style_sample(beta)
    if len(chosen) == 1:
        chosen = np.repeat(chosen, 2, axis=0)
    return network.encode_style(torch.from_numpy(model.offsets(chosen))[None])


@torch.inference_mode()
def generate_span(
    network: GeometryGenerator,
    samples: Sound,
    start: int,
    stop: int,
    style: torch.Tensor,
    template: Array,
    margin: int = MARGIN,
) -> Array:
    """Expression displacements of the frames `start` to `stop` - 1 of a speech, at 25 frames a second.

    Args:
        network: Stage 1.
        samples: The whole speech at 16 kHz, loudness-normalised, (N,). Beyond its end there is silence.
        start: First frame; frame j stands for time j / 25.
        stop: Frame after the last.
        style: (1, D).
        template: The speaker's shape as displacement from the mean face, (V, 3).
        margin: Frames of context on either side, generated and dropped.

    Returns:
        float32 (stop - start, V, 3) in model units.
    """
    low = max(0, start - margin)
    heard = samples[low * SAMPLES_PER_FRAME : (stop + margin) * SAMPLES_PER_FRAME]
    heard = np.pad(heard, (0, (stop + margin - low) * SAMPLES_PER_FRAME - len(heard)))
    offsets = network(torch.from_numpy(heard)[None], style, torch.from_numpy(template)[None])[0]
    return np.ascontiguousarray(offsets[start - low : stop - low].numpy())


class ChunkedSpeech:
    """A whole speech, generated chunk by chunk on demand; threads may share it.

    Chunks lie on a fixed grid of time and fade into each other: what is asked for, and in which order, does not
    change the result, and no seam shows.

    Args:
        network: Stage 1.
        samples: The whole speech at 16 kHz, loudness-normalised, (N,).
        style: (1, D).
        chunk: Frames generated together; the result depends on it by less than `TOLERANCE`.
        margin: Frames of context on either side.
    """

    def __init__(
        self,
        network: GeometryGenerator,
        samples: Sound,
        style: torch.Tensor,
        chunk: int = CHUNK,
        margin: int = MARGIN,
    ) -> None:
        self.network, self.samples, self.style = network, samples, style
        self.chunk, self.margin = chunk, margin
        self._kept: dict[tuple[int, bytes], Array] = {}
        self._lock = threading.Lock()

    def frame(self, frame: int, template: Array) -> Array:
        """Expression displacement (V, 3) of one frame, for a speaker's shape (V, 3)."""
        number, place = divmod(frame, self.chunk)
        own = self._chunk(number, template)[place + FADE]
        # Half-way weights at the seam itself, and 1 from FADE frames on.
        before, after = (place + 0.5) / (2 * FADE), (self.chunk - place - 0.5) / (2 * FADE)
        if before < 0.5 and number > 0:
            other = self._chunk(number - 1, template)[place + FADE + self.chunk]
            return (0.5 + before) * own + (0.5 - before) * other
        if after < 0.5:
            other = self._chunk(number + 1, template)[place + FADE - self.chunk]
            return (0.5 + after) * own + (0.5 - after) * other
        return own

    def _chunk(self, number: int, template: Array) -> Array:
        """Frames of a chunk, and FADE more on either side."""
        key = (number, template.tobytes())
        with self._lock:
            if key not in self._kept:
                if len(self._kept) >= KEPT_CHUNKS:
                    del self._kept[next(iter(self._kept))]
                start, stop = number * self.chunk - FADE, (number + 1) * self.chunk + FADE
                span = generate_span(self.network, self.samples, max(0, start), stop, self.style, template, self.margin)
                self._kept[key] = np.pad(span, ((stop - start - len(span), 0), (0, 0), (0, 0)))
            return self._kept[key]


def generate(
    network: GeometryGenerator,
    samples: Sound,
    frames: int,
    style: torch.Tensor,
    template: Array,
    chunk: int = CHUNK,
    margin: int = MARGIN,
) -> Array:
    """Expression displacements (T, V, 3) of the first T frames of a speech; arguments as in `ChunkedSpeech`."""
    speech = ChunkedSpeech(network, samples, style, chunk, margin)
    return np.stack([speech.frame(frame, template) for frame in range(frames)])


class SpeechMotion:
    """The mouth's motion to a whole speech: generated where there is voice, at rest in silence.

    Args:
        network: Stage 1.
        samples: Speech at 16 kHz, (N,), as it was read.
        style: (1, D).
        rest: Displacement of the closed mouth at rest, (V, 3), which is shown in silence.
    """

    def __init__(self, network: GeometryGenerator, samples: Sound, style: torch.Tensor, rest: Array) -> None:
        self.rest = rest
        normalised = at_common_loudness(samples)
        # With some silence after it, so that a speech that ends in a sound does not let the mouth snap shut.
        self.voice = voice_activity(normalised, silent=2 * PAUSE_FRAMES)
        self.speech = ChunkedSpeech(network, normalised, style)

    def at(self, time: float, template: Array) -> Array:
        """Displacement (V, 3) at a time in seconds, for a speaker's shape (V, 3)."""
        place = max(0.0, time * FPS)
        below = int(place)
        share = np.float32(place - below)
        return (1 - share) * self._frame(below, template) + share * self._frame(below + 1, template)

    def _frame(self, frame: int, template: Array) -> Array:
        voice = self.voice[frame] if frame < len(self.voice) else np.float32(0)
        if voice == 0:
            return self.rest
        return voice * self.speech.frame(frame, template) + (1 - voice) * self.rest


KEPT_CHUNKS = 3

SILENCE_DB = (-50.0, -40.0)
"""Loudness against the speech's loud parts at which the mouth rests, and from which on it moves freely."""
PAUSE_FRAMES = 5
"""Frames on either side that must be silent as well: the silence before a plosive is no pause."""


def voice_activity(samples: Sound, level: float = 0.1, silent: int = 0) -> npt.NDArray[np.float32]:
    """How far each frame at 25 a second belongs to speech rather than to silence, (T,) in 0..1.

    It is a gate on loudness alone: the network hears everything else.

    Args:
        samples: Loudness-normalised speech at 16 kHz, (N,).
        level: Root mean square that the loud parts were normalised to.
        silent: Frames of silence after it that are told as well.
    """
    count = -(-len(samples) // SAMPLES_PER_FRAME)
    # Frame by frame: squares of a whole hour would take as much memory as the hour.
    frames = (samples[i * SAMPLES_PER_FRAME : (i + 1) * SAMPLES_PER_FRAME] for i in range(count))
    power = np.array([np.square(frame).sum() / SAMPLES_PER_FRAME for frame in frames])
    power = np.append(power, np.zeros(silent))
    count += silent
    decibel = 10 * np.log10(power / level**2 + 1e-12)
    low, high = SILENCE_DB
    voice = np.clip((decibel - low) / (high - low), 0, 1)
    if count:
        voice = maximum_filter1d(voice, 2 * PAUSE_FRAMES + 1, mode="constant")
        # The mouth closes and opens within a few frames, not at once.
        voice = uniform_filter1d(voice, PAUSE_FRAMES, mode="nearest")
    return voice.astype(np.float32)


def spoken(samples: Sound, times: npt.NDArray[np.float64], pause: float = 0.6) -> npt.NDArray[np.bool_]:
    """Whether there is speech at times in seconds, (N,) to (N,); silence shorter than a pause belongs to it.

    Args:
        samples: Speech at 16 kHz, (S,), as it was read.
        times: Seconds, (N,).
        pause: Seconds.
    """
    voice = np.append(voice_activity(at_common_loudness(samples)) > 0, False)
    heard = np.flatnonzero(voice)
    for before, after in itertools.pairwise(heard):
        if after - before <= pause * FPS:
            voice[before:after] = True
    found: npt.NDArray[np.bool_] = voice[np.clip((times * FPS).astype(np.int64), 0, len(voice) - 1)]
    return found


def rest_offsets(model: MorphableModel, beta: Array, opening: Array, share: float = 0.1) -> Array:
    """The speaker's own closed mouth: mean displacement (V, 3) over the frames with the mouth most closed.

    Args:
        model: The morphable model.
        beta: Expression of the usable frames, (T, E).
        opening: Mouth opening of the same frames, (T,).
        share: Share of the frames that are taken.
    """
    count = max(1, round(share * len(opening)))
    return model.offsets(beta[np.argsort(opening, kind="stable")[:count]].mean(axis=0))


def _split(x: torch.Tensor, heads: int) -> torch.Tensor:
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)
