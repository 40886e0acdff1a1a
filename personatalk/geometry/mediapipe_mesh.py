"""MediaPipe's 468-vertex face mesh: its triangles and the names of its parts.

The numbers are those of MediaPipe's canonical face model; the first 468 landmarks are its vertices.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt

# Vertices of the mesh.
NUM_VERTICES = 468
# Landmarks of one face: the vertices, then 5 points for each iris.
NUM_LANDMARKS = 478

# Rings of the lips, each from the corner on the image's left to the one on its right.
UPPER_LIP_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
LOWER_LIP_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
UPPER_LIP_MIDDLE = (76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306)
LOWER_LIP_MIDDLE = (76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306)
UPPER_LIP_SOFT = (62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292)
LOWER_LIP_SOFT = (62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292)
UPPER_LIP_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_LIP_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)

LIP_VERTICES = tuple(
    sorted(
        {
            *UPPER_LIP_OUTER,
            *LOWER_LIP_OUTER,
            *UPPER_LIP_MIDDLE,
            *LOWER_LIP_MIDDLE,
            *UPPER_LIP_SOFT,
            *LOWER_LIP_SOFT,
            *UPPER_LIP_INNER,
            *LOWER_LIP_INNER,
        }
    )
)
INNER_LIP_PAIRS = (
    (13, 14),
    (82, 87),
    (312, 317),
    (81, 178),
    (311, 402),
    (80, 88),
    (310, 318),
    (191, 95),
    (415, 324),
)
MOUTH_CORNER_VERTICES = (61, 291)
JAW_VERTICES = (
    *(234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152),
    *(377, 400, 378, 379, 365, 397, 288, 361, 323, 454),
)
FOREHEAD = (127, 162, 21, 54, 103, 67, 109, 10, 338, 297, 332, 284, 251, 389, 356)
EYES = (
    *(33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    *(263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
BROWS = (70, 63, 105, 66, 107, 46, 53, 52, 65, 55, 300, 293, 334, 296, 336, 276, 283, 282, 295, 285)
NOSE = (168, 6, 197, 195, 5, 4, 1, 2, 98, 327, 48, 278, 64, 294, 115, 344, 45, 275)
RIGID_VERTICES = (33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 127, 356, 10, 151, 9, 8, 48, 278, 234, 454)
OUTER_EYE_CORNERS = (33, 263)


def triangles() -> npt.NDArray[np.int64]:
    """Return the triangles of the mesh, int (852, 3), with the eyes and the mouth open.

    MediaPipe publishes only the set of edges. Three mutually joined vertices make a triangle, but for two that
    merely enclose others: all their edges then belong to three candidates.
    """
    from mediapipe.python.solutions.face_mesh_connections import FACEMESH_TESSELATION

    neighbours: dict[int, set[int]] = {}
    for a, b in FACEMESH_TESSELATION:
        neighbours.setdefault(a, set()).add(b)
        neighbours.setdefault(b, set()).add(a)
    cliques = {tuple(sorted((a, b, c))) for a, b in FACEMESH_TESSELATION for c in neighbours[a] & neighbours[b]}
    uses: dict[tuple[int, int], int] = {}
    for clique in cliques:
        for edge in combinations(clique, 2):
            uses[edge] = uses.get(edge, 0) + 1
    kept = [c for c in cliques if not all(uses[edge] > 2 for edge in combinations(c, 2))]
    return np.array(sorted(kept), np.int64)
