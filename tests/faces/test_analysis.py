"""The analysis of a made-up video whose faces a made-up tracker gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.sample_clips import write_video
from helpers.synthetic import Talk, smooth_picture, talk
from transitions import joined

from personatalk.errors import FaceError
from personatalk.faces.analysis import Analysis, SkipReason, analyse
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.media.reader import VideoReader
from personatalk.utils.arrays import Array, Image

FRAMES, CUT = 16, 9
LOST, SMALL, ALONE = 3, 12, 8


class MadeUpTracker:
    """Gives the landmarks of a made-up clip, of a smaller face beside it, and none or shrunk ones in some frames."""

    def __init__(self, clip: Talk) -> None:
        self._clip, self._frame = clip, -1

    def detect(self, rgb: Image) -> list[Array]:
        self._frame += 1
        face = self._clip.landmarks[self._frame]
        if self._frame in (LOST, ALONE - 1):
            return []
        if self._frame == SMALL:
            return [face * np.float32(0.1) + face.mean(axis=0) * np.float32(0.9)]
        return [face * np.float32(0.4), face]

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def clip(model: MorphableModel) -> Talk:
    return talk(model, FRAMES, 0.1, scale=80)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = [smooth_picture(240, 400, 12, seed=int(frame >= CUT)) for frame in range(FRAMES)]
    return write_video(tmp_path_factory.mktemp("analysis") / "made-up.mp4", images)


@pytest.fixture(scope="module")
def analysis(video: Path, clip: Talk, model: MorphableModel) -> Analysis:
    with VideoReader(video) as reader:
        return analyse(reader, MadeUpTracker(clip), model)


def test_shots_and_reasons(analysis: Analysis) -> None:
    assert [(shot.start, shot.stop) for shot in analysis.shots] == [(0, CUT), (CUT, FRAMES)]
    assert analysis.reason[LOST] == SkipReason.NO_FACE
    assert analysis.reason[SMALL] == SkipReason.SMALL
    assert analysis.reason[ALONE] == SkipReason.BRIEF, "one frame before the cut, and none before it"
    assert set(analysis.reason) == set(np.flatnonzero(~analysis.usable)) == {LOST, SMALL, ALONE - 1, ALONE}


def test_the_larger_face_is_followed(analysis: Analysis, clip: Talk) -> None:
    usable = analysis.usable
    assert np.abs(analysis.pose[usable, 3] - clip.pose[usable, 3]).max() < 0.05
    assert np.abs(analysis.pose[usable, 4:] - clip.pose[usable, 4:]).max() < 5
    assert not analysis.pose[~usable].any() and not analysis.beta[~usable].any()


def test_it_comes_back_from_its_arrays(analysis: Analysis, model: MorphableModel) -> None:
    again = Analysis.from_arrays(analysis.info, analysis.arrays(), model)
    assert again.reason == analysis.reason and len(again) == FRAMES
    for name, array in analysis.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)


@pytest.mark.parametrize("name", ["time", "beta", "covers", "alpha"])
def test_arrays_that_do_not_fit_are_refused(analysis: Analysis, model: MorphableModel, name: str) -> None:
    arrays = {key: value for key, value in analysis.arrays().items() if key != name}
    with pytest.raises(ValueError, match="of another shape"):
        Analysis.from_arrays(analysis.info, arrays, model)


@pytest.mark.slow
@pytest.mark.parametrize("frames", [1, 2])
def test_a_frame_that_is_shown_for_a_second_is_not_brief(
    tmp_path: Path, clip: Talk, model: MorphableModel, frames: int
) -> None:
    video = write_video(tmp_path / "slow.mp4", [smooth_picture(240, 400, 12)] * frames, fps=1)
    with VideoReader(video) as reader:
        slow = analyse(reader, MadeUpTracker(clip), model)
    assert slow.usable.all() and len(slow) == frames
    assert slow.faces.tolist() == [2] * frames


class Blind:
    """Sees no face."""

    def detect(self, rgb: Image) -> list[Array]:
        return []

    def close(self) -> None:
        pass


def test_a_video_without_a_face_is_refused(video: Path, model: MorphableModel) -> None:
    with VideoReader(video) as reader, pytest.raises(FaceError, match=r"made-up\.mp4: no face in any frame"):
        analyse(reader, Blind(), model)


@pytest.mark.slow
def test_no_face_is_looked_for_in_a_transition(tmp_path: Path, clip: Talk, model: MorphableModel) -> None:
    one, other = ([smooth_picture(240, 400, 12, seed=seed)] * 16 for seed in (0, 1))
    path = write_video(tmp_path / "in.mp4", joined(one, other, "dissolve", 8))

    class OneFace(Blind):
        seen = 0

        def detect(self, rgb: Image) -> list[Array]:
            self.seen += 1
            return [clip.landmarks[self.seen % FRAMES]]

    tracker = OneFace()
    with VideoReader(path) as reader:
        found = analyse(reader, tracker, model)
    passed = [i for i, why in found.reason.items() if why == SkipReason.TRANSITION]
    assert set(range(9, 15)) <= set(passed) <= set(range(6, 18)) and tracker.seen == 24 - len(passed)
    assert [shot.start for shot in found.shots] == [0, pytest.approx(12, abs=1)]
