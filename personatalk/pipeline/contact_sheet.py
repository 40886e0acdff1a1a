"""The contact sheet of an analysis: crops, landmarks, geometry, masks and lip references of a video."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np

from ..faces.analysis import analyse
from ..faces.selection import FaceSearch
from ..geometry import masks, rasterizer
from ..geometry.fitting import Initialise
from ..geometry.morphable_model import MorphableModel
from ..media.reader import VideoReader
from ..stage2.face_crops import FaceCropper
from ..utils.arrays import Array, Image
from ..utils.drawing import check_picture, write_picture, write_text
from .rendering import choose_lip_frames

# Side in pixels of an image of a face, and lip references in a row.
TILE, LIPS_IN_A_ROW = 192, 9


def draw_contact_sheet(
    video: Path | str,
    output: Path | str,
    model: MorphableModel,
    search: FaceSearch | None = None,
    count: int = 6,
    progress: Callable[[str, int, int], None] | None = None,
    initialise: Initialise | None = None,
) -> None:
    """Draw the contact sheet of a video.

    Rows: frames spread over the usable ones, as crop, with landmarks, as PNCC, with the generated region and the lip
    region; then the lip references of the first usable shot, from closed to open.

    Args:
        video: The video.
        output: Image to write, PNG or JPEG.
        model: The morphable model.
        search: What finds the face; None follows the largest one.
        count: Frames on the sheet.
        progress: Told about the progress.
        initialise: The learned initialisation of the geometry; None for the default one.

    Raises:
        MediaError: The video cannot be read or the image cannot be written.
        FaceError: There is no usable face, or the search names nobody.
    """
    output = Path(output)
    check_picture(output)
    search = search or FaceSearch()
    search.check()
    with VideoReader(video) as reader:
        with search.open(reader, model, progress) as (tracker, follower):
            analysis = analyse(reader, tracker, model, progress, initialise, follower)
        seen = np.flatnonzero(analysis.usable)
        chosen = seen[np.unique(np.linspace(0, len(seen) - 1, count).astype(np.int64))]
        lips = choose_lip_frames(model, analysis, int(analysis.shot_of[seen[0]]))
        crops = FaceCropper(model, analysis)
        cut = dict(crops.fetch(reader, np.concatenate([chosen, lips])))
        rows = [_row(crops, int(i), cut[int(i)]) for i in chosen]
    write_picture(output, _sheet(rows, [cut[int(i)] for i in lips]))


def _row(crops: FaceCropper, index: int, crop: Image) -> list[Image]:
    model, vertices, size = crops.model, crops.vertices(index), crops.size
    pncc = rasterizer.render(vertices, model.triangles, model.colours(), size)
    face = masks.face_region(model, [vertices], size)
    lips = masks.lip_region(model, vertices, size)
    return [
        _labelled(crop, f"frame {index}, {crops.analysis.time[index]:.2f} s"),
        _labelled(_dotted(crop, vertices[model.keypoints]), "keypoints"),
        _labelled((255 * pncc).astype(np.uint8), "PNCC"),
        _labelled(_tinted(_tinted(crop, face, (60, 160, 255)), lips, (255, 60, 60)), "mask: face, lips"),
    ]


def _dotted(crop: Image, points: Array) -> Image:
    out = crop.copy()
    for x, y in points[:, :2].round().astype(int):
        cv2.circle(out, (int(x), int(y)), 1, (80, 255, 80), -1, cv2.LINE_AA)
    return out


def _tinted(crop: Image, mask: Array, colour: tuple[int, int, int]) -> Image:
    weight = 0.45 * mask[..., None]
    return (crop * (1 - weight) + weight * np.array(colour)).astype(np.uint8)


def _labelled(crop: Image, text: str) -> Image:
    tile = cv2.resize(crop, (TILE, TILE), interpolation=cv2.INTER_AREA)
    write_text(tile, text, (4, TILE - 6), 0.38, 1)
    return tile


def _sheet(rows: list[list[Image]], lips: Iterable[Image]) -> Image:
    """Two frames side by side, then the lip references in smaller tiles."""
    width = 2 * TILE * len(rows[0])
    lines = []
    for first in range(0, len(rows), 2):
        lines.append(np.hstack([tile for row in rows[first : first + 2] for tile in row]))
    side = width // LIPS_IN_A_ROW
    small = [cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA) for crop in lips]
    for first in range(0, len(small), LIPS_IN_A_ROW):
        lines.append(np.hstack(small[first : first + LIPS_IN_A_ROW]))
    padded = [np.pad(line, ((0, 4), (0, width - line.shape[1]), (0, 0))) for line in lines]
    return np.vstack(padded)
