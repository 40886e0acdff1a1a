"""Pretrains our small audio encoder on speech alone.

HuBERT's own first iteration: the transformer predicts, also where its input is masked, to which of a number of
clusters of log-mel frames a frame belongs. A second head regresses the log-mel frame itself, which teaches the
convolutions to hear a spectrum within minutes. Both heads are dropped afterwards.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import torch
from scipy.cluster.vq import kmeans2
from scipy.spatial import cKDTree
from torch import nn
from transformers.audio_utils import mel_filter_bank

from .. import weights
from ..audio import SAMPLE_RATE, SMALL_HUBERT, STRIDE, AudioEncoder, normalise_loudness

KIND, VERSION = "audio-encoder", 1
MELS = 40
SECONDS = 4
CLUSTERS = 128
MASK_SPAN, MASK_STARTS = 10, 0.05


def log_mel(samples: torch.Tensor) -> torch.Tensor:
    """Log-mel frames at 50 a second, frame k centred at (k + 1/2) * 320 samples: (B, N) to (B, N // 320, 40)."""
    bank = mel_filter_bank(257, MELS, 50.0, 7600.0, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
    padded = nn.functional.pad(samples, (96, 96))
    window = torch.hann_window(512)
    spectrum = torch.stft(padded, 512, STRIDE, window=window, center=False, return_complex=True).abs().square()
    return (spectrum.transpose(1, 2) @ torch.from_numpy(bank).float() + 1e-6).log()


def filter_bank(filters: int, length: int) -> torch.Tensor:
    """Gabor filters on the mel scale, each as cosine and sine with both signs: (filters, length).

    After a rectifier the four of a band add up to its magnitude.
    """
    bands = filters // 4
    mel = np.linspace(2595 * np.log10(1 + 60 / 700), 2595 * np.log10(1 + 7600 / 700), bands + 2)
    hertz = 700 * (10 ** (mel / 2595) - 1)
    centre, width = hertz[1:-1, None], (hertz[2:] - hertz[:-2])[:, None] / 2
    seconds = (np.arange(length) - (length - 1) / 2) / SAMPLE_RATE
    # As wide in frequency as the distance between bands, but neither longer than the filter nor shorter than 4 ms.
    deviation = np.clip(0.4 / width, 0.002, length / SAMPLE_RATE / 5)
    window = np.exp(-0.5 * (seconds / deviation) ** 2)
    window /= window.sum(axis=1, keepdims=True)
    phase = 2 * np.pi * centre * seconds
    waves = np.stack([np.cos(phase), -np.cos(phase), np.sin(phase), -np.sin(phase)]) * window
    return torch.from_numpy(waves.reshape(-1, length).astype(np.float32))


def cluster_features(mel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What is clustered: log-mel frames and their change over 3 frames, (T, 40) to (T, 80).

    Each band is normalised over the utterance, so that voice and microphone cancel.
    """
    normal = (mel - mel.mean(axis=0)) / (mel.std(axis=0) + 0.5)
    slope = np.roll(normal, -3, axis=0) - np.roll(normal, 3, axis=0)
    return np.concatenate([normal, slope], axis=1)


def read_sound(path: Path) -> npt.NDArray[np.float32]:
    """A sound file as 16 kHz mono, -1..1."""
    resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
    with av.open(str(path)) as container:
        parts = [r.to_ndarray().ravel() for f in container.decode(audio=0) for r in resampler.resample(f)]
    parts += [r.to_ndarray().ravel() for r in resampler.resample(None)]
    return np.concatenate(parts)


class Pretrainer(nn.Module):
    """The encoder's HuBERT with the two heads of the pretraining."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = AudioEncoder(SMALL_HUBERT["hidden_size"], SMALL_HUBERT)
        hidden = SMALL_HUBERT["hidden_size"]
        self.to_mel = nn.Linear(SMALL_HUBERT["conv_dim"][-1], MELS)
        self.to_cluster = nn.Linear(hidden, CLUSTERS)

    def tune(self) -> None:
        """Start the first convolution as a bank of filters; see `filter_bank`.

        It is made so faint that its norm keeps loudness. A layer norm divides by sqrt(variance + 1e-5): with a
        variance of that order it compresses loudness instead of removing it, and loudness is the first cue to how
        far a mouth is open.
        """
        convolution = self.encoder.hubert.feature_extractor.conv_layers[0].conv
        with torch.no_grad():
            convolution.weight.copy_(0.03 * filter_bank(*convolution.weight.shape[::2])[:, None])
            convolution.bias.zero_()

    def mel_loss(self, samples: torch.Tensor, mel: torch.Tensor) -> torch.Tensor:
        """Loss of the log-mel regression alone, from the convolutions."""
        return nn.functional.mse_loss(self.to_mel(self.encoder.convolve(samples)), mel)

    def forward(
        self, samples: torch.Tensor, mask: torch.Tensor, mel: torch.Tensor, cluster: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Losses of the log-mel regression and of the cluster prediction."""
        hubert = self.encoder.hubert
        heard = self.encoder.convolve(samples)
        mel_loss = nn.functional.mse_loss(self.to_mel(heard), mel)
        projected = hubert.feature_projection(heard)
        projected = torch.where(mask[..., None], hubert.masked_spec_embed, projected)
        hidden = hubert.encoder(projected)[0]
        losses = nn.functional.cross_entropy(self.to_cluster(hidden).transpose(1, 2), cluster, reduction="none")
        weight = torch.where(mask, 1.0, 0.5)
        return mel_loss, (losses * weight).sum() / weight.sum()


def batches(
    sounds: list[npt.NDArray[np.float32]], labels: list[npt.NDArray[np.int64]], size: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless random windows with augmentation: yields samples (B, N) and cluster labels (B, T)."""
    random = np.random.default_rng(seed)
    share = np.array([len(s) for s in sounds], np.float64)
    frames = SECONDS * SAMPLE_RATE // STRIDE
    while True:
        samples = np.zeros((size, frames * STRIDE), np.float32)
        target = np.zeros((size, frames), np.int64)
        for row, k in enumerate(random.choice(len(sounds), size, p=share / share.sum())):
            start = int(random.integers(0, max(1, len(labels[k]) - frames)))
            part = sounds[k][start * STRIDE : (start + frames) * STRIDE]
            samples[row, : len(part)] = part
            target[row, : len(labels[k][start : start + frames])] = labels[k][start : start + frames]
        yield torch.from_numpy(augment(samples, random)), torch.from_numpy(target)


def augment(samples: npt.NDArray[np.float32], random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Random gain, tilt of the spectrum and noise for every row of (B, N)."""
    size = (len(samples), 1)
    tilt = random.uniform(-0.5, 0.5, size).astype(np.float32)
    tilted = samples + tilt * np.concatenate([samples[:, :1], samples[:, :-1]], axis=1)
    gain = 10 ** random.uniform(-0.4, 0.3, size)
    noise = 10 ** random.uniform(-4.0, -1.8, size) * random.standard_normal(samples.shape)
    return (gain * tilted + noise).astype(np.float32)


def spans(shape: tuple[int, int], random: np.random.Generator) -> torch.Tensor:
    """Mask of random spans, bool (B, T)."""
    starts = random.random(shape) < MASK_STARTS
    mask = np.zeros(shape, bool)
    for shift in range(MASK_SPAN):
        mask[:, shift:] |= starts[:, : shape[1] - shift]
    return torch.from_numpy(mask)


def main() -> None:
    """Command line of the pretraining."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sounds", nargs="+", type=Path, help="folders of speech files")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--convolutions", type=float, default=8, help="minutes of log-mel regression alone, at first")
    parser.add_argument("--minutes", type=float, default=12, help="minutes of both tasks, then")
    parser.add_argument("--start", type=Path, help="encoder of an earlier run to start from")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    random = np.random.default_rng(arguments.seed)
    files = [f for folder in arguments.sounds for f in sorted(folder.iterdir()) if f.suffix in AUDIO_SUFFIXES]
    sounds = [normalise_loudness(read_sound(file)) for file in files]
    sounds = [s for s in sounds if len(s) > SAMPLE_RATE]
    print(f"{len(sounds)} sounds, {sum(map(len, sounds)) / SAMPLE_RATE / 60:.1f} minutes", flush=True)
    labels = label(sounds, random)
    train(sounds, labels, random, arguments)


AUDIO_SUFFIXES = (".ogg", ".flac", ".wav", ".opus", ".mp3", ".mp4", ".mpg")


def label(sounds: list[npt.NDArray[np.float32]], random: np.random.Generator) -> list[npt.NDArray[np.int64]]:
    """Cluster number of every frame of every sound."""
    features = [cluster_features(log_mel(torch.from_numpy(s)[None])[0].numpy()) for s in sounds]
    pool = np.concatenate(features)
    centres, _ = kmeans2(
        pool[random.choice(len(pool), min(len(pool), 40000), replace=False)],
        CLUSTERS,
        iter=15,
        minit="++",
        seed=random,
    )
    tree = cKDTree(centres)
    return [tree.query(f)[1].astype(np.int64) for f in features]


MEL_MEAN, MEL_STD = -6.0, 3.0


def train(
    sounds: list[npt.NDArray[np.float32]],
    labels: list[npt.NDArray[np.int64]],
    random: np.random.Generator,
    arguments: argparse.Namespace,
) -> None:
    """First the convolutions alone, then both tasks, each for its minutes; save the encoder after each."""
    network = Pretrainer().train()
    if arguments.start is not None:
        arrays, _ = weights.load_arrays(arguments.start, kind=KIND, version=VERSION)
        weights.fill_module(network.encoder.hubert, arrays, arguments.start).train()
    else:
        network.tune()

    def convolutions(samples: torch.Tensor, mel: torch.Tensor, cluster: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"mel": network.mel_loss(samples, mel)}

    def both(samples: torch.Tensor, mel: torch.Tensor, cluster: torch.Tensor) -> dict[str, torch.Tensor]:
        mel_loss, cluster_loss = network(samples, spans((cluster.shape[0], cluster.shape[1]), random), mel, cluster)
        return {"mel": mel_loss, "cluster": cluster_loss}

    stream = batches(sounds, labels, arguments.batch, arguments.seed)
    for loss, minutes, rate in ((convolutions, arguments.convolutions, 2e-3), (both, arguments.minutes, 8e-4)):
        _phase(network, loss, stream, minutes, rate)
        weights.save_module(arguments.output, network.encoder.hubert, kind=KIND, version=VERSION, config=SMALL_HUBERT)


def _phase(
    network: Pretrainer,
    loss: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], dict[str, torch.Tensor]],
    stream: Iterator[tuple[torch.Tensor, torch.Tensor]],
    minutes: float,
    rate: float,
) -> None:
    """Train for some minutes with a learning rate that falls to zero."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01)
    start, step = time.monotonic(), 0
    while (done := (time.monotonic() - start) / (60 * max(minutes, 1e-9))) < 1:
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 50) * (1 - done)
        samples, cluster = next(stream)
        terms = loss(samples, (log_mel(samples) - MEL_MEAN) / MEL_STD, cluster)
        optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        step += 1
        if step % 50 == 0:
            print(f"step {step} " + " ".join(f"{k} {v.item():.3f}" for k, v in terms.items()), flush=True)


if __name__ == "__main__":
    main()
