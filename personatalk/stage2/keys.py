"""Place codes, queries and keys of the renderer's attention.

A place code says where a latent cell lies. It has three groups of numbers, one for each kind of cell; a cell fills the
group of its kind, and the other groups are 0:

    number      0        1              2              3      4              5              6       7    8
    group       face                                   mouth                                background   kind
    holds       PNCC x   PNCC y         PNCC z         place  height against height over    column  row  see below
                                                       across the upper      the lower lip
                                                              teeth

Both heights end where no teeth are any more, so that what is dark in one mouth is like what is dark in another, and
teeth are found in mouths that are less open.

The last number tells the kinds apart: positive for the face, negative for the inside of the mouth, 0 for the
background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..utils.arrays import Array

# First number of each group, and the number of the kind.
FACE, MOUTH, BACKGROUND, KIND = 0, 3, 6, 8
# Numbers of a place code.
CODE_SIZE = 9
# Numbers of a packed key beside its learned part: the place code and its norm.
PACKED_PLACE = CODE_SIZE + 1


def place_code(face: Array, mouth: Array, background: Array, kind: Array) -> Array:
    """Put a place code together: (3, h, w), (3, h, w), (2, h, w) and (1, h, w) to float32 (9, h, w)."""
    return np.concatenate([face, mouth, background, kind]).astype(np.float32)


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
        return torch.cat([self.learned, self.place, self.norm], dim=1)


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
        """Return all in one table, (K, C + 10), as files keep it."""
        return torch.cat([self.learned, self.place, self.norm], dim=1)

    @classmethod
    def unpack(cls, table: torch.Tensor) -> Keys:
        """Read what `pack` returned."""
        return cls(*torch.split(table, [table.shape[1] - PACKED_PLACE, CODE_SIZE, 1], dim=1))

    @classmethod
    def merge(cls, parts: Sequence[Keys]) -> Keys:
        """Return the keys of all parts, one after the other."""
        learned, place, norm = zip(*((part.learned, part.place, part.norm) for part in parts), strict=True)
        return cls(torch.cat(learned), torch.cat(place), torch.cat(norm))
