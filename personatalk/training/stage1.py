"""Trains the geometry generator (stage 1).

Losses, on which the paper is silent, all in per cent of the distance between the eyes: L1 on the lower face's
vertices with more weight on the lips, the same on their velocity, the mouth's opening with more weight where it is
closed, the gap left between lips that should touch (B, M, P), and, against the under-articulation that a plain mean
brings, the spread of the opening over the window and its correlation with the real one.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..audio.encoder import CONTEXT_FEATURES, load_backbone
from ..errors import PersonaTalkError
from ..geometry.morphable_model import MorphableModel
from ..stage1 import agreement
from ..stage1.network import GeometryGenerator
from ..utils.arrays import Array, resampled
from .augmentation import augment, change_speed
from .config import Stage1Config
from .data.shards import IndexEntry, evenly_spaced, read_datasets
from .engine import PartResult, Step, Task, Validation, clip_sampler
from .plots import draw_curves
from .ridge import RidgeRegression

# Speeds at which the copies of a clip are said: audio and mouth together.
SPEEDS = (1.0, 0.9, 1.1, 0.85, 1.0, 1.15)
# Largest position, in features, at which a clip is imagined to begin: clips of ten seconds end within Whisper's 30 s.
LAST_POSITION = 900
# Learning rate of the mix of the backbone's states, as a factor on that of the rest: five numbers that move little.
MIX_LR_RATIO = 20.0
# State of the shipped backbone that tells most of the mouth, and its log-weight over the others in the first mix.
TELLING_STATE, TELLING_WEIGHT = 3, 3.0
# Spread of the opening in model units below which a clip tells the linear map nothing.
STILL_SPREAD = 1e-3
# Clips of a validation at most.
VALIDATION_CLIPS = 64


@dataclass(frozen=True)
class SpeechClip:
    """A clip at the model's clock: audio and expression.

    Attributes:
        samples: Loudness-normalised audio at 16 kHz.
        first: Number of the first frame; its time is number / 25.
        beta: Expression, (T, E).
        rest: Expression with the mouth closed, (E,).
        template: Shape displacement, (V, 3).
    """

    samples: Array
    first: int
    beta: Array
    rest: Array
    template: Array

    @classmethod
    def load(cls, entry: IndexEntry, model: MorphableModel) -> SpeechClip:
        """Read a sample of the data set."""
        clip = entry.load(crops=False)
        first, beta = clip.beta_at_clock()
        shape = model.shape(clip.alpha)
        order = np.argsort(model.mouth_opening(shape + model.offsets(beta)), kind="stable")
        rest = beta[order[: max(1, len(beta) // 10)]].mean(axis=0)
        return cls(clip.samples(), first, beta, rest, shape - model.mean)

    def at_speed(self, speed: float) -> SpeechClip:
        """Return the clip said `speed` times as fast, and as high."""
        if speed == 1:
            return self
        last = self.first + len(self.beta) - 1
        wanted = np.arange(np.ceil(self.first / speed), last / speed)
        beta = resampled(self.beta, np.arange(len(self.beta)), wanted * speed - self.first)
        return replace(self, samples=change_speed(self.samples, speed), first=int(wanted[0]), beta=beta)


@dataclass(frozen=True)
class SpeechWindow:
    """One training sample.

    Attributes:
        states: Hidden states of the audio encoder's backbone, (S, F, C).
        mask: Mask of the mixed features, (F, C).
        style: Expression that the style is taken from, (T', E).
        template: Shape displacement, (V, 3).
        beta: Expression to generate, (T, E).
    """

    states: torch.Tensor
    mask: torch.Tensor
    style: torch.Tensor
    template: torch.Tensor
    beta: torch.Tensor


def padded_window(series: torch.Tensor, start: int, length: int) -> torch.Tensor:
    """Return `length` features from `start` on of a series (S, F, C) as float32; beyond its ends they are repeated."""
    index = torch.arange(start, start + length).clamp(0, series.shape[1] - 1)
    return series[:, index].float()


def spec_augment(
    frames: int, channels: int, random: np.random.Generator, share: float, spans: int = 2, length: int = 10
) -> torch.Tensor:
    """Return a SpecAugment mask (Park et al. 2019) of features (F, C): spans of time and a share of the channels are 0.

    The other channels are raised, so that their sum is what it is without a mask.
    """
    keep = torch.ones(frames, 1)
    for start in random.integers(0, frames, spans):
        keep[start : start + int(random.integers(1, length + 1))] = 0
    features = torch.from_numpy(random.random(channels) >= share)
    return keep * features / (1 - share)


class GeneratorLoss(nn.Module):
    """The training loss; see the module's text.

    Args:
        model: The morphable model.
        config: Weights of the terms.
    """

    def __init__(self, model: MorphableModel, config: Stage1Config) -> None:
        super().__init__()
        self.config = config
        weight = torch.from_numpy(model.lower.copy())
        weight[torch.from_numpy(model.lips)] *= 4
        constants = {
            "expression": torch.from_numpy(model.expression),
            "weight": weight[:, None],
            "pairs": torch.from_numpy(model.inner_lips),
            "rest": torch.from_numpy(model.mean),
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)

    expression: torch.Tensor
    weight: torch.Tensor
    pairs: torch.Tensor
    rest: torch.Tensor

    def offsets(self, beta: torch.Tensor) -> torch.Tensor:
        """Return the displacement of the vertices: (B, T, E) to (B, T, V, 3)."""
        return torch.einsum("bte,vce->btvc", beta, self.expression)

    def gaps(self, offsets: torch.Tensor, template: torch.Tensor) -> torch.Tensor:
        """Return the gaps between the inner lips, (B, T, P), in per cent."""
        face = offsets + (self.rest + template)[:, None]
        gap = face[:, :, self.pairs[:, 1]] - face[:, :, self.pairs[:, 0]]
        return 100 * (gap.square().sum(dim=-1) + 1e-8).sqrt()

    def forward(self, offsets: torch.Tensor, beta: torch.Tensor, template: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the terms of the loss of displacements (B, T, V, 3) for expressions (B, T, E) of shapes (B, V, 3)."""
        config, real = self.config, self.offsets(beta)
        error = 100 * (offsets - real)
        velocity = error[:, 1:] - error[:, :-1]
        got, wanted = self.gaps(offsets, template), self.gaps(real, template)
        closed = torch.exp(-wanted / 3)
        middle, real_middle = got[..., 0], wanted[..., 0]
        spread = (middle.std(dim=1) - real_middle.std(dim=1)).abs().mean()
        correlation = torch.nn.functional.cosine_similarity(
            middle - middle.mean(dim=1, keepdim=True),
            real_middle - real_middle.mean(dim=1, keepdim=True),
            eps=1e-2,
        )
        return {
            "vertices": config.vertex_weight * (error.abs() * self.weight).mean(),
            "velocity": config.velocity_weight * (velocity.abs() * self.weight).mean(),
            "opening": config.opening_weight * ((got - wanted).abs() * (1 + 2 * closed)).mean(),
            "closure": config.closure_weight * ((got - wanted).clamp(min=0) * closed).sum() / closed.sum(),
            "spread": config.spread_weight * spread,
            "correlation": config.correlation_weight * (1 - correlation).mean(),
        }


class Stage1Task(Task[SpeechWindow]):
    """Stage 1's training.

    Args:
        config: The fields that configure it.
        model: The morphable model.
        entries: Clips to train on, with audio.
        held_out: Clips of other speakers.
    """

    network: GeometryGenerator

    def __init__(
        self, config: Stage1Config, model: MorphableModel, entries: list[IndexEntry], held_out: list[IndexEntry]
    ) -> None:
        super().__init__()
        self.config, self.model, self.entries = config, model, entries
        self.network = initial_network(config, model)
        for module in self.network.modules():
            if isinstance(module, nn.Dropout):
                module.p = config.dropout
        self.loss = GeneratorLoss(model, config)
        self.sample_clip = clip_sampler(
            [r.frames for r in entries], [r.speaker for r in entries], config.max_frames_per_speaker
        )
        self._load_clip = functools.lru_cache(maxsize=4096)(lambda i: SpeechClip.load(entries[i], model))
        self._load_variant = functools.lru_cache(maxsize=8192)(self._variant)
        self._features = functools.lru_cache(maxsize=4096)(self._states)
        if config.init_from is None:
            self._set_linear_map()
        self.held_out = [SpeechClip.load(entry, model) for entry in evenly_spaced(held_out, VALIDATION_CLIPS)]

    @classmethod
    def from_config(cls, config: Stage1Config, morphable: Path | None = None) -> Stage1Task:
        """Return the task on the data sets that the configuration names.

        Raises:
            PersonaTalkError: A data set or weights file cannot be read.
        """
        entries = read_datasets(config.datasets, config.train_splits, with_audio=True)
        held_out = read_datasets(config.datasets, config.val_splits, with_audio=True)
        return cls(config, MorphableModel.load(morphable), entries, held_out)

    def _set_linear_map(self) -> None:
        """Find the linear map from the backbone's states to the expressions, by one copy of every clip."""
        audio, ridge = self.network.audio, RidgeRegression(self.config.ridge)
        means = []
        for number in range(len(self.entries)):
            speech, states = self._load_variant(number, 0), self._features(number, 0)
            shape = self.model.mean + speech.template
            spread = float(self.model.mouth_opening(shape + self.model.offsets(speech.beta)).std())
            means.append(speech.beta.mean(axis=0))
            if spread < STILL_SPREAD:
                continue
            mixed = audio.mixed(states[None].float(), audio.first_mix)[0]
            at = 2 * (speech.first + np.arange(len(speech.beta)))[:, None]
            around = np.clip(at + np.arange(-CONTEXT_FEATURES, CONTEXT_FEATURES), 0, len(mixed) - 1)
            ridge.add(mixed[around].flatten(1).numpy(), speech.beta / spread, spread)
        with torch.no_grad():
            audio.set_linear_map(torch.from_numpy(ridge.solve()))
            self.network.linear_decoder.mean.bias.copy_(torch.from_numpy(np.mean(means, axis=0)))

    def _variant(self, clip: int, variant: int) -> SpeechClip:
        return self._load_clip(clip).at_speed(SPEEDS[variant % len(SPEEDS)])

    def _states(self, clip: int, variant: int) -> torch.Tensor:
        """Return the backbone's states of an augmented copy of a clip's audio, float16 (S, F, C).

        The backbone stays as it is, and runs once for each copy, at a random position in an imagined recording.
        """
        random = np.random.default_rng([self.config.seed, clip, variant])
        samples = augment(self._load_variant(clip, variant).samples, random)
        encoder = self.network.audio
        there = torch.from_numpy(samples)[None].to(encoder.mix.device)
        return encoder.states(there, int(random.integers(LAST_POSITION)))[0].half().cpu()

    def parameter_groups(self) -> dict[str, list[dict[str, Any]]]:
        """Return one part: everything but the backbone; the mix of its states learns faster."""
        audio = self.network.audio
        kept = {id(audio.mix)} | {id(p) for p in (audio.own or nn.Module()).parameters()}
        rest = [p for p in self.network.parameters() if id(p) not in kept]
        return {"network": [{"params": [audio.mix], "scale": MIX_LR_RATIO}, {"params": rest, "scale": 1.0}]}

    def sample(self, random: np.random.Generator, place: int) -> SpeechWindow:
        """Return a random window of a random clip."""
        frames, clip = self.config.window_frames, self.sample_clip(random)
        variant = int(random.integers(self.config.num_variants))
        states, speech = self._features(clip, variant), self._load_variant(clip, variant)
        start = int(random.integers(0, max(1, len(speech.beta) - frames + 1)))
        beta = speech.beta[start : start + frames]
        beta = np.pad(beta, ((0, frames - len(beta)), (0, 0)), mode="edge")
        style = speech.beta[random.choice(len(speech.beta), frames)]
        # Who opens the mouth farther in the style's frames opens it farther in the answer: style says how far.
        gain = np.float32(np.exp(self.config.amplitude_std * random.standard_normal()))
        beta, style = (
            speech.rest + factor * (b - speech.rest)
            for b, factor in ((beta, self.config.articulation * gain), (style, gain))
        )
        return SpeechWindow(
            padded_window(states, 2 * (speech.first + start), 2 * frames),
            spec_augment(2 * frames, states.shape[2], random, self.config.channel_dropout),
            torch.from_numpy(style),
            torch.from_numpy(speech.template),
            torch.from_numpy(beta),
        )

    def losses(self, samples: Sequence[SpeechWindow], step: Step) -> PartResult:
        """Return the terms of the loss over windows."""
        states, mask, style, template, beta = (
            torch.stack([getattr(s, name) for s in samples]) for name in SpeechWindow.__dataclass_fields__
        )
        embedding = self.network.encode_style(self.loss.offsets(style))
        features = self.network.audio.features(states, mask)
        said = self.network.decode_each(features, embedding, template)
        # Each decoder learns by itself: the errors of those that learned to be right together would not cancel.
        beta, template = (torch.cat([truth] * len(said)) for truth in (beta, template))
        return PartResult(self.loss(self.loss.offsets(torch.cat(said)), beta, template))

    def validate(self, network: GeometryGenerator) -> Validation:
        """Correlate the mouth opening with the real one, geometry alone, at each clip's best lag."""
        found = [self.agreement(network, speech) for speech in self.held_out]
        figures = {
            "r": float(np.mean([a.best for a in found])),
            "r_unshifted": float(np.mean([a.unshifted for a in found])),
            "articulation": float(np.mean([a.articulation for a in found])),
        }
        return Validation(figures, "r", {"opening": self._plot_opening(network, self.held_out[0])})

    def agreement(self, network: GeometryGenerator, speech: SpeechClip) -> agreement.Agreement:
        """Return how a network's mouth follows that of a clip."""
        return agreement.agreement(network, self.model, speech.samples, speech.first, speech.beta, speech.template)

    def _plot_opening(self, network: GeometryGenerator, speech: SpeechClip) -> Any:
        got, real = agreement.openings(network, self.model, speech.samples, speech.first, speech.beta, speech.template)
        return draw_curves({"real": real, "generated": got})

    def save(self, network: GeometryGenerator, path: Path) -> None:
        """Write a geometry generator."""
        network.save(path)


def initial_network(config: Stage1Config, model: MorphableModel) -> GeometryGenerator:
    """Return a new network with a pretrained backbone, or the one to go on from.

    Raises:
        WeightsError: A weights file cannot be read, or is for another mesh.
    """
    torch.manual_seed(config.seed)
    if config.init_from is not None:
        network = GeometryGenerator.load(config.init_from)
        network.check_fits(model)
        if network.use_style != config.use_style:
            raise PersonaTalkError(
                f"{config.init_from}: trained with another use_style; start anew, without 'init_from'"
            )
        return network
    sizes = model.num_vertices, model.num_expression
    if config.backbone is None:
        network = GeometryGenerator(*sizes, use_style=config.use_style)
        with torch.no_grad():
            network.audio.mix[TELLING_STATE] = TELLING_WEIGHT
    else:
        backbone, weights = load_backbone(config.backbone)
        network = GeometryGenerator(*sizes, backbone, use_style=config.use_style)
        assert network.audio.own is not None
        network.audio.own.load_state_dict(weights)
    network.set_expressions(model)
    with torch.no_grad():
        network.audio.first_mix.copy_(network.audio.mix)
        for layer in (network.decoder, network.linear):
            layer.weight.normal_(std=0.3 / layer.in_features**0.5)
            layer.bias.zero_()
    return network
