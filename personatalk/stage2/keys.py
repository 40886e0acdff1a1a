"""Queries and keys of the renderer's attention in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Queries:
    """Queries of an attention, one per row. The score of a key is the dot product of both in their packed form.

    Attributes:
        learned: Projected latents, (Q, C).
        place: Place codes, weighted, (Q, 9).
        norm: Factor on the norm of the keys, (Q, 1).
    """

    learned: torch.Tensor
    place: torch.Tensor
    norm: torch.Tensor

    def pack(self) -> torch.Tensor:
        """Return all in one table, (Q, C + 10)."""
        return torch.cat([self.learned, self.place, self.norm], dim=-1)


@dataclass(frozen=True)
class Keys:
    """Keys of an attention, one per row.

    Attributes:
        learned: Projected latents, (K, C).
        place: Place codes, (K, 9).
        norm: Squared length of the weighted place codes times -1/2, (K, 1).
    """

    learned: torch.Tensor
    place: torch.Tensor
    norm: torch.Tensor

    def pack(self) -> torch.Tensor:
        """Return all in one table, (K, C + 10)."""
        return torch.cat([self.learned, self.place, self.norm], dim=-1)

    @classmethod
    def merge(cls, parts: Sequence[Keys]) -> Keys:
        """Return the keys of all parts, one after the other."""
        learned, place, norm = zip(*((part.learned, part.place, part.norm) for part in parts), strict=True)
        return cls(torch.cat(learned), torch.cat(place), torch.cat(norm))
