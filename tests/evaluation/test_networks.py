"""Published networks: what they are given, and what is said of those that cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from helpers.networks import Filmed, Pooled
from helpers.synthetic import smooth_picture

from personatalk.errors import WeightsError
from personatalk.evaluation.networks import InceptionNetwork, PerceptualNetwork, VideoFeatures, load_script
from personatalk.evaluation.syncnet import SyncNet
from personatalk.faces.recognition import ARCFACE_LANDMARKS, ARCFACE_POINTS, ArcFaceRecogniser
from personatalk.utils.arrays import Array


class FakeSession:
    """An ONNX session that answers with a function of its input."""

    def __init__(self, names: list[str], shape: list[Any], answer: Any) -> None:
        self.names, self.shape, self.answer = names, shape, answer

    def get_inputs(self) -> list[Any]:
        return [type("Entry", (), {"name": n, "shape": self.shape}) for n in self.names]

    def run(self, outputs: None, given: dict[str, Array]) -> list[Array]:
        return [self.answer(*given.values())]


@pytest.mark.parametrize(("name", "low", "high"), [("data", 0, 255), ("input.1", -1, 1)])
def test_arcface_sees_an_aligned_crop_in_its_own_scale(
    monkeypatch: pytest.MonkeyPatch, name: str, low: float, high: float
) -> None:
    seen: list[Array] = []

    def answer(crop: Array) -> Array:
        seen.append(crop)
        return np.array([[3.0, 4.0]], np.float32)

    session = FakeSession([name], ["n", 3, 112, 112], answer)
    monkeypatch.setattr("personatalk.faces.recognition.open_onnx", lambda path, inputs: session)
    image = np.zeros((300, 300, 3), np.uint8)
    landmarks = np.zeros((478, 2), np.float32)
    landmarks[list(ARCFACE_LANDMARKS)] = 2 * ARCFACE_POINTS + 20
    centre = (2 * ARCFACE_POINTS[2] + 20).astype(int)
    cv2.circle(image, (int(centre[0]), int(centre[1])), 6, (255, 128, 0), -1)
    np.testing.assert_allclose(ArcFaceRecogniser("x").embed(image, landmarks), [0.6, 0.8])
    crop = seen[-1][0]
    assert crop.shape == (3, 112, 112)
    y, x = ARCFACE_POINTS[2][::-1].astype(int)
    # Red first, the nose where ArcFace wants it, black at the foot of the scale.
    np.testing.assert_allclose(crop[:, y, x], [high, low + (high - low) * 128 / 255, low], atol=0.02 * (high - low))
    assert crop.min() == low


def test_lpips_sees_both_images_between_minus_one_and_one(monkeypatch: pytest.MonkeyPatch) -> None:
    session = FakeSession(["a", "b"], ["n", 3, "h", "w"], lambda a, b: np.abs(a - b).mean(keepdims=True))
    monkeypatch.setattr("personatalk.evaluation.networks.open_onnx", lambda path, inputs: session)
    black, white = np.zeros((50, 40, 3), np.uint8), np.full((50, 40, 3), 255, np.uint8)
    assert PerceptualNetwork("x").distance(black, white) == pytest.approx(2)
    assert PerceptualNetwork("x").distance(white, white) == 0


def test_torchscript_networks_are_asked_in_their_convention(tmp_path: Path) -> None:
    torch.jit.script(Pooled()).save(str(tmp_path / "inception.pt"))
    torch.jit.script(Filmed()).save(str(tmp_path / "i3d.pt"))
    red = np.zeros((40, 30, 3), np.uint8)
    red[..., 0] = 200
    np.testing.assert_allclose(InceptionNetwork(tmp_path / "inception.pt").features([red]), [[200, 0, 0]])
    got = VideoFeatures(tmp_path / "i3d.pt").features([red] * VideoFeatures.FRAMES)
    np.testing.assert_allclose(got, [[200 / 127.5 - 1, -1, -1]], rtol=1e-5)


@pytest.mark.parametrize("load", [ArcFaceRecogniser, PerceptualNetwork, load_script, SyncNet.load])
def test_a_missing_or_damaged_network_is_named(tmp_path: Path, load: Any) -> None:
    with pytest.raises(WeightsError, match=r"gone\.bin: no such"):
        load(tmp_path / "gone.bin")
    (tmp_path / "bad.bin").write_bytes(b"not a network at all")
    with pytest.raises(WeightsError, match=r"bad\.bin: "):
        load(tmp_path / "bad.bin")


@pytest.mark.real_clips
def test_real_networks_where_they_are(shared: Path) -> None:
    image = smooth_picture(256, 256, 4)
    lpips = PerceptualNetwork(shared / "evaluators" / "lpips_squeeze.onnx")
    assert lpips.distance(image, image) == pytest.approx(0, abs=1e-5)
    assert lpips.distance(image, 255 - image) > 0.1
    with pytest.raises(WeightsError, match="2 are wanted"):
        PerceptualNetwork(shared / "evaluators" / "mobilefacenet_arcface_112.onnx")
    identity = ArcFaceRecogniser(shared / "evaluators" / "mobilefacenet_arcface_112.onnx")
    assert identity.inside
