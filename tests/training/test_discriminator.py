"""The networks that judge images in stage 2's training."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from helpers.synthetic import smooth_picture

from personatalk.stage2.geometry_map import NUM_CHANNELS
from personatalk.training.discriminator import Discriminator, feature_matching_loss, hinge_loss
from personatalk.training.perceptual import PerceptualFeatures, perceptual_distance


def test_the_discriminator_sees_picture_and_geometry() -> None:
    torch.manual_seed(0)
    judge = Discriminator(8).eval()
    pictures, geometry = torch.rand(2, 3, 64, 64), torch.rand(2, NUM_CHANNELS, 64, 64)
    found = judge(pictures, geometry)
    assert found[-1].shape == (2, 1, 4, 4)
    assert not torch.equal(judge(pictures, geometry.flip(0))[-1], found[-1])
    assert float(feature_matching_loss(found[:-1], found[:-1]).detach()) == 0
    assert float(hinge_loss(torch.ones(3), -torch.ones(3))) == 0
    assert float(hinge_loss(-torch.ones(3), torch.ones(3))) == 4


@pytest.mark.slow
def test_the_perceptual_distance_grows_with_what_is_lost() -> None:
    features = PerceptualFeatures().train()
    picture = smooth_picture(96, 128, 3)
    picture[40:50, 30:90] = (250, 250, 240)

    def seen(image: np.ndarray) -> list[torch.Tensor]:
        return features(torch.from_numpy(image.transpose(2, 0, 1).copy()).float()[None] / 255)

    real = seen(picture)
    assert [f.shape[-1] for f in real] == [64, 64, 32, 16, 8]
    distances = [float(perceptual_distance(real, seen(cv2.GaussianBlur(picture, (0, 0), w)))) for w in (0.5, 1.5, 4)]
    assert float(perceptual_distance(real, real)) == 0
    assert 0 < distances[0] < distances[1] < distances[2]
    assert not any(p.requires_grad for p in features.parameters())
