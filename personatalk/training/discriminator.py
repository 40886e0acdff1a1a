"""Networks that judge images in stage 2's training: a patch discriminator and a feature network."""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ..errors import WeightsError
from ..utils import serialization


class Discriminator(nn.Module):
    """Patch discriminator with spectral norm (Isola et al. 2017, Miyato et al. 2018).

    It sees the image together with its PNCC map, so that it also tells a mouth that does not fit its geometry.

    Args:
        width: Channels of the first layer.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        sizes = (6, width, 2 * width, 4 * width, 4 * width)
        self.layers = nn.ModuleList(spectral_norm(nn.Conv2d(a, b, 4, stride=2, padding=1)) for a, b in pairwise(sizes))
        self.last = spectral_norm(nn.Conv2d(sizes[-1], 1, 3, padding=1))

    def forward(self, images: torch.Tensor, pncc: torch.Tensor) -> list[torch.Tensor]:
        """Return every layer's features and, last, the scores (B, 1, S/16, S/16) of images (B, 3, S, S) in 0..1."""
        x = torch.cat([images - 0.5, pncc - 0.5], dim=1)
        found = []
        for layer in self.layers:
            x = nn.functional.leaky_relu(layer(x), 0.2)
            found.append(x)
        return [*found, self.last(x)]


def hinge_loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Return the hinge loss of a discriminator's scores."""
    return nn.functional.relu(1 - real).mean() + nn.functional.relu(1 + fake).mean()


def feature_matching_loss(real: list[torch.Tensor], fake: list[torch.Tensor]) -> torch.Tensor:
    """Return the mean L1 between the features of all layers; no gradient into `real`."""
    pairs = zip(real, fake, strict=True)
    return torch.stack([nn.functional.l1_loss(f, r.detach()) for r, f in pairs]).mean()


# Our own network's channels, in the same notation.
SMALL = (16, 16, 0, 32, 32, 0, 64, 64, 0, 96, 96)
# Channels of VGG-16's convolutions up to conv4_3; 0 is a pooling.
VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512)


class VggFeatures(serialization.PackagedModule):
    """Features of a network of VGG's kind before every pooling, as a perceptual loss takes them.

    Args:
        plan: Channels of the 3 x 3 convolutions in order; 0 is a pooling.
    """

    KIND, VERSION = "feature-network", 1

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, plan: tuple[int, ...] = VGG16) -> None:
        super().__init__()
        self.config = {"plan": list(plan)}
        layers: list[nn.Module] = []
        channels = 3
        for size in plan:
            if size:
                layers += [nn.Conv2d(channels, size, 3, padding=1), nn.ReLU()]
                channels = size
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225])[:, None, None], persistent=False)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return features of images (B, 3, S, S) in 0..1, of unit length over the channels, from fine to coarse."""
        x, found = (images - self.mean) / self.deviation, []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                found.append(nn.functional.normalize(x, dim=1, eps=1e-6))
            x = layer(x)
        return [*found, nn.functional.normalize(x, dim=1, eps=1e-6)]

    @classmethod
    def read(cls, path: Path) -> VggFeatures:
        """Read a network of ours, or torchvision's VGG-16, whichever the file holds.

        Raises:
            WeightsError: It is neither.
        """
        try:
            return cls.load(path).requires_grad_(False)
        except WeightsError:
            return cls.vgg16(path)

    @classmethod
    def vgg16(cls, path: Path) -> VggFeatures:
        """Load Load VGG-16 from torchvision's weights, `.pth` or `.safetensors`; its classifier is left out.

        Raises:
            WeightsError: The file is missing, damaged or something else.
        """
        try:
            safe = path.suffix == ".safetensors"
            state = load_file(path) if safe else torch.load(path, weights_only=True, map_location="cpu")
        except (OSError, RuntimeError, SafetensorError, pickle.UnpicklingError, EOFError) as error:
            raise WeightsError(f"{path}: no readable weights of VGG-16 ({error})") from error
        network = cls()
        wanted = network.state_dict()
        found = {name: state[name] for name in wanted if name in state}
        try:
            network.load_state_dict(found)
        except RuntimeError as error:
            raise WeightsError(f"{path}: not torchvision's VGG-16 ({' '.join(str(error).split())[:200]})") from error
        return network.eval().requires_grad_(False)
