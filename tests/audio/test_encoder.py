"""The audio encoder's clock, its mix of states, and checkpoints from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.synthetic import speech_like
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, HubertConfig, HubertModel, WhisperConfig, WhisperModel

from personatalk.audio.encoder import AudioEncoder, load_backbone
from personatalk.audio.rates import FPS, SAMPLE_RATE
from personatalk.errors import WeightsError
from personatalk.utils.arrays import Array

PER_FRAME = SAMPLE_RATE // FPS
TINY: dict[str, Any] = {"kind": "whisper", "width": 16, "heads": 2, "layers": 2}
TINY_HUBERT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
TINY_WHISPER: dict[str, Any] = {
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 16,
    "vocab_size": 50,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}


@pytest.fixture(scope="module", params=["whisper", "hubert"])
def encoder(request: pytest.FixtureRequest) -> AudioEncoder:
    torch.manual_seed(0)
    return AudioEncoder(20, 4, TINY if request.param == "whisper" else {"kind": "hubert", **TINY_HUBERT}).eval()


@torch.inference_mode()
def encode(encoder: AudioEncoder, samples: Array) -> Array:
    return encoder(torch.from_numpy(samples.astype(np.float32))[None])[0].numpy()


@pytest.mark.parametrize("frames", [2, 7, 50])
def test_one_feature_for_every_frame(encoder: AudioEncoder, frames: int) -> None:
    samples = torch.zeros(2, frames * PER_FRAME)
    with torch.inference_mode():
        assert encoder(samples).shape == (2, frames, 24)
        assert encoder.states(samples).shape[:3] == (2, 3, 2 * frames)


@pytest.mark.parametrize("rest", [1, 319, 320, 639])
def test_a_frame_that_is_not_whole_does_not_count(encoder: AudioEncoder, rest: int) -> None:
    assert len(encode(encoder, np.zeros(10 * PER_FRAME + rest, np.float32))) == 10


def test_a_click_is_heard_around_its_frame() -> None:
    encoder = AudioEncoder(20, 4, {**TINY, "layers": 0}).eval()  # transformer layers hear everything everywhere
    room = speech_like(60 / FPS, level=0.02)
    quiet = encode(encoder, room)
    for frame in (20, 33, 41):
        clicked = room.copy()
        clicked[frame * PER_FRAME - 20 : frame * PER_FRAME + 20] += np.sin(np.arange(40))
        change = np.linalg.norm(encode(encoder, clicked) - quiet, axis=1)
        centre = float(change @ np.arange(len(change)) / change.sum())
        assert centre == pytest.approx(frame, abs=0.6)


def test_the_linear_map_is_that_of_the_features_around_a_frame_whatever_the_mix_learns() -> None:
    encoder = AudioEncoder(20, 4, TINY).eval()
    states, weights = torch.randn(1, 3, 40, 16), torch.randn(10 * 16, 4)
    encoder.first_mix.copy_(torch.tensor([0.0, 50.0, 0.0]))
    with torch.inference_mode():
        encoder.set_linear_map(weights)
        encoder.mix.copy_(torch.tensor([50.0, 0.0, 0.0]))
        got = encoder.features(states)[0, :, 20:]
    around = torch.nn.functional.layer_norm(states[0, 1], (16,))[2 * 7 - 5 : 2 * 7 + 5]
    torch.testing.assert_close(got[7], around.flatten() @ weights)


def test_all_states_are_mixed_by_learnt_shares() -> None:
    encoder = AudioEncoder(20, 4, TINY).eval()
    states = torch.randn(1, 3, 20, 16)
    with torch.inference_mode():
        even = encoder.features(states)
        encoder.mix.copy_(torch.tensor([0.0, 50.0, 0.0]))
        one = encoder.features(states)
        states[:, [0, 2]] = 7
        torch.testing.assert_close(encoder.features(states)[..., :20], one[..., :20])
    assert not torch.allclose(even, one)


def test_a_mask_silences_features() -> None:
    encoder = AudioEncoder(20, 4, TINY).eval()
    states = torch.randn(1, 3, 20, 16)
    nothing = encoder.features(states, torch.zeros(1, 20, 16))
    torch.testing.assert_close(nothing[..., :20], encoder.to_frames.bias.expand(1, 10, 20))
    assert nothing[..., 20:].abs().max() > 0, "the linear map hears all the same"


def test_the_packages_backbone_is_not_kept_again() -> None:
    encoder = AudioEncoder(20, 4)
    assert {name.split(".")[0] for name in encoder.state_dict()} == {"mix", "first_mix", "to_frames", "linear_map"}
    assert encoder.backbone is AudioEncoder(8, 4).backbone
    with torch.inference_mode():
        assert encoder(torch.zeros(1, 4 * PER_FRAME)).shape == (1, 4, 24)


@pytest.mark.parametrize("config", ["whisper-huge", {"kind": "wav2vec2"}, {"width": 16}])
def test_an_unknown_backbone_is_named(config: Any) -> None:
    with pytest.raises(ValueError, match="no audio encoder is known"):
        AudioEncoder(20, 4, config)


def test_a_hubert_checkpoint_drops_in(tmp_path: Path) -> None:
    original = HubertModel(HubertConfig(**TINY_HUBERT)).eval()
    original.save_pretrained(tmp_path)
    config, weights = load_backbone(tmp_path)
    encoder = AudioEncoder(20, 4, config).eval()
    assert encoder.own is not None
    encoder.own.load_state_dict(weights)
    samples = torch.from_numpy(speech_like(1))[None]
    with torch.inference_mode():
        wanted = original(torch.nn.functional.pad(samples, (40, 40)), output_hidden_states=True).hidden_states
        torch.testing.assert_close(encoder.states(samples), torch.stack(wanted, dim=1))


def test_a_whisper_checkpoint_drops_in(tmp_path: Path) -> None:
    original = WhisperModel(WhisperConfig(**TINY_WHISPER)).eval()
    original.save_pretrained(tmp_path)
    config, weights = load_backbone(tmp_path)
    encoder = AudioEncoder(20, 4, config).eval()
    assert encoder.own is not None
    encoder.own.load_state_dict(weights)
    assert encoder.own.num_states == 3 and encoder.own.width == 16
    for name, parameter in encoder.own.named_parameters():
        assert name in weights, f"{name} would stay random"
        assert weights[name].shape == parameter.shape


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nowhere: no checkpoint can be loaded"):
        load_backbone(tmp_path / "nowhere")
    tiny = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(**tiny, vocab_size=10)).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="but one of bert"):
        load_backbone(tmp_path)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    HubertModel(HubertConfig(**TINY_HUBERT)).save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    del tensors["encoder.layers.0.attention.k_proj.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="tensors are missing"):
        load_backbone(tmp_path)
    path.write_bytes(b"junk")
    with pytest.raises(WeightsError, match="no checkpoint can be loaded"):
        load_backbone(tmp_path)
