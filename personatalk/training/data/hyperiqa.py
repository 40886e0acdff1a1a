"""HyperIQA (Su et al. 2020), the quality network that the paper filters its data with (section 4.1).

The weights are foreign and have to be given: the authors' `koniq_pretrained.pkl`, a state dictionary. The names of the
modules are those of that file.
"""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ...errors import WeightsError

SIZE = 224
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WIDTHS = (224, 112, 56, 28, 14)
"""Inputs of the quality predictor's layers; the last one gives the score."""
HYPER = 112
GRID = 7


class Bottleneck(nn.Module):
    """Residual block of ResNet-50."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride > 1 or inputs != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, 4 * width, 1, stride=stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) to (B, 4 x width, h', w')."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        around = x if self.downsample is None else self.downsample(x)
        return torch.relu(self.bn3(self.conv3(y)) + around)


class Backbone(nn.Module):
    """ResNet-50 with a local vector taken after every stage."""

    def __init__(self, local: int = 16) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs = 64
        for number, (width, blocks) in enumerate(zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True), 1):
            layers = []
            for block in range(blocks):
                layers.append(Bottleneck(inputs, width, 2 if number > 1 and block == 0 else 1))
                inputs = 4 * width
            self.add_module(f"layer{number}", nn.Sequential(*layers))
        for number, (channels, kept, cells) in enumerate(((256, 16, 64), (512, 32, 16), (1024, 64, 4)), 1):
            pool = nn.Sequential(nn.Conv2d(channels, kept, 1, bias=False), nn.AvgPool2d(7, stride=7))
            self.add_module(f"lda{number}_pool", pool)
            self.add_module(f"lda{number}_fc", nn.Linear(kept * cells, local))
        self.lda4_pool, self.lda4_fc = nn.AvgPool2d(7, stride=7), nn.Linear(2048, WIDTHS[0] - 3 * local)

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised pictures (B, 3, 224, 224) to the last stage (B, 2048, 7, 7) and the local vectors (B, 224)."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(pictures))))
        vectors = []
        for number in range(1, 5):
            x = getattr(self, f"layer{number}")(x)
            pooled = getattr(self, f"lda{number}_pool")(x).flatten(1)
            vectors.append(getattr(self, f"lda{number}_fc")(pooled))
        return x, torch.cat(vectors, dim=1)


class HyperIQA(nn.Module):
    """Predicts how good a picture looks: its content decides the weights of the layers that judge its distortions."""

    def __init__(self) -> None:
        super().__init__()
        self.res = Backbone()
        self.conv1 = nn.Sequential(
            *(nn.Conv2d(2048, 1024, 1), nn.ReLU(), nn.Conv2d(1024, 512, 1), nn.ReLU()),
            *(nn.Conv2d(512, HYPER, 1), nn.ReLU()),
        )
        for number, (inputs, outputs) in enumerate(pairwise(WIDTHS), 1):
            self.add_module(f"fc{number}w_conv", nn.Conv2d(HYPER, inputs * outputs // GRID**2, 3, padding=1))
            self.add_module(f"fc{number}b_fc", nn.Linear(HYPER, outputs))
        self.fc5w_fc, self.fc5b_fc = nn.Linear(HYPER, WIDTHS[-1]), nn.Linear(HYPER, 1)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Scores (B,) of normalised pictures (B, 3, 224, 224), about 0 (bad) to 100 (good)."""
        features, x = self.res(pictures)
        content = self.conv1(features)
        mean = content.mean(dim=(2, 3))
        for number, (inputs, outputs) in enumerate(pairwise(WIDTHS), 1):
            weight = getattr(self, f"fc{number}w_conv")(content).reshape(-1, outputs, inputs)
            bias = getattr(self, f"fc{number}b_fc")(mean)
            x = torch.sigmoid(torch.einsum("boi,bi->bo", weight, x) + bias)
        score: torch.Tensor = (self.fc5w_fc(mean) * x).sum(dim=1) + self.fc5b_fc(mean)[:, 0]
        return score

    @torch.inference_mode()
    def score(self, pictures: list[npt.NDArray[np.uint8]]) -> float:
        """Mean score of RGB pictures (H, W, 3)."""
        small = [cv2.resize(p, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for p in pictures]
        batch = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 255
        mean, deviation = (torch.tensor(v)[:, None, None] for v in (MEAN, DEVIATION))
        return float(self((batch - mean) / deviation).mean())

    @classmethod
    def load(cls, path: Path) -> HyperIQA:
        """Read the authors' weights.

        Raises:
            WeightsError: The file is missing, damaged or something else.
        """
        network = cls()
        try:
            state = torch.load(path, weights_only=True, map_location="cpu")
            network.load_state_dict(state)
        except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(f"{path}: no weights of HyperIQA ({reason}); get koniq_pretrained.pkl") from error
        return network.eval()
