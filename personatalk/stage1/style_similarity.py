"""StyleSim: the similarity of the speaking styles of two videos (paper, section 4.2).

The encoder follows the style encoder of DiffPoseTalk (Sun et al. 2023): a transformer encoder over expression-only
geometry whose outputs are averaged over time. It is trained contrastively, apart from the other networks
(`personatalk train style`).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from ..geometry.morphable_model import MorphableModel
from ..utils.arrays import Array
from ..utils.modules import PackagedModule


class StyleSimilarityEncoder(PackagedModule):
    """Embeds the speaking style of a stretch of motion as a unit vector.

    Args:
        vertices: Number V of mesh vertices.
        expressions: Number E of the morphable model's expressions.
        dim: Feature size, and that of the style.
        layers: Layers of the transformer.
        heads: Attention heads of the transformer.
        dropout: Dropout rate in training.
    """

    KIND, VERSION, FILE = "style-encoder", 1, "style.safetensors"

    # Frames of a window, at 25 a second [DiffPoseTalk].
    LENGTH = 100
    # Fewest frames from which the style is embedded.
    SHORTEST = 25

    def __init__(
        self, vertices: int, expressions: int, dim: int = 128, layers: int = 4, heads: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.config = {
            "vertices": vertices,
            "expressions": expressions,
            "dim": dim,
            "layers": layers,
            "heads": heads,
            "dropout": dropout,
        }
        self.expression: torch.Tensor
        self.register_buffer("expression", torch.zeros(vertices, 3, expressions))
        self.embed_vertices = nn.Linear(3 * vertices, dim)
        layer = nn.TransformerEncoderLayer(dim, heads, 4 * dim, dropout, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(dim)
        time, rate = torch.arange(self.LENGTH)[:, None], torch.exp(-torch.arange(0, dim, 2) * (math.log(1e4) / dim))
        waves = torch.stack([(time * rate).sin(), (time * rate).cos()], dim=-1).flatten(1)
        self.register_buffer("place", waves, persistent=False)
        self.place: torch.Tensor

    def set_expressions(self, model: MorphableModel) -> None:
        """Copy the expressions of the morphable model to train on."""
        self.expression.copy_(torch.from_numpy(model.expression))

    def forward(self, beta: torch.Tensor) -> torch.Tensor:
        """Embed expression coefficients (B, T, E), T at most `LENGTH`, as unit vectors (B, D)."""
        # Vertices are linear in the coefficients, and the first layer in the vertices: one small matrix does both.
        basis = 100 * self.expression.to(beta.dtype).flatten(0, 1)
        embedded = beta @ (self.embed_vertices.weight @ basis).T + self.embed_vertices.bias
        hidden = self.encoder(embedded + self.place[: beta.shape[1]])
        style: torch.Tensor = nn.functional.normalize(self.norm(hidden).mean(dim=1).float(), dim=-1)
        return style

    @torch.inference_mode()
    def embed(self, beta: Array) -> Array:
        """Embed the style (D,) of a video's expression coefficients (T, E): the mean over half-overlapping windows."""
        starts = range(0, max(1, len(beta) - self.LENGTH + 1), self.LENGTH // 2)
        windows = [torch.from_numpy(np.ascontiguousarray(beta[s : s + self.LENGTH]))[None].float() for s in starts]
        mean = torch.cat([self(w) for w in windows]).mean(dim=0)
        found: Array = nn.functional.normalize(mean, dim=0).numpy()
        return found


def same_speaker(styles: Array, speakers: list[str]) -> tuple[Array, Array]:
    """Return the cosines of all pairs of styles of one speaker, and of all pairs of two speakers.

    Args:
        styles: Unit vectors, (N, D).
        speakers: The speaker of each.
    """
    cosines = styles @ styles.T
    first, second = np.triu_indices(len(styles), 1)
    same = np.array([speakers[i] == speakers[j] for i, j in zip(first, second, strict=True)], bool)
    found = cosines[first, second]
    return found[same], found[~same]


def auc(same: Array, different: Array) -> float:
    """Return the area under the ROC curve: the chance that a pair of one speaker is more alike than a pair of two."""
    order = np.sort(different)
    below = np.searchsorted(order, same, side="left") + np.searchsorted(order, same, side="right")
    return float(below.mean() / 2 / max(1, len(order)))
