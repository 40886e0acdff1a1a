"""Audio encoder of stage 1: a pretrained backbone, a learnt mix of its layers, and the way to the video's clock.

The paper takes HuBERT; the default here is the lower half of Whisper's encoder, which heard far more speech, in 99
languages, and whose middle layers tell much better what the mouth does (docs/method.md). The backbone stays as it is.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from ..errors import WeightsError
from .backbone import Backbone
from .ears import PACKAGED_BACKBONE
from .hubert import HubertEncoder, import_transformers
from .whisper import WhisperEncoder

# Features on either side of a frame's time that the frame is made from: 0.1 s.
CONTEXT_FEATURES = 5
# Feature size of the package's backbone and number of states.
PACKAGED_SIZES = (512, 5)
# Kinds of other backbones.
KINDS = ("whisper", "hubert")


class AudioEncoder(nn.Module):
    """Backbone, learnt mix of all of its states, and a convolution to the frame rate of the video.

    Beside them comes what a linear map tells that is found in closed form before the training (`set_linear_map`), from
    a mix of its own that stays as it is.

    Args:
        dim: Size D of the features that come out.
        mapped: Number E of what the linear map tells.
        backbone: `PACKAGED_BACKBONE` for the one of the package, whose weights are not kept again; or a configuration
            of another, {"kind": "whisper" or "hubert", ...}, whose weights are part of this network.

    Raises:
        ValueError: There is no such backbone.
    """

    def __init__(self, dim: int, mapped: int, backbone: str | dict[str, Any] = PACKAGED_BACKBONE) -> None:
        super().__init__()
        self.dim = dim
        self.own = None if backbone == PACKAGED_BACKBONE else build_backbone(backbone)
        width, states = PACKAGED_SIZES if self.own is None else (self.own.width, self.own.num_states)
        self.mix = nn.Parameter(torch.zeros(states))
        self.to_frames = nn.Conv1d(width, dim, 2 * CONTEXT_FEATURES, stride=2)
        self.first_mix: torch.Tensor
        self.register_buffer("first_mix", torch.zeros(states))
        self.linear_map = nn.Conv1d(width, mapped, 2 * CONTEXT_FEATURES, stride=2, bias=False).requires_grad_(False)

    @property
    def backbone(self) -> Backbone:
        """The pretrained network."""
        backbone: Backbone = packaged_backbone(self.mix.device) if self.own is None else self.own
        return backbone

    @torch.no_grad()
    def states(self, samples: torch.Tensor, position: int = 0) -> torch.Tensor:
        """Return the backbone's hidden states; see `backbone.Backbone`. No gradient flows into it."""
        return self.backbone(samples, position)

    def features(self, states: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Mix states and bring them to 25 a second: (B, S, F, C) to (B, F // 2, D + E), those of the linear map last.

        Frame j stands for time j / 25.

        Args:
            states: Of the backbone.
            mask: Factors on the mixed features, (B, F, C); not for the linear map.
        """
        mixed = self.mixed(states, self.mix)
        frames = self._to_clock(self.to_frames, mixed if mask is None else mixed * mask)
        return torch.cat([frames, self._to_clock(self.linear_map, self.mixed(states, self.first_mix))], dim=2)

    @staticmethod
    def mixed(states: torch.Tensor, mix: torch.Tensor) -> torch.Tensor:
        """Return the mix of normalised states by log-weights (S,): (B, S, F, C) to (B, F, C)."""
        normed = nn.functional.layer_norm(states, (int(states.shape[-1]),))
        return torch.einsum("s,bsfc->bfc", mix.softmax(dim=0), normed)

    @staticmethod
    def _to_clock(convolution: nn.Conv1d, mixed: torch.Tensor) -> torch.Tensor:
        edges = nn.functional.pad(mixed.transpose(1, 2), (CONTEXT_FEATURES, CONTEXT_FEATURES - 1))
        frames: torch.Tensor = convolution(edges[:, :, : 2 * (mixed.shape[1] // 2) + 2 * CONTEXT_FEATURES - 1])
        return frames.transpose(1, 2)

    def set_linear_map(self, weights: torch.Tensor) -> None:
        """Set the linear map of the first mix's features around a frame: (2 `CONTEXT_FEATURES` C, E), times first."""
        shape = self.linear_map.weight.shape
        self.linear_map.weight.copy_(weights.T.reshape(shape[0], shape[2], shape[1]).transpose(1, 2))

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return features at the video's clock: 16 kHz (B, N) to (B, N // 640, D + E); see `features`."""
        return self.features(self.states(samples))


def build_backbone(config: str | dict[str, Any]) -> Any:
    """Build a backbone of a configuration, without its weights.

    Raises:
        ValueError: The configuration names no kind that is known.
    """
    if isinstance(config, dict):
        sizes = {name: value for name, value in config.items() if name != "kind"}
        if config.get("kind") == "whisper":
            return WhisperEncoder(**sizes)
        if config.get("kind") == "hubert":
            return HubertEncoder(sizes)
    raise ValueError(
        f"no audio encoder is known as {config!r}; use {PACKAGED_BACKBONE!r}, or one of kind whisper or hubert"
    )


@functools.cache
def packaged_backbone(device: torch.device) -> WhisperEncoder:
    """Return the backbone of the package on a device, read once and shared."""
    return WhisperEncoder.load().requires_grad_(False).to(device)


def load_backbone(checkpoint: Path | str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read a HuBERT or Whisper checkpoint in the format of `transformers`.

    Args:
        checkpoint: A folder, or a name on the hub, such as "openai/whisper-small" or "facebook/hubert-base-ls960".

    Returns:
        The configuration for `AudioEncoder`, and the weights for its own backbone.

    Raises:
        WeightsError: There is no such checkpoint, it is of another kind, or damaged; or `transformers` is missing.
    """
    transformers = import_transformers()
    try:
        values = transformers.AutoConfig.from_pretrained(str(checkpoint))
        if values.model_type not in KINDS:
            raise WeightsError(f"{checkpoint}: no HuBERT or Whisper checkpoint, but one of {values.model_type}")
        network, found = transformers.AutoModel.from_pretrained(str(checkpoint), output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{checkpoint}: no checkpoint can be loaded from there ({reason})") from error
    # The embedding of masked input is only used in pretraining; some checkpoints leave it out.
    missing = set(found["missing_keys"]) - {"masked_spec_embed"}
    if missing or found["mismatched_keys"]:
        raise WeightsError(f"{checkpoint}: tensors are missing or of another size: {sorted(missing)[:3]}")
    if values.model_type == "hubert":
        state = {f"hubert.{name}": tensor for name, tensor in network.state_dict().items()}
        return {"kind": "hubert", **values.to_diff_dict()}, state
    sizes = {"width": values.d_model, "heads": values.encoder_attention_heads, "layers": values.encoder_layers}
    return {"kind": "whisper", **sizes}, whisper_state(network.encoder.state_dict(), values.encoder_layers)


def whisper_state(encoder: dict[str, torch.Tensor], layers: int) -> dict[str, torch.Tensor]:
    """Translate the weights of `transformers`' Whisper encoder to those of `WhisperEncoder`."""
    names = {
        "attention_norm": "self_attn_layer_norm",
        "norm": "final_layer_norm",
        "out": "self_attn.out_proj",
        "up": "fc1",
        "down": "fc2",
    }
    state = {f"{c}.{kind}": encoder[f"{c}.{kind}"] for c in ("conv1", "conv2") for kind in ("weight", "bias")}
    for layer in range(layers):
        prefix = f"layers.{layer}."
        for ours, theirs in names.items():
            for kind in ("weight", "bias"):
                state[f"{prefix}{ours}.{kind}"] = encoder[f"{prefix}{theirs}.{kind}"]
        parts = [f"{prefix}self_attn.{part}_proj" for part in ("q", "k", "v")]
        state[f"{prefix}query_key_value.weight"] = torch.cat([encoder[f"{part}.weight"] for part in parts])
        # Whisper's keys have no bias.
        biases = [encoder.get(f"{part}.bias", torch.zeros_like(encoder[f"{parts[0]}.bias"])) for part in parts]
        state[f"{prefix}query_key_value.bias"] = torch.cat(biases)
    return state
