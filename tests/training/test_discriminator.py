"""Networks that judge images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from personatalk.errors import WeightsError
from personatalk.training.discriminator import Discriminator, VggFeatures, feature_matching_loss, hinge_loss


def test_the_discriminator_sees_picture_and_geometry() -> None:
    torch.manual_seed(0)
    judge = Discriminator(8).eval()
    pictures, pncc = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    found = judge(pictures, pncc)
    assert found[-1].shape == (2, 1, 4, 4)
    assert not torch.equal(judge(pictures, pncc.flip(0))[-1], found[-1])
    assert float(feature_matching_loss(found[:-1], found[:-1]).detach()) == 0
    assert float(hinge_loss(torch.ones(3), -torch.ones(3))) == 0
    assert float(hinge_loss(-torch.ones(3), torch.ones(3))) == 4


def test_vgg16_is_read_from_torchvisions_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = VggFeatures()
    # torchvision's numbering: the last convolution that is used is features.21.
    assert network.features[21].out_channels == 512 and sum(p.numel() for p in network.parameters()) == 7635264
    state = {**network.state_dict(), "classifier.0.weight": torch.zeros(3)}
    torch.save(state, tmp_path / "vgg16.pth")
    read_back = VggFeatures.vgg16(tmp_path / "vgg16.pth")
    picture = torch.rand(1, 3, 64, 64)
    found = read_back(picture)
    assert [f.shape[1] for f in found] == [64, 128, 256, 512]
    for got, wanted in zip(found, network(picture), strict=True):
        torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(found[1].norm(dim=1), torch.ones(1, 32, 32))
    for content in ({"features.0.weight": torch.zeros(1)}, None):
        if content is None:
            (tmp_path / "vgg16.pth").write_bytes(b"none")
        else:
            torch.save(content, tmp_path / "vgg16.pth")
        with pytest.raises(WeightsError, match="VGG-16"):
            VggFeatures.vgg16(tmp_path / "vgg16.pth")
