"""The patch discriminator of stage 2's training and its losses."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ..stage2.geometry_map import NUM_CHANNELS


class Discriminator(nn.Module):
    """Patch discriminator with spectral norm (Isola et al. 2017, Miyato et al. 2018).

    It sees the image together with its drawn geometry, so that it also tells a mouth that does not fit its geometry.

    Args:
        width: Channels of the first layer.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        sizes = (3 + NUM_CHANNELS, width, 2 * width, 4 * width, 4 * width)
        self.layers = nn.ModuleList(spectral_norm(nn.Conv2d(a, b, 4, stride=2, padding=1)) for a, b in pairwise(sizes))
        self.last = spectral_norm(nn.Conv2d(sizes[-1], 1, 3, padding=1))

    def forward(self, images: torch.Tensor, geometry: torch.Tensor) -> list[torch.Tensor]:
        """Return every layer's features and, last, the scores (B, 1, S/16, S/16) of images (B, 3, S, S) in 0..1."""
        x = torch.cat([images - 0.5, geometry], dim=1)
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
