"""Pretrains our small audio encoder on speech alone.

HuBERT's own first iteration: the transformer predicts, also where its input is masked, to which of a number of
clusters of log-mel frames a frame belongs. A second head regresses the log-mel frame itself, which teaches the
convolutions to hear a spectrum within minutes. A third tells phones: in synthetic speech those that were said
(`synthesis`), in real speech those that a recogniser hears (`phones`). The heads are dropped afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.cluster.vq import kmeans2
from scipy.signal import fftconvolve, resample_poly
from scipy.spatial import cKDTree
from torch import nn
from transformers.audio_utils import mel_filter_bank

from ..audio.encoder import SAMPLE_RATE, SMALL_HUBERT, STRIDE, AudioEncoder
from ..audio.loudness import normalise_loudness
from ..audio.phones import PHONES, cached_phones
from ..errors import MediaError
from ..media.audio import read_speech
from ..media.codecs import VIDEO_SUFFIXES
from ..utils import serialization
from .config import AudioConfig
from .data.layouts import AUDIO_SUFFIXES
from .data.synthesis import known_phones
from .engine import PartResult, Step, Task, Validation

KIND, VERSION = "audio-encoder", 1
MELS = 40
MEL_MEAN, MEL_STD = -6.0, 3.0
MASK_SPAN, MASK_STARTS = 10, 0.05
# One of so many files is held out.
HELD_OUT_EVERY = 20


@dataclass(frozen=True)
class Recording:
    """A recording: loudness-normalised 16 kHz samples (N,), and its phones (N // 320, P) where they are known."""

    samples: npt.NDArray[np.float32]
    phones: npt.NDArray[np.float16] | None = None


@dataclass(frozen=True)
class AudioWindow:
    """A window of augmented audio.

    Attributes:
        samples: (N,).
        cluster: Cluster of each frame, (T,).
        phones: Share of each phone in each frame, (T, P); zeros without a recogniser.
        mask: Frames that the transformer does not get to hear, bool (T,).
    """

    samples: torch.Tensor
    cluster: torch.Tensor
    phones: torch.Tensor
    mask: torch.Tensor


def log_mel(samples: torch.Tensor) -> torch.Tensor:
    """Return log-mel frames at 50 a second, frame k centred at (k + 1/2) * 320 samples: (B, N) to (B, N // 320, 40)."""
    bank = mel_filter_bank(257, MELS, 50.0, 7600.0, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
    padded = nn.functional.pad(samples, (96, 96))
    window = torch.hann_window(512, device=samples.device)
    spectrum = torch.stft(padded, 512, STRIDE, window=window, center=False, return_complex=True).abs().square()
    return (spectrum.transpose(1, 2) @ torch.from_numpy(bank).float().to(samples.device) + 1e-6).log()


def filter_bank(filters: int, length: int) -> torch.Tensor:
    """Return Return Gabor filters on the mel scale, each as cosine and sine with both signs: (filters, length).

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
    """Return the features to cluster: log-mel frames and their change over 3 frames, (T, 40) to (T, 80).

    Each band is normalised over the utterance, so that voice and microphone cancel.
    """
    normal = (mel - mel.mean(axis=0)) / (mel.std(axis=0) + 0.5)
    slope = np.roll(normal, -3, axis=0) - np.roll(normal, 3, axis=0)
    return np.concatenate([normal, slope], axis=1)


class AudioPretrainer(nn.Module):
    """The encoder with the heads of the pretraining.

    Args:
        clusters: Number of clusters to tell.
    """

    def __init__(self, clusters: int) -> None:
        super().__init__()
        self.encoder = AudioEncoder(SMALL_HUBERT["hidden_size"], SMALL_HUBERT)
        hidden = SMALL_HUBERT["hidden_size"]
        self.to_mel = nn.Linear(SMALL_HUBERT["conv_dim"][-1], MELS)
        self.to_cluster = nn.Linear(hidden, clusters)
        self.to_phone = nn.Linear(hidden, len(PHONES))

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

    def forward(self, samples: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the predictions for audio (B, N), masked where bool (B, T).

        Returns:
            Log-mel frames (B, T, 40), scores of the clusters (B, T, K) and of the phones (B, T, P).
        """
        hubert = self.encoder.hubert
        heard = self.encoder.convolve(samples)
        projected = hubert.feature_projection(heard)
        projected = torch.where(mask[..., None], hubert.masked_spec_embed.to(projected.dtype), projected)
        hidden = hubert.encoder(projected)[0]
        return self.to_mel(heard), self.to_cluster(hidden), self.to_phone(hidden)


def augment(samples: npt.NDArray[np.float32], random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return audio (B, N) with random gain, spectral tilt and noise for every row."""
    size = (len(samples), 1)
    tilt = random.uniform(-0.5, 0.5, size).astype(np.float32)
    tilted = samples + tilt * np.concatenate([samples[:, :1], samples[:, :-1]], axis=1)
    gain = 10 ** random.uniform(-0.4, 0.3, size)
    noise = 10 ** random.uniform(-4.0, -1.8, size) * random.standard_normal(samples.shape)
    return (gain * tilted + noise).astype(np.float32)


SPEEDS = (0.85, 0.9, 1.0, 1.0, 1.0, 1.1, 1.15, 1.2)
# Share of the windows that get reverberation.
REVERB_SHARE = 0.4


def change_speed(samples: npt.NDArray[np.float32], speed: float) -> npt.NDArray[np.float32]:
    """Return audio (N,) played `speed` times as fast, and as high: about (N / speed,)."""
    if speed == 1:
        return samples
    ratio = Fraction(1 / speed).limit_denominator(40)
    return resample_poly(samples, ratio.numerator, ratio.denominator).astype(np.float32)


def add_reverb(samples: npt.NDArray[np.float32], random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return audio (N,) with a random reverberation of 50 to 300 ms."""
    length = int(random.integers(SAMPLE_RATE // 20, 3 * SAMPLE_RATE // 10))
    echo = random.standard_normal(length) * np.exp(-6 * np.arange(length) / length)
    echo[0] = random.uniform(1.5, 6) * np.abs(echo).max()
    echo /= np.sqrt((echo**2).sum())
    return fftconvolve(samples, echo)[: len(samples)].astype(np.float32)


def mask_spans(frames: int, random: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Return a mask of random spans, (T,)."""
    starts = random.random(frames) < MASK_STARTS
    mask = np.zeros(frames, bool)
    for shift in range(MASK_SPAN):
        mask[shift:] |= starts[: frames - shift]
    return mask


def read_recordings(folders: list[Path]) -> list[Recording]:
    """Read all audio and video files of folders as loudness-normalised 16 kHz mono; those under a second are left out.

    Raises:
        MediaError: There are none, or one is damaged.
        PersonaTalkError: The text with the phones of one is damaged.
    """
    suffixes = (*AUDIO_SUFFIXES, *VIDEO_SUFFIXES)
    files = [f for folder in folders for f in sorted(folder.iterdir()) if f.suffix.lower() in suffixes]
    read = [(file, normalise_loudness(read_speech(file, SAMPLE_RATE))) for file in files]
    sounds = [Recording(s, known_phones(file, len(s))) for file, s in read if len(s) > SAMPLE_RATE]
    if not sounds:
        raise MediaError(f"{', '.join(map(str, folders))}: no audio of a second or more; name folders of speech files")
    return sounds


def cluster_labels(
    sounds: list[npt.NDArray[np.float32]], clusters: int, random: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Return the cluster number of every frame of every recording."""

    def features(sound: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return cluster_features(log_mel(torch.from_numpy(sound)[None])[0].numpy())

    share = min(1.0, 40000 * STRIDE / sum(map(len, sounds)))
    pool = np.concatenate([f[random.random(len(f)) < share] for f in map(features, sounds)])
    centres, _ = kmeans2(pool, clusters, iter=15, minit="++", seed=random)
    tree = cKDTree(centres)
    return [tree.query(features(sound))[1].astype(np.int64) for sound in sounds]


class AudioTask(Task[AudioWindow]):
    """The audio encoder's pretraining.

    Args:
        config: The fields that configure it.
        sounds: What to listen to.
    """

    network: AudioPretrainer

    def __init__(self, config: AudioConfig, sounds: list[Recording]) -> None:
        super().__init__()
        torch.manual_seed(config.seed)
        self.config, self.sounds = config, [s.samples for s in sounds]
        self.network = AudioPretrainer(config.num_clusters)
        if config.init_from is not None:
            arrays, _ = serialization.load_arrays(config.init_from, kind=KIND, version=VERSION)
            serialization.fill_module(self.network.encoder.hubert, arrays, config.init_from)
        else:
            self.network.tune()
        for module in self.network.modules():
            if isinstance(module, nn.Dropout):
                module.p = config.dropout
        cache = None if config.phone_cache is None else Path(config.phone_cache)
        self.phones = None
        if config.phone_weight > 0:
            self.phones = [cached_phones(s.samples, cache) if s.phones is None else s.phones for s in sounds]
        self.labels = cluster_labels(self.sounds, config.num_clusters, np.random.default_rng(config.seed))
        self.held_out = list(range(0, len(sounds), HELD_OUT_EVERY))
        self.heard = [i for i in range(len(sounds)) if i % HELD_OUT_EVERY] or self.held_out
        self.edges = np.cumsum([len(self.sounds[i]) for i in self.heard])

    @classmethod
    def from_config(cls, config: AudioConfig, morphable: Path | None = None) -> AudioTask:
        """Return the task on the folders that the configuration names.

        Raises:
            PersonaTalkError: A folder or weights file cannot be read.
        """
        return cls(config, read_recordings([Path(folder) for folder in config.datasets]))

    def parameter_groups(self) -> dict[str, list[dict[str, Any]]]:
        """Return one part with all parameters."""
        return {"network": [{"params": list(self.network.parameters())}]}

    def sample(self, random: np.random.Generator) -> AudioWindow:
        """Return a random window, of longer files more often, at a random speed and with random reverberation."""
        place = np.searchsorted(self.edges, random.integers(self.edges[-1]), side="right")
        speed = float(random.choice(SPEEDS))
        sample = self._window(self.heard[int(place)], random, speed)
        samples = sample.samples.numpy()
        if random.random() < REVERB_SHARE:
            samples = add_reverb(samples, random)
        return replace(sample, samples=torch.from_numpy(augment(samples[None], random)[0]))

    def _window(self, sound: int, random: np.random.Generator, speed: float = 1.0) -> AudioWindow:
        """Return a random window of a recording, played `speed` times as fast; silence where it is shorter."""
        frames = round(self.config.window_seconds * SAMPLE_RATE) // STRIDE
        taken = int(np.ceil(frames * speed)) + 1
        labels = self.labels[sound]
        start = int(random.integers(0, max(1, len(labels) - taken)))
        samples = np.zeros(taken * STRIDE, np.float32)
        part = self.sounds[sound][start * STRIDE : (start + taken) * STRIDE]
        samples[: len(part)] = part
        # Frame k of what is played hears what is said around (k + 1/2) * speed.
        places = start + np.minimum(((np.arange(frames) + 0.5) * speed).astype(np.int64), taken - 1)
        inside = np.minimum(places, len(labels) - 1)
        phones = np.zeros((frames, len(PHONES)), np.float32)
        if self.phones is not None:
            phones[:] = self.phones[sound][inside]
            phones[places >= len(labels)] = np.eye(len(PHONES))[0]
        return AudioWindow(
            torch.from_numpy(change_speed(samples, speed)[: frames * STRIDE]),
            torch.from_numpy(labels[inside]),
            torch.from_numpy(phones),
            torch.from_numpy(mask_spans(frames, random)),
        )

    def losses(self, samples: Sequence[AudioWindow], step: Step) -> PartResult:
        """Return the losses of the log-mel regression and of the predictions of clusters and phones.

        The transformer begins once the convolutions have learned something.
        """
        names = AudioWindow.__dataclass_fields__
        sound, cluster, phones, mask = (torch.stack([getattr(s, n) for s in samples]) for n in names)
        mel, scores, phone_scores = self.network(sound, mask)
        wanted = (log_mel(sound) - MEL_MEAN) / MEL_STD
        terms = {"mel": self.config.mel_weight * nn.functional.mse_loss(mel.float(), wanted)}
        if step.number >= self.config.transformer_start_step:
            losses = nn.functional.cross_entropy(scores.float().transpose(1, 2), cluster, reduction="none")
            weight = torch.where(mask, 1.0, 0.5)
            terms["cluster"] = self.config.cluster_weight * (losses * weight).sum() / weight.sum()
            if self.phones is not None:
                losses = -(phone_scores.float().log_softmax(dim=-1) * phones).sum(dim=-1)
                # Silence is most of a recording, and easy.
                weight = 1 - 0.7 * phones[..., 0]
                terms["phones"] = self.config.phone_weight * (losses * weight).sum() / weight.sum()
        return PartResult(terms)

    def validate(self, network: AudioPretrainer) -> Validation:
        """Measure, on held-out files, the log-mel's explained variance and the accuracy of clusters and phones."""
        heard, right, told = [], [], []
        with torch.no_grad():
            for number, sound in enumerate(self.held_out):
                sample = self._window(sound, np.random.default_rng([99, number]))
                mel, scores, phones = network(sample.samples[None], torch.zeros_like(sample.mask)[None])
                wanted = (log_mel(sample.samples[None]) - MEL_MEAN) / MEL_STD
                heard.append(1 - float((mel - wanted).square().mean() / wanted.var()))
                right.append(float((scores[0].argmax(dim=-1) == sample.cluster).float().mean()))
                speech = sample.phones[:, 0] + (sample.phones.sum(dim=1) == 0) < 0.5
                if speech.any():
                    told.append(
                        float((phones[0].argmax(dim=-1) == sample.phones.argmax(dim=-1))[speech].float().mean())
                    )
        figures = {"heard": float(np.mean(heard)), "clusters": float(np.mean(right))}
        if told:
            figures["phones"] = float(np.mean(told))
        figures["score"] = figures.get("phones", figures["clusters"]) + 0.01 * figures["heard"]
        return Validation(figures, "score")

    def save(self, network: AudioPretrainer, path: Path) -> None:
        """Write the encoder without the heads."""
        serialization.save_module(path, network.encoder.hubert, kind=KIND, version=VERSION, config=SMALL_HUBERT)
