"""TorchScript stand-ins for the networks of FID and FVD."""

from __future__ import annotations

import torch
from torch import nn


class Pooled(nn.Module):
    def forward(self, images: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return images.float().mean(dim=(2, 3))


class Filmed(nn.Module):
    def forward(
        self, clip: torch.Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False
    ) -> torch.Tensor:
        return clip.mean(dim=(2, 3, 4))
