"""Audio encoder of HuBERT's design (paper, section 3.1): temporal convolutions, then a transformer encoder.

The default is a small one that is trained here; any HuBERT checkpoint in the format of `transformers` can replace it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import nn

from ..errors import WeightsError
from .hubert import Hubert, HubertSizes

if TYPE_CHECKING:
    from transformers import HubertConfig

# Samples per second of all audio that the networks hear.
SAMPLE_RATE = 16000
# Samples per feature of HuBERT: 50 features a second.
STRIDE = 320
# Frames per second of the networks' clock [paper, section 4.1].
FPS = 25
# Configuration of the small encoder, as `transformers.HubertConfig` takes it.
SMALL_HUBERT: dict[str, Any] = {
    "hidden_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    # HuBERT's seven short convolutions take days of speech to become a spectrum. A long one that starts as a bank of
    # filters and two short ones are one within minutes, and cost less.
    "conv_dim": [256, 128, 128],
    "conv_kernel": [400, 3, 3],
    "conv_stride": [160, 2, 1],
    "conv_bias": True,
    # A norm over channels, not over time: what a frame hears then does not depend on the length of the chunk.
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "num_conv_pos_embeddings": 32,
    "num_conv_pos_embedding_groups": 8,
    "layerdrop": 0.0,
    "activation_dropout": 0.0,
    "attention_dropout": 0.0,
    "feat_proj_dropout": 0.0,
}


class AudioEncoder(nn.Module):
    """HuBERT, and a linear layer that brings its features to the frame rate of the video.

    Args:
        dim: Size D of the features that come out.
        hubert: Configuration for `transformers.HubertConfig`.
    """

    def __init__(self, dim: int, hubert: dict[str, Any]) -> None:
        super().__init__()
        self.hubert: Any = _network(hubert)
        hidden: int = self.hubert.config.hidden_size
        self.to_frames = nn.Linear(2 * hidden, dim)

    def convolve(self, samples: torch.Tensor) -> torch.Tensor:
        """Run HuBERT's temporal convolutions: samples at 16 kHz (B, N) to (B, N // 320, C), 50 a second.

        Feature k stands for the samples around (k + 1/2) * 320.
        """
        edge = (receptive_field(self.hubert.config) - STRIDE) // 2
        features: torch.Tensor = self.hubert.feature_extractor(nn.functional.pad(samples, (edge, edge)))
        return features.transpose(1, 2)

    def encode_context(self, convolved: torch.Tensor) -> torch.Tensor:
        """Run HuBERT's transformer and interpolate to 25 frames a second: (B, F, C) to (B, F // 2, D).

        Frame j stands for time j / 25; a linear layer interpolates between the features on either side of it.
        """
        features = self.hubert.encoder(self.hubert.feature_projection(convolved))[0]
        before = torch.cat([features[:, :1], features[:, :-1]], dim=1)
        pairs = torch.cat([before, features], dim=-1)
        interpolated: torch.Tensor = self.to_frames(pairs[:, 0 : 2 * (pairs.shape[1] // 2) : 2])
        return interpolated

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Encode samples at 16 kHz (B, N) to features at 25 a second (B, N // 640, D)."""
        return self.encode_context(self.convolve(samples))


def _network(config: dict[str, Any]) -> Any:
    """Build HuBERT of a configuration, from `transformers` where its layout is not that of `hubert.Hubert`."""
    sizes = HubertSizes.of(config)
    if sizes is not None:
        return Hubert(sizes)
    transformers = _transformers()
    from huggingface_hub.errors import StrictDataclassError

    try:
        return transformers.HubertModel(transformers.HubertConfig(**config))
    except StrictDataclassError as error:
        raise ValueError(str(error)) from error


def _transformers() -> Any:
    """Import `transformers`.

    Raises:
        WeightsError: It is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise WeightsError(
            "HuBERT checkpoints need transformers; install: pip install 'personatalk[hubert]'"
        ) from error
    return transformers


def receptive_field(config: HubertSizes | HubertConfig) -> int:
    """Return the number of samples under one feature of the convolutions; 400 for HuBERT as published."""
    field, step = 1, 1
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        field += (kernel - 1) * step
        step *= stride
    return field


def hubert_config(checkpoint: Path | str) -> dict[str, Any]:
    """Read the configuration of a HuBERT checkpoint, a folder or a name on the hub.

    Raises:
        WeightsError: There is no such checkpoint, or it is no HuBERT.
    """
    transformers = _transformers()
    try:
        values, _ = transformers.HubertConfig.get_config_dict(str(checkpoint))
    except (OSError, ValueError) as error:
        raise WeightsError(_unloadable(checkpoint, error)) from error
    if values.get("model_type") != "hubert":
        raise WeightsError(
            f"{checkpoint}: no HuBERT checkpoint, but one of {values.get('model_type') or 'nothing known'}"
        )
    return dict(transformers.HubertConfig.from_dict(values).to_diff_dict())


def load_hubert(encoder: AudioEncoder, checkpoint: Path | str) -> None:
    """Put the weights of a HuBERT checkpoint, a folder or a name on the hub, into an encoder of its configuration.

    Raises:
        WeightsError: There is no such checkpoint, it is no HuBERT or damaged, or its sizes are not the encoder's.
    """
    transformers = _transformers()
    hidden = hubert_config(checkpoint).get("hidden_size", transformers.HubertConfig().hidden_size)
    if 2 * hidden != encoder.to_frames.in_features:
        raise WeightsError(
            f"{checkpoint}: features of size {hidden}, but {encoder.to_frames.in_features // 2} are wanted;"
            " train stage 1 with this encoder first"
        )
    try:
        hubert, found = transformers.HubertModel.from_pretrained(str(checkpoint), output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(_unloadable(checkpoint, error)) from error
    # The embedding of masked input is only used in pretraining; some checkpoints leave it out.
    missing = set(found["missing_keys"]) - {"masked_spec_embed"}
    if missing or found["mismatched_keys"]:
        raise WeightsError(f"{checkpoint}: tensors are missing or of another size: {sorted(missing)[:3]}")
    encoder.hubert = hubert


def _unloadable(checkpoint: Path | str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return f"{checkpoint}: no HuBERT checkpoint can be loaded from there ({reason})"
