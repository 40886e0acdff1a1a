"""ResNet-50 (He et al. 2016) with the strides in the 3 x 3 convolutions and the usual names of its parts.

The package has its own since torchvision would have to match the build of PyTorch.
"""

from __future__ import annotations

import torch
from torch import nn


class ResNet50(nn.Module):
    """ResNet-50 without its classifier; its state's names are those of torchvision."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(64, 64, blocks=3, stride=1)
        self.layer2 = _stage(256, 128, blocks=4, stride=2)
        self.layer3 = _stage(512, 256, blocks=6, stride=2)
        self.layer4 = _stage(1024, 512, blocks=3, stride=2)

    def stages(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the features after each of the four stages.

        Args:
            images: (B, 3, H, W).

        Returns:
            (B, 256, H / 4, W / 4), (B, 512, H / 8, W / 8), (B, 1024, H / 16, W / 16) and (B, 2048, H / 32, W / 32).
        """
        x = self.maxpool(torch.relu(self.bn1(self.conv1(images))))
        features = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            features.append(x)
        return features


class Bottleneck(nn.Module):
    """Residual block of a 1 x 1, a 3 x 3 and a widening 1 x 1 convolution.

    Args:
        inputs: Channels of the input.
        width: Channels of the 3 x 3 convolution; the output has four times as many.
        stride: Stride of the 3 x 3 convolution.
    """

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample: nn.Module | None = None
        if inputs != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, 4 * width, 1, stride=stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features (B, inputs, H, W) to (B, 4 x width, H / stride, W / stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


def _stage(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(inputs, width, stride)
    return nn.Sequential(first, *(Bottleneck(4 * width, width, 1) for _ in range(blocks - 1)))
