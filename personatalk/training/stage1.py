"""Trains the geometry generator (stage 1) on prepared clips.

Losses, on which the paper is silent, all in per cent of the distance between the eyes: L1 on the lower face's
vertices with more weight on the lips, the same on their velocity, the mouth's opening with more weight where it is
closed, and, against the under-articulation that a plain mean brings, the spread of the opening over the window and
its correlation with the real one.

The sound of real clips is often off against the picture. After a first training the offset of every clip is
estimated as the shift at which the network's mouth opening follows the real one best, and undone for a second one.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .. import weights
from ..audio import SMALL_HUBERT, AudioEncoder, hubert_config, load_hubert, normalise_loudness
from ..geometry import Array, MorphableModel
from ..stage1 import GeometryGenerator, generate, speaking_style
from . import audio as audio_training
from .checkpoints import Averaged, State, load_checkpoint, save_checkpoint
from .data import Clip, load_clips

FRAMES = 100
"""Frames of a training window."""
LARGEST_LAG = 7
"""Frames of offset between sound and picture that are looked for."""


@dataclass(frozen=True)
class Speech:
    """A clip at the model's clock: sound and expression.

    Attributes:
        name: The clip's name.
        samples: Loudness-normalised sound at 16 kHz.
        variants: The audio encoder's convolutions of several augmented copies of the sound, float16 (K, F, C).
        first: Number of the first frame; its time is number / 25.
        beta: Expression, (T, E).
        template: Shape displacement, (V, 3).
        lag: Frames by which the picture is late against the sound.
    """

    name: str
    samples: Array
    variants: torch.Tensor
    first: int
    beta: Array
    template: Array
    lag: float

    @classmethod
    def of(
        cls, clip: Clip, model: MorphableModel, encoder: AudioEncoder, lag: float, variants: int, seed: int
    ) -> Speech:
        """Prepare a clip.

        As usual with HuBERT, its convolutions stay as they were pretrained; they are most of the arithmetic and
        are done here once for each augmented copy of the sound.
        """
        first, beta = clip.beta_at_clock()
        template = model.shape(clip.alpha) - model.mean
        samples = normalise_loudness(clip.samples())
        random = np.random.default_rng(seed)
        copies = [audio_training.augment(samples[None], random) for _ in range(variants)]
        with torch.no_grad():
            convolved = [encoder.convolve(torch.from_numpy(c))[0].half() for c in copies]
        stacked = torch.stack(convolved) if convolved else torch.zeros(0)
        return cls(clip.name, samples, stacked, first, beta, template, lag)


@dataclass(frozen=True)
class Batch:
    """Training windows: sound (B, F, C), style source (B, T', E), template (B, V, 3), expression (B, T, E)."""

    convolved: torch.Tensor
    style: torch.Tensor
    template: torch.Tensor
    beta: torch.Tensor


def draw(speeches: list[Speech], size: int, random: np.random.Generator) -> Batch:
    """Draw random windows."""
    share = np.array([min(len(s.beta), 1000) for s in speeches], np.float64)
    rows = []
    for k in random.choice(len(speeches), size, p=share / share.sum()):
        speech = speeches[k]
        start = int(random.integers(0, max(1, len(speech.beta) - FRAMES + 1)))
        beta = speech.beta[start : start + FRAMES]
        beta = np.pad(beta, ((0, FRAMES - len(beta)), (0, 0)), mode="edge")
        heard = speech.variants[int(random.integers(len(speech.variants)))]
        place = speech.first + start - round(speech.lag)
        style = speech.beta[random.choice(len(speech.beta), FRAMES)]
        rows.append((window(heard, 2 * place, 2 * FRAMES), style, speech.template, beta))
    convolved, style, template, beta = zip(*rows, strict=True)
    arrays = (torch.from_numpy(np.stack(x).astype(np.float32)) for x in (style, template, beta))
    return Batch(torch.stack(convolved), *arrays)


def window(series: torch.Tensor, start: int, length: int) -> torch.Tensor:
    """Rows `start` to `start + length` - 1 of a series (F, C) as float32; beyond its ends they are repeated."""
    index = torch.arange(start, start + length).clamp(0, len(series) - 1)
    return series[index].float()


def masked(
    convolved: torch.Tensor, random: np.random.Generator, spans: int = 2, length: int = 10, channels: float = 0.1
) -> torch.Tensor:
    """SpecAugment (Park et al. 2019) on convolved sound (B, F, C): spans of time and channels are silenced."""
    keep = torch.ones(convolved.shape[:2])
    for row in keep:
        for start in random.integers(0, convolved.shape[1], spans):
            row[start : start + int(random.integers(1, length + 1))] = 0
    heard = torch.from_numpy(random.random((len(convolved), 1, convolved.shape[2])) >= channels)
    return convolved * keep[..., None] * heard


class Loss(nn.Module):
    """The training loss; see the module's text."""

    def __init__(self, model: MorphableModel) -> None:
        super().__init__()
        self.expression = torch.from_numpy(model.expression)
        weight = torch.from_numpy(model.lower.copy())
        weight[torch.from_numpy(model.lips)] *= 4
        self.weight = weight[:, None]
        self.pairs = torch.from_numpy(model.inner_lips)
        self.rest = torch.from_numpy(model.mean)

    def offsets(self, beta: torch.Tensor) -> torch.Tensor:
        """Displacement of the vertices: (B, T, E) to (B, T, V, 3)."""
        return torch.einsum("bte,vce->btvc", beta, self.expression)

    def opening(self, offsets: torch.Tensor, template: torch.Tensor) -> torch.Tensor:
        """Gaps between the inner lips, (B, T, P), in per cent."""
        face = offsets + (self.rest + template)[:, None]
        gap = face[:, :, self.pairs[:, 1]] - face[:, :, self.pairs[:, 0]]
        return 100 * (gap.square().sum(dim=-1) + 1e-8).sqrt()

    def forward(self, offsets: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        """Terms of the loss of generated displacements (B, T, V, 3)."""
        real = self.offsets(batch.beta)
        error = 100 * (offsets - real)
        velocity = error[:, 1:] - error[:, :-1]
        got, wanted = self.opening(offsets, batch.template), self.opening(real, batch.template)
        closed = torch.exp(-wanted / 3)
        middle, real_middle = got[..., 0], wanted[..., 0]
        spread = (middle.std(dim=1) - real_middle.std(dim=1)).abs().mean()
        correlation = torch.nn.functional.cosine_similarity(
            middle - middle.mean(dim=1, keepdim=True),
            real_middle - real_middle.mean(dim=1, keepdim=True),
            eps=1e-2,
        )
        return {
            "vertices": (error.abs() * self.weight).mean() * 3,
            "velocity": (velocity.abs() * self.weight).mean() * 6,
            "opening": ((got - wanted).abs() * (1 + 2 * closed)).mean() * 0.5,
            "spread": 0.15 * spread,
            "correlation": 2 * (1 - correlation).mean(),
        }


def evaluate(network: GeometryGenerator, model: MorphableModel, speeches: list[Speech]) -> dict[str, float]:
    """Mouth opening against the real one at each clip's best lag: mean r, r at no lag, articulation, mean lag."""
    rows = [opening_agreement(network, model, speech) for speech in speeches]
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def opening_agreement(network: GeometryGenerator, model: MorphableModel, speech: Speech) -> dict[str, float]:
    """How the generated mouth opening follows the real one; lag > 0 where the real mouth is late."""
    style = speaking_style(network, model, speech.beta)
    frames = speech.first + len(speech.beta)
    offsets = generate(network, speech.samples, frames, style, speech.template)[speech.first :]
    shape = model.mean + speech.template
    got = model.mouth_opening(shape + offsets)
    real = model.mouth_opening(shape + model.offsets(speech.beta))
    scores = {lag: shifted_correlation(got, real, lag) for lag in range(-LARGEST_LAG, LARGEST_LAG + 1)}
    lag = max(scores, key=lambda k: scores[k])
    articulation = float(got.std() / max(real.std(), 1e-6))
    return {"r": scores[lag], "r0": scores[0], "articulation": articulation, "lag": float(lag)}


def shifted_correlation(got: Array, real: Array, lag: int) -> float:
    """Correlation of got[t] with real[t + lag]."""
    a, b = got[max(0, -lag) :], real[max(0, lag) :]
    n = min(len(a), len(b))
    if n < 12 or a[:n].std() < 1e-6 or b[:n].std() < 1e-6:
        return 0.0
    return float(np.corrcoef(a[:n], b[:n])[0, 1])


def estimate_lags(network: GeometryGenerator, model: MorphableModel, speeches: list[Speech]) -> dict[str, float]:
    """Offset of each clip's picture against its sound, where the network can tell; else 0."""
    lags = {}
    for speech in speeches:
        row = opening_agreement(network, model, speech)
        lags[speech.name] = row["lag"] if row["r"] > 0.4 and row["r"] - row["r0"] > 0.05 else 0.0
    return lags


def starting_network(model: MorphableModel, audio: Path | None, hubert: Path | str | None = None) -> GeometryGenerator:
    """A new network; its decoder starts on the expression basis, its audio encoder on pretrained weights.

    Args:
        model: The morphable model.
        audio: Our own encoder, pretrained.
        hubert: A HuBERT checkpoint, a folder or a name on the hub, instead.
    """
    network = GeometryGenerator(model.num_vertices, SMALL_HUBERT if hubert is None else hubert_config(hubert))
    if hubert is not None:
        load_hubert(network.audio, hubert)
    basis = torch.from_numpy(100 * model.expression.reshape(-1, model.num_expression))
    mix = torch.randn(model.num_expression, network.decoder.in_features) / network.decoder.in_features**0.5
    with torch.no_grad():
        network.decoder.weight.copy_(basis @ mix * 0.3)
        network.decoder.bias.zero_()
    if audio is not None:
        arrays, _ = weights.load_arrays(audio, kind=audio_training.KIND, version=audio_training.VERSION)
        weights.fill_module(network.audio.hubert, arrays, audio)
    return network


def main() -> None:
    """Command line of the training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path, help="folder of prepared clips")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the run; it is resumed from there")
    parser.add_argument("--model", type=Path, help="morphable model (default: the package's)")
    encoder = parser.add_mutually_exclusive_group()
    encoder.add_argument("--audio", type=Path, help="pretrained audio encoder of ours")
    encoder.add_argument("--hubert", help="HuBERT checkpoint, a folder or a name on the hub, instead of ours")
    parser.add_argument("--lags", type=Path, help="JSON file of offsets in frames by clip, as this program writes it")
    parser.add_argument("--train", nargs="+", default=["train__", "train_generated__"])
    parser.add_argument("--val", nargs="+", default=["val__"])
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--variants", type=int, default=6, help="augmented copies of every clip's sound")
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--every", type=float, default=5, help="minutes between evaluations")
    parser.add_argument(
        "--start", type=Path, help="weights of an earlier run to start from; --audio then gives the convolutions"
    )
    parser.add_argument("--seed", type=int, default=0)
    train(parser.parse_args())


def train(arguments: argparse.Namespace) -> None:
    """Train for the given minutes with a cosine schedule; keep the best average on held-out speakers."""
    torch.manual_seed(arguments.seed)
    model = MorphableModel.load(arguments.model)
    network = starting_network(model, arguments.audio, arguments.hubert)
    if arguments.start is not None:
        convolutions = network.audio.hubert.feature_extractor
        network = GeometryGenerator.load(arguments.start)
        if arguments.audio is not None:
            network.audio.hubert.feature_extractor = convolutions
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = arguments.dropout
    network.audio.hubert.feature_extractor.requires_grad_(False)
    network.train()
    averaged = Averaged(network, decay=0.995)
    slow = [p for n, p in network.named_parameters() if n.startswith("audio.hubert") and p.requires_grad]
    fast = [p for n, p in network.named_parameters() if not n.startswith("audio.hubert")]
    groups = [{"params": slow, "scale": 0.4}, {"params": fast, "scale": 1.0}]
    optimiser = torch.optim.AdamW(groups, lr=arguments.rate, weight_decay=0.02)
    arguments.output.mkdir(parents=True, exist_ok=True)
    state = load_checkpoint(arguments.output, network, averaged, optimiser)
    lags = json.loads(arguments.lags.read_text()) if arguments.lags else {}
    speeches, held_out = (
        [
            Speech.of(c, model, network.audio, lags.get(c.name, 0.0), copies, arguments.seed + number)
            for number, c in enumerate(load_clips(arguments.dataset, tuple(prefixes), True))
        ]
        for prefixes, copies in ((arguments.train, arguments.variants), (arguments.val, 0))
    )
    run(network, averaged, optimiser, state, Loss(model), model, speeches, held_out, arguments)
    # Offsets are found on the sound as it is in the file; what was already known does not add to them.
    found = estimate_lags(averaged.network, model, speeches)
    (arguments.output / "lags.json").write_text(json.dumps(found, indent=1))


def run(
    network: GeometryGenerator,
    averaged: Averaged[GeometryGenerator],
    optimiser: torch.optim.Optimizer,
    state: State,
    loss: Loss,
    model: MorphableModel,
    speeches: list[Speech],
    held_out: list[Speech],
    arguments: argparse.Namespace,
) -> None:
    """The loop."""
    random = np.random.default_rng(arguments.seed + state.step)
    start = saved = time.monotonic()
    recent = []
    while (done := (time.monotonic() - start) / (60 * arguments.minutes)) < 1:
        rate = arguments.rate * min(1.0, (state.step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * done))
        for group in optimiser.param_groups:
            group["lr"] = rate * group["scale"]
        batch = draw(speeches, arguments.batch, random)
        style = network.encode_style(loss.offsets(batch.style))
        with torch.autocast("cpu", torch.bfloat16):
            heard = network.audio.contextualise(masked(batch.convolved, random))
            offsets = network.from_heard(heard, style, batch.template)
        terms = loss(offsets, batch)
        optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        averaged.update(network)
        state.step += 1
        recent.append([float(t.detach()) for t in terms.values()])
        if state.step % 100 == 0:
            means = " ".join(f"{k} {v:.3f}" for k, v in zip(terms, np.mean(recent, axis=0), strict=True))
            print(f"step {state.step} minutes {(time.monotonic() - start) / 60:.1f} {means}", flush=True)
            recent = []
        if time.monotonic() - saved > 60 * arguments.every:
            keep_best(averaged, model, held_out, arguments.output, state)
            save_checkpoint(arguments.output, state, network, averaged, optimiser)
            saved = time.monotonic()
    keep_best(averaged, model, held_out, arguments.output, state)
    save_checkpoint(arguments.output, state, network, averaged, optimiser)


def keep_best(
    averaged: Averaged[GeometryGenerator],
    model: MorphableModel,
    held_out: list[Speech],
    output: Path,
    state: State,
) -> None:
    """Evaluate on held-out speakers and save the average if it is the best so far."""
    figures = evaluate(averaged.network, model, held_out)
    print(f"step {state.step} val " + " ".join(f"{k} {v:.3f}" for k, v in figures.items()), flush=True)
    if figures["r"] > state.best:
        averaged.network.save(output / "stage1.safetensors")
        state.best = figures["r"]


if __name__ == "__main__":
    main()
