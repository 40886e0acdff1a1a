"""Place codes: where the latent cells of the renderer lie.

A place code has three groups of numbers, one for each kind of cell; a cell fills the group of its kind, and the other
groups are 0:

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

import numpy as np

from ..utils.arrays import Array

# First number of each group, and the number of the kind.
FACE, MOUTH, BACKGROUND, KIND = 0, 3, 6, 8
# Numbers of a place code.
CODE_SIZE = 9


def place_code(face: Array, mouth: Array, background: Array, kind: Array) -> Array:
    """Put a place code together: (3, h, w), (3, h, w), (2, h, w) and (1, h, w) to float32 (9, h, w)."""
    return np.concatenate([face, mouth, background, kind]).astype(np.float32)
