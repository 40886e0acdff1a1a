"""Light that changes inside a shot: the new mouth follows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.sample_clips import decoded, sample_frames, sample_speech, write_video

from personatalk import DubOptions, Models
from personatalk.pipeline.casting import cast_single
from personatalk.pipeline.dub import DubRequest, run
from personatalk.stage2.compositing import Patch

FRAMES = 30
RING = np.ones((15, 15), np.uint8)

LIGHTS: dict[str, Callable[[int], np.ndarray]] = {
    "fade from black": lambda i: np.full(3, min(1.0, (i + 1) / 20)),
    "flash": lambda i: np.full(3, 1.4 if i in (15, 16) else 0.7),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", LIGHTS)
def test_the_mouth_is_lit_as_the_face_around_it(tmp_path: Path, models: Models, kind: str) -> None:
    gains = [LIGHTS[kind](i) for i in range(FRAMES)]
    frames = [
        np.clip(frame * gain, 0, 255).astype(np.uint8) for frame, gain in zip(sample_frames(FRAMES), gains, strict=True)
    ]
    video, speech = write_video(tmp_path / "lit.mp4", frames), sample_speech(tmp_path, FRAMES)
    patches: dict[int, Patch] = {}
    request = DubRequest(video, [speech], tmp_path / "out.mp4", DubOptions())
    report = run(request, lambda context: cast_single(context, speech), models, on_composited=patches.__setitem__)
    assert len(patches) > FRAMES - 4
    source, result = decoded(video), decoded(request.output)
    for place, patch in patches.items():
        old, new, ring, mouth = *(around(frames[place], patch) for frames in (source, result)), *rings(patch)
        assert np.abs(old[ring].mean(axis=0) - new[ring].mean(axis=0)).max() < 3, place
        # Nothing in the mouth glows: neither lips nor teeth are far lighter than the lightest skin.
        assert np.quantile(new[mouth], 0.999) < np.quantile(old, 0.999) + 12, place
    if kind == "fade from black":
        assert min(report.lip_references) > 8, "dark frames lend no lips"


def around(frame: np.ndarray, patch: Patch) -> np.ndarray:
    height, width = patch.mask.shape
    return frame[patch.top : patch.top + height, patch.left : patch.left + width].astype(float)


def rings(patch: Patch) -> tuple[np.ndarray, np.ndarray]:
    """Pixels just inside the rim of the new mouth, and all of its opaque ones."""
    opaque = np.pad(patch.mask > 0.5, 1).astype(np.uint8)
    inner = cv2.erode(opaque, RING)
    return ((opaque > 0) & (inner == 0))[1:-1, 1:-1], opaque[1:-1, 1:-1] > 0
