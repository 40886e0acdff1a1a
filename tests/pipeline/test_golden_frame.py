"""One frame of the embedded sample, dubbed with the shipped weights, against a stored image.

After a change that is meant to change faces, write the image anew:

    python tests/pipeline/test_golden_frame.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from personatalk import DubOptions, Models
from personatalk.pipeline.casting import cast_single
from personatalk.pipeline.dub import run
from personatalk.pipeline.request import DubRequest
from personatalk.provenance.options import Provenance
from personatalk.sample import sample_files
from personatalk.stage2.compositing import Patch
from personatalk.utils.arrays import Image

GOLDEN = Path(__file__).parents[1] / "data" / "golden-frame.png"
FRAME = 12

# Grey levels: processors with and without bfloat16 differ by one in most places and by a few at edges.
MEAN_TOLERANCE, LARGEST_TOLERANCE = 1.0, 24


class Rendered(KeyboardInterrupt):
    """The frame has been rendered."""


def rendered_face(folder: Path, models: Models) -> Image:
    """Return the composited face of one frame on grey."""
    video, speech = sample_files()
    patches: dict[int, Patch] = {}

    def stop(stage: str, steps: int, total: int) -> None:
        if FRAME in patches:
            raise Rendered

    request = DubRequest(video, [speech], folder / "out.mp4", DubOptions(provenance=Provenance(on=False)))
    with pytest.raises(Rendered):
        run(request, lambda context: cast_single(context, speech), models, stop, on_composited=patches.__setitem__)
    patch = patches[FRAME]
    opacity = patch.mask[..., None]
    image: Image = np.rint(patch.pixels * opacity + 128 * (1 - opacity)).astype(np.uint8)
    return image


@pytest.mark.slow
def test_the_face_of_a_frame_is_what_it_was(tmp_path: Path, models: Models) -> None:
    stored = cv2.imread(str(GOLDEN), cv2.IMREAD_COLOR)
    assert stored is not None
    wanted = stored[..., ::-1]
    found = rendered_face(tmp_path, models)
    assert found.shape == wanted.shape
    difference = np.abs(found.astype(float) - wanted)
    assert difference.mean() < MEAN_TOLERANCE
    assert np.quantile(difference, 0.999) < LARGEST_TOLERANCE


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        cv2.imwrite(str(GOLDEN), rendered_face(Path(name), Models.load())[..., ::-1])
