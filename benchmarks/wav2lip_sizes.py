"""A network of the published sizes of Wav2Lip (Prajwal et al. 2020), with random weights: for timing alone."""

from __future__ import annotations

import torch
from torch import nn

# Convolutions of each block: input and output channels, kernel, stride and padding; a block's further convolutions keep
# channels and size, and have a residual.
FACE_ENCODER = (
    ((6, 16, 7, 1, 3), 0),
    ((16, 32, 3, 2, 1), 2),
    ((32, 64, 3, 2, 1), 3),
    ((64, 128, 3, 2, 1), 2),
    ((128, 256, 3, 2, 1), 2),
    ((256, 512, 3, 2, 1), 1),
)
AUDIO_ENCODER = (
    ((1, 32, 3, 1, 1), 2),
    ((32, 64, 3, (3, 1), 1), 2),
    ((64, 128, 3, 3, 1), 2),
    ((128, 256, 3, (3, 2), 1), 1),
    ((256, 512, 3, 1, 0), 0),
    ((512, 512, 1, 1, 0), 0),
)
# Transposed convolutions of the decoder: input and output channels, and the residual convolutions after each.
FACE_DECODER = ((1024, 512, 2), (768, 384, 2), (512, 256, 2), (320, 128, 2), (160, 64, 2))


class Convolution(nn.Module):
    """Convolution, batch norm and ReLU, with or without a residual."""

    def __init__(self, layer: nn.Module, channels: int, residual: bool = False) -> None:
        super().__init__()
        self.layer, self.norm, self.residual = layer, nn.BatchNorm2d(channels), residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.norm(self.layer(x))
        return torch.relu(out + x if self.residual else out)


def block(first: nn.Module, channels: int, more: int) -> nn.Sequential:
    same = (Convolution(nn.Conv2d(channels, channels, 3, padding=1), channels, True) for _ in range(more))
    return nn.Sequential(Convolution(first, channels), *same)


class Wav2LipSizes(nn.Module):
    """Mel spectrum (B, 1, 80, 16) and faces (B, 6, 96, 96) to faces (B, 3, 96, 96)."""

    def __init__(self) -> None:
        super().__init__()
        self.face = nn.ModuleList(block(nn.Conv2d(*sizes), sizes[1], more) for sizes, more in FACE_ENCODER)
        self.face.append(block(nn.Conv2d(512, 512, 3), 512, 0).append(block(nn.Conv2d(512, 512, 1), 512, 0)))
        self.audio = nn.Sequential(*(block(nn.Conv2d(*sizes), sizes[1], more) for sizes, more in AUDIO_ENCODER))
        self.decoder = nn.ModuleList([block(nn.Conv2d(512, 512, 1), 512, 0)])
        self.decoder.append(block(nn.ConvTranspose2d(1024, 512, 3), 512, 1))
        for inputs, outputs, more in FACE_DECODER:
            self.decoder.append(block(nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, 1), outputs, more))
        self.out = nn.Sequential(block(nn.Conv2d(80, 32, 3, padding=1), 32, 0), nn.Conv2d(32, 3, 1), nn.Sigmoid())

    def forward(self, mel: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
        seen, x = [], faces
        for layer in self.face:
            x = layer(x)
            seen.append(x)
        x = self.audio(mel)
        for layer in self.decoder:
            x = torch.cat([layer(x), seen.pop()], dim=1)
        image: torch.Tensor = self.out(x)
        return image
