"""The audio encoder's clock, loudness, and HuBERT checkpoints from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.synthetic import speech_like
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, HubertConfig, HubertModel

from personatalk.audio.encoder import FPS, SAMPLE_RATE, SMALL_HUBERT, STRIDE, AudioEncoder, hubert_config, load_hubert
from personatalk.audio.hubert import Hubert
from personatalk.errors import WeightsError

PER_FRAME = SAMPLE_RATE // FPS

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "conv_bias": True,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


@pytest.fixture(scope="module")
def encoder() -> AudioEncoder:
    torch.manual_seed(0)
    return AudioEncoder(24, TINY).eval()


@torch.inference_mode()
def heard(encoder: AudioEncoder, samples: np.ndarray) -> np.ndarray:
    return encoder(torch.from_numpy(samples.astype(np.float32))[None])[0].numpy()


@pytest.mark.parametrize("frames", [1, 2, 7, 50])
def test_one_feature_for_every_frame(encoder: AudioEncoder, frames: int) -> None:
    samples = torch.zeros(2, frames * PER_FRAME)
    with torch.inference_mode():
        assert encoder(samples).shape == (2, frames, 24)
        assert encoder.convolve(samples).shape == (2, 2 * frames, TINY["conv_dim"][-1])


@pytest.mark.parametrize("rest", [1, 319, 320, 639])
def test_a_frame_that_is_not_whole_does_not_count(encoder: AudioEncoder, rest: int) -> None:
    assert len(heard(encoder, np.zeros(10 * PER_FRAME + rest))) == 10


def clicked(sound: np.ndarray, middle: int) -> np.ndarray:
    sound = sound.copy()
    sound[middle - 20 : middle + 20] += np.sin(np.arange(40))
    return sound


def test_a_click_is_heard_in_its_frame(encoder: AudioEncoder) -> None:
    room = speech_like(60 / FPS, level=0.02)
    quiet = heard(encoder, room)
    for frame in (20, 33, 41):
        # Frame j stands for time j / 25.
        change = np.linalg.norm(heard(encoder, clicked(room, frame * PER_FRAME)) - quiet, axis=1)
        assert change.argmax() == frame
        assert change[frame] > 3 * np.median(change)


def test_the_convolutions_lie_around_their_samples(encoder: AudioEncoder) -> None:
    room = speech_like(60 / FPS, level=0.02)
    for k in (30, 61):
        pair = np.stack([room, clicked(room, k * STRIDE + STRIDE // 2)])
        with torch.inference_mode():
            a, b = encoder.convolve(torch.from_numpy(pair))
        assert int((a - b).norm(dim=1).argmax()) == k


def test_stored_convolutions_give_the_same(encoder: AudioEncoder) -> None:
    sound = torch.from_numpy(speech_like(1))[None]
    with torch.inference_mode():
        torch.testing.assert_close(encoder.encode_context(encoder.convolve(sound)), encoder(sound))


@pytest.mark.parametrize("frames", [1, 5])
def test_a_shift_of_the_sound_shifts_the_features(encoder: AudioEncoder, frames: int) -> None:
    sound = np.zeros(120 * PER_FRAME, np.float32)
    speech = speech_like(1.2)
    sound[40 * PER_FRAME :][: len(speech)] = speech
    later = np.roll(sound, frames * PER_FRAME)
    a, b = heard(encoder, sound), heard(encoder, later)
    inner = slice(20, 95)
    np.testing.assert_allclose(b[inner.start + frames : inner.stop + frames], a[inner], atol=1e-4)
    assert np.abs(b[inner] - a[inner]).max() > 0.01, "the features do not change in time: the test is void"


def test_a_batch_is_heard_row_by_row(encoder: AudioEncoder) -> None:
    rows = np.stack([speech_like(0.8, seed) for seed in range(3)])
    with torch.inference_mode():
        together = encoder(torch.from_numpy(rows)).numpy()
    for row, wanted in zip(rows, together, strict=True):
        np.testing.assert_allclose(heard(encoder, row), wanted, atol=1e-5)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("hubert")
    HubertModel(HubertConfig(**TINY)).save_pretrained(folder)
    return folder


def test_a_checkpoint_of_transformers_drops_in(checkpoint: Path) -> None:
    config = hubert_config(checkpoint)
    torch.manual_seed(2)
    encoder = AudioEncoder(24, config).eval()
    load_hubert(encoder, checkpoint)
    samples = torch.from_numpy(speech_like(0.6))[None]
    original = HubertModel.from_pretrained(checkpoint).eval()
    with torch.inference_mode():
        features = original(torch.nn.functional.pad(samples, (40, 40))).last_hidden_state
        # Frame j lies between the features 2 j - 1 and 2 j.
        wanted = encoder.to_frames(torch.cat([features[:, 1:-1:2], features[:, 2::2]], dim=-1))
        torch.testing.assert_close(encoder(samples)[:, 1:], wanted)
    # The configuration alone rebuilds the same network, as a weights file has to.
    again = AudioEncoder(24, config).eval()
    again.load_state_dict(encoder.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(again(samples), encoder(samples))


def test_a_checkpoint_of_another_size_is_refused(checkpoint: Path) -> None:
    encoder = AudioEncoder(24, {**TINY, "hidden_size": 64})
    with pytest.raises(WeightsError, match=r"size 32, but 64 are wanted") as caught:
        load_hubert(encoder, checkpoint)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing", "empty", "garbage"])
def test_no_checkpoint(encoder: AudioEncoder, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage" / "config.json").write_text("{ this is no JSON")
    (tmp_path / "garbage" / "model.safetensors").write_bytes(b"nothing")
    for attempt in (lambda: hubert_config(tmp_path / name), lambda: load_hubert(encoder, tmp_path / name)):
        with pytest.raises(WeightsError, match="no HuBERT checkpoint") as caught:
            attempt()
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["garbage", "truncated", "missing"])
def test_a_damaged_checkpoint_is_refused(checkpoint: Path, tmp_path: Path, damage: str) -> None:
    for file in checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = tmp_path / "model.safetensors"
    if damage == "garbage":
        path.write_bytes(b"no weights at all" * 99)
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    else:
        tensors = load_file(path)
        tensors.pop("encoder.layers.1.attention.k_proj.weight")
        save_file(tensors, path, metadata={"format": "pt"})
    encoder = AudioEncoder(24, TINY)
    with pytest.raises(WeightsError) as caught:
        load_hubert(encoder, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    BertModel(BertConfig(**sizes, vocab_size=50)).save_pretrained(tmp_path)
    with pytest.raises(WeightsError):
        hubert_config(tmp_path)
    with pytest.raises(WeightsError):
        load_hubert(AudioEncoder(24, TINY), tmp_path)


def test_our_own_network_is_hubert() -> None:
    """Same names, same numbers, with gradients too, as `transformers` has it."""
    torch.manual_seed(0)
    own = AudioEncoder(24, SMALL_HUBERT)
    assert isinstance(own.hubert, Hubert)
    plain = HubertModel(HubertConfig(**SMALL_HUBERT))
    plain.load_state_dict(own.hubert.state_dict())
    sound = 0.1 * torch.randn(2, 32000)
    for network in (own.hubert.eval(), plain.eval()):
        network.zero_grad()
    found = own.hubert.encoder(own.hubert.feature_projection(own.hubert.feature_extractor(sound).transpose(1, 2)))[0]
    wanted = plain(sound).last_hidden_state
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    found.square().sum().backward()
    wanted.square().sum().backward()
    theirs = dict(plain.named_parameters())
    for name, parameter in own.hubert.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-2, atol=1e-3)


def test_other_layouts_are_left_to_transformers() -> None:
    for more in ({"feat_extract_norm": "group"}, {"do_stable_layer_norm": False}, {"hidden_act": "relu"}):
        assert isinstance(AudioEncoder(24, {**SMALL_HUBERT, **more}).hubert, HubertModel)


def test_sizes_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        AudioEncoder(24, {**SMALL_HUBERT, "conv_stride": [160, 2]})
    with pytest.raises(ValueError, match="heads"):
        AudioEncoder(24, {**SMALL_HUBERT, "num_attention_heads": 5})
