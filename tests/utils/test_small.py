"""Small helpers: arrays, images for people, interrupts, ONNX files and progress."""

from __future__ import annotations

import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personatalk.errors import MediaError, WeightsError
from personatalk.utils.arrays import resampled, runs
from personatalk.utils.drawing import check_picture, write_picture, write_text
from personatalk.utils.interrupt import Interrupt
from personatalk.utils.onnx import open_onnx, trial_run
from personatalk.utils.progress import no_progress


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30))
def test_runs_cover_the_true_flags_and_end_at_breaks(pairs: list[tuple[bool, bool]]) -> None:
    flags, breaks = np.array([p[0] for p in pairs], bool), np.array([p[1] for p in pairs], bool)
    found = runs(flags, breaks)
    covered = [i for start, stop in found for i in range(start, stop)]
    assert covered == np.flatnonzero(flags).tolist()
    starts = {start for start, _ in found}
    assert starts == {i for i in covered if i == 0 or not flags[i - 1] or breaks[i]}


def test_series_are_interpolated_and_held_at_the_ends() -> None:
    series = np.array([[0, 10], [2, 30]], np.float32)
    found = resampled(series, np.array([1.0, 2.0]), np.array([0.0, 1.5, 9.0]))
    np.testing.assert_allclose(found, [[0, 10], [1, 20], [2, 30]])
    assert found.dtype == np.float32


def test_images_are_written_in_rgb(tmp_path: Path) -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[..., 0] = 200
    write_text(image, "A", (5, 30), 1.0, 2)
    assert image.max() == 255
    write_picture(tmp_path / "a.png", image)
    assert (cv2.imread(str(tmp_path / "a.png"))[..., ::-1] == image).all()
    for bad, words in ((tmp_path / "a.txt", "no picture format"), (tmp_path / "b" / "a.png", "folder does not exist")):
        with pytest.raises(MediaError, match=words):
            check_picture(bad)
        with pytest.raises(MediaError, match="cannot be written"):
            write_picture(bad, image)


def test_a_lost_interrupt_is_raised_again() -> None:
    interrupt = Interrupt()
    interrupt.check()
    with pytest.raises(KeyboardInterrupt):
        interrupt(signal.SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        interrupt.check()


def test_files_that_are_no_networks_are_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such network"):
        open_onnx(tmp_path / "none.onnx", 1)
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(WeightsError, match="not a readable ONNX network"):
        open_onnx(tmp_path / "junk.onnx", 1)
    trial_run("a.onnx", lambda: 1)
    with pytest.raises(WeightsError, match="does not answer as wanted"):
        trial_run("a.onnx", lambda: [][1])


def test_no_progress_takes_any_stage() -> None:
    no_progress("analysis", 1, 0)
