"""Whisper's encoder against `transformers`, and what its features must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.synthetic import speech_like
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder as TheirEncoder

from personatalk.audio.encoder import whisper_state
from personatalk.audio.spectrum import CEILING, SPAN, log_mel, mel_filters
from personatalk.audio.whisper import POSITIONS, WhisperEncoder, sinusoids


@pytest.mark.slow
def test_the_layers_are_whispers(monkeypatch: pytest.MonkeyPatch) -> None:
    config = WhisperConfig(d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=128)
    theirs = TheirEncoder(config).eval()
    ours = WhisperEncoder(32, 4, 2).eval()
    ours.load_state_dict(whisper_state(theirs.state_dict(), 2))
    torch.testing.assert_close(sinusoids(torch.arange(POSITIONS), 32), theirs.embed_positions.weight, atol=1e-4, rtol=0)
    samples = torch.from_numpy(speech_like(30))[None]
    with torch.inference_mode():
        wanted = theirs(torch.from_numpy(log_mel(samples.numpy())), output_hidden_states=True).hidden_states
        got = ours(samples)
    assert got.shape == (1, 3, POSITIONS, 32)
    torch.testing.assert_close(got[:, 1], wanted[1], atol=1e-4, rtol=1e-4)


def test_the_spectrum_is_whispers_but_for_its_absolute_floor() -> None:
    samples = speech_like(30)
    extractor = WhisperFeatureExtractor()
    np.testing.assert_allclose(mel_filters(), extractor.mel_filters.T, atol=1e-6)
    wanted = extractor(samples, sampling_rate=16000).input_features[0]
    got = log_mel(samples)
    assert got.shape == wanted.shape == (80, 3000)
    above = (wanted > wanted.min() + 1e-3) & (got > got.min() + 1e-3)
    assert above.mean() > 0.3
    np.testing.assert_allclose(got[above], wanted[above], atol=1e-4)


def test_a_loud_sound_elsewhere_does_not_change_the_spectrum() -> None:
    quiet = 0.05 * speech_like(2)
    loud = np.concatenate([quiet, np.sin(np.arange(16000)).astype(np.float32)])
    alone, beside = (log_mel(s) for s in (quiet, loud))
    np.testing.assert_allclose(beside[:, :190], alone[:, :190], atol=1e-5)
    assert float(alone.min()) >= (CEILING - SPAN + 4) / 4 - 1e-5


def test_the_position_is_where_the_recording_is_imagined_to_begin() -> None:
    torch.manual_seed(0)
    network = WhisperEncoder(16, 2, 1).eval()
    samples = torch.from_numpy(speech_like(1))[None]
    with torch.inference_mode():
        first, later = network(samples), network(samples, 700)
    torch.testing.assert_close(first[:, 0], later[:, 0])
    assert not torch.allclose(first[:, 1], later[:, 1])
