"""Golden images: a made-up face as PNCC map, as place code and rendered by the package's weights.

They change with the weights and with the method, and with nothing else. To renew them after such a change:

    PYTHONPATH=tests python tests/stage2/test_golden.py
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.synthetic import face_in_crop, smooth_picture

from personatalk.geometry.morphable_model import MorphableModel
from personatalk.stage2.geometry_map import ArrayMap, geometry_map
from personatalk.stage2.runtime import RendererRuntime
from personatalk.utils.arrays import Image

GOLDEN = Path(__file__).parents[1] / "data" / "stage2.png"
SIZE, SMALL = 256, 64


def drawn(model: MorphableModel, gap: float, turn: float) -> ArrayMap:
    return geometry_map(model, face_in_crop(model, SIZE, gap, (0.1, turn, 0.05)), SIZE)


def code_image(drawn: ArrayMap) -> Image:
    """The nine layers of the place code, three by three; grey is 0."""
    layers = (128 + drawn.code).clip(0, 255).reshape(3, 3, SMALL, SMALL)
    tiled = layers.transpose(0, 2, 1, 3).reshape(3 * SMALL, 3 * SMALL)
    return np.repeat(tiled.round().astype(np.uint8)[..., None], 3, axis=2)


def images() -> Image:
    """PNCC and rendered face above each other, the place code beside them."""
    model, runtime = MorphableModel.load(), RendererRuntime(device="cpu")
    maps = [drawn(model, gap, turn) for gap, turn in ((0.0, 0.0), (0.1, 0.1), (0.2, 0.2), (0.3, 0.3))]
    crops = [smooth_picture(SIZE, SIZE, 3, seed) for seed in range(4)]
    target = drawn(model, 0.15, 0.25)
    references = runtime.encode(crops, maps)
    rendered = runtime.render(target, references, references[1:3])
    side = 3 * SMALL // 2
    pncc = (target.image[:3].clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)
    left = [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in (pncc, rendered)]
    return np.concatenate([np.concatenate(left), code_image(target)], axis=1)


@pytest.fixture(scope="module")
def pair() -> tuple[Image, Image]:
    golden = cv2.imread(str(GOLDEN), cv2.IMREAD_COLOR)
    assert golden is not None
    return images(), golden[..., ::-1]


def test_a_made_up_face_looks_as_it_did(pair: tuple[Image, Image]) -> None:
    now, golden = pair
    assert now.shape == golden.shape
    difference = np.abs(now.astype(int) - golden)
    # A pixel at a silhouette may fall to either side on another processor.
    assert (difference > 8).mean() < 0.001
    assert difference.mean() < 0.25


if __name__ == "__main__":
    cv2.imwrite(str(GOLDEN), images()[..., ::-1])
