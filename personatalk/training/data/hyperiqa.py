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
from ...utils.resnet import ResNet50

# Side of the network's images in pixels.
IMAGE_SIZE = 224
# Mean and standard deviation of ImageNet's channels.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Inputs of the quality predictor's layers; the last one gives the score.
PREDICTOR_WIDTHS = (224, 112, 56, 28, 14)
# Channels that the weights of these layers are made from.
HYPER_CHANNELS = 112
# Side of the last stage's features.
FEATURE_GRID = 7


class QualityBackbone(ResNet50):
    """ResNet-50 with a local vector taken after every stage."""

    def __init__(self, local: int = 16) -> None:
        super().__init__()
        for number, (channels, kept, cells) in enumerate(((256, 16, 64), (512, 32, 16), (1024, 64, 4)), 1):
            pool = nn.Sequential(nn.Conv2d(channels, kept, 1, bias=False), nn.AvgPool2d(7, stride=7))
            self.add_module(f"lda{number}_pool", pool)
            self.add_module(f"lda{number}_fc", nn.Linear(kept * cells, local))
        self.lda4_pool, self.lda4_fc = nn.AvgPool2d(7, stride=7), nn.Linear(2048, PREDICTOR_WIDTHS[0] - 3 * local)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map normalised images (B, 3, 224, 224) to the last stage (B, 2048, 7, 7) and the local vectors (B, 224)."""
        features, vectors = self.stages(images), []
        for number, x in enumerate(features, 1):
            pooled = getattr(self, f"lda{number}_pool")(x).flatten(1)
            vectors.append(getattr(self, f"lda{number}_fc")(pooled))
        return features[-1], torch.cat(vectors, dim=1)


class HyperIQA(nn.Module):
    """Predicts how good an image looks: its content decides the weights of the layers that judge its distortions."""

    def __init__(self) -> None:
        super().__init__()
        self.res = QualityBackbone()
        self.conv1 = nn.Sequential(
            nn.Conv2d(2048, 1024, 1),
            nn.ReLU(),
            nn.Conv2d(1024, 512, 1),
            nn.ReLU(),
            nn.Conv2d(512, HYPER_CHANNELS, 1),
            nn.ReLU(),
        )
        for number, (inputs, outputs) in enumerate(pairwise(PREDICTOR_WIDTHS), 1):
            self.add_module(
                f"fc{number}w_conv", nn.Conv2d(HYPER_CHANNELS, inputs * outputs // FEATURE_GRID**2, 3, padding=1)
            )
            self.add_module(f"fc{number}b_fc", nn.Linear(HYPER_CHANNELS, outputs))
        self.fc5w_fc, self.fc5b_fc = nn.Linear(HYPER_CHANNELS, PREDICTOR_WIDTHS[-1]), nn.Linear(HYPER_CHANNELS, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scores (B,) of normalised images (B, 3, 224, 224), about 0 (bad) to 100 (good)."""
        features, x = self.res(images)
        content = self.conv1(features)
        mean = content.mean(dim=(2, 3))
        for number, (inputs, outputs) in enumerate(pairwise(PREDICTOR_WIDTHS), 1):
            weight = getattr(self, f"fc{number}w_conv")(content).reshape(-1, outputs, inputs)
            bias = getattr(self, f"fc{number}b_fc")(mean)
            x = torch.sigmoid(torch.einsum("boi,bi->bo", weight, x) + bias)
        score: torch.Tensor = (self.fc5w_fc(mean) * x).sum(dim=1) + self.fc5b_fc(mean)[:, 0]
        return score

    @torch.inference_mode()
    def score(self, images: list[npt.NDArray[np.uint8]]) -> float:
        """Return the mean score of RGB images (H, W, 3)."""
        small = [cv2.resize(p, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA) for p in images]
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
