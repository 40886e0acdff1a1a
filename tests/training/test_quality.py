"""Quality of pictures without a reference."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.sample_clips import sample_frames

from personatalk.errors import WeightsError
from personatalk.training.data.hyperiqa import HyperIQA
from personatalk.training.data.quality import FEATURES, QualityModel, features, generalised_gaussian


def test_a_gaussian_is_told_from_heavier_tails() -> None:
    random = np.random.default_rng(0)
    shape, low, high = generalised_gaussian(random.standard_normal(200000))
    assert shape == pytest.approx(2, abs=0.05)
    assert low == pytest.approx(high, rel=0.02) == pytest.approx(np.sqrt(2), rel=0.02)
    assert generalised_gaussian(random.laplace(size=200000))[0] == pytest.approx(1, abs=0.05)
    skewed = np.abs(random.standard_normal(100000)) * np.where(random.random(100000) < 0.5, -1, 3)
    _, low, high = generalised_gaussian(skewed)
    assert high / low == pytest.approx(3, rel=0.05)


@pytest.mark.slow
@pytest.mark.real_clips
def test_damage_is_seen(shared: Path) -> None:
    from personatalk.media.reader import VideoReader

    model = QualityModel.load()
    with VideoReader(shared / "clips" / "val" / "mimictalk_German_20s.mp4") as reader:
        frames = [frame.rgb() for frame in reader.frames(0, 8)]
    score = model.score(frames)
    blurred = model.score([cv2.GaussianBlur(f, (0, 0), 3) for f in frames])
    random = np.random.default_rng(0)
    noisy = model.score([np.clip(f + random.normal(0, 25, f.shape), 0, 255).astype(np.uint8) for f in frames])
    coded = [cv2.imdecode(cv2.imencode(".jpg", f, [cv2.IMWRITE_JPEG_QUALITY, 8])[1], 1) for f in frames]
    assert blurred > 1.3 * score
    assert noisy > 1.3 * score
    assert model.score(coded) > 1.1 * score


@pytest.mark.real_clips
def test_the_authors_parameters_can_be_given(shared: Path, tmp_path: Path) -> None:
    model = QualityModel.load(shared / "evaluators" / "niqe_pris_params.npz")
    frames = sample_frames(4)
    assert model.score([cv2.GaussianBlur(f, (0, 0), 3) for f in frames]) > model.score(frames) > 0


@pytest.mark.slow
def test_a_model_comes_back_as_it_was(tmp_path: Path) -> None:
    model = QualityModel.learn(sample_frames(30))
    model.save(tmp_path / "q.safetensors")
    again = QualityModel.load(tmp_path / "q.safetensors")
    np.testing.assert_allclose(again.mean, model.mean, rtol=2e-3, atol=1e-5)
    np.testing.assert_allclose(again.covariance, model.covariance, rtol=2e-3, atol=1e-6)


def test_a_picture_smaller_than_a_patch_is_refused() -> None:
    with pytest.raises(ValueError, match="smaller than a patch"):
        features(np.zeros((95, 200, 3), np.uint8))
    assert features(np.zeros((100, 200, 3), np.uint8)).shape == (2, FEATURES)


@pytest.mark.parametrize("arrays", [{}, {"mu_pris_param": np.zeros(3), "cov_pris_param": np.zeros((3, 3))}])
def test_other_parameters_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "n.npz", **arrays)
    with pytest.raises(WeightsError, match=r"n\.npz"):
        QualityModel.load(tmp_path / "n.npz")


@pytest.mark.slow
def test_hyperiqa_loads_a_file_of_its_format(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made_up = HyperIQA()
    state = made_up.state_dict()
    for name in (
        "res.layer4.2.conv3.weight",
        "res.lda1_pool.0.weight",
        "conv1.4.bias",
        "fc4w_conv.weight",
        "fc5b_fc.bias",
    ):
        assert name in state
    torch.save(state, tmp_path / "koniq.pkl")
    frames = sample_frames(2)
    assert HyperIQA.load(tmp_path / "koniq.pkl").score(frames) == pytest.approx(made_up.eval().score(frames), abs=1e-4)


@pytest.mark.parametrize("content", [b"", b"no weights", None])
def test_other_weights_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "koniq.pkl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"koniq_pretrained\.pkl"):
        HyperIQA.load(path)
