"""All eight orientations of a stored image are read, and pasted into, as players show them."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from helpers.media_clips import picture
from hypothesis import given
from hypothesis import strategies as st

from personatalk.media.options import EncodeOptions
from personatalk.media.orientation import Orientation
from personatalk.media.reader import VideoReader
from personatalk.media.writer import VideoWriter

ONE = 65536

# The first two rows of all display matrices of quarter turns, without and with a mirror.
MATRICES = [(a, b, c, d) for a, b, c, d in np.ndindex(3, 3, 3, 3) if (a - 1) * (d - 1) - (b - 1) * (c - 1) in (1, -1)]
MATRICES = [tuple(v - 1 for v in m) for m in MATRICES if sum(v != 1 for v in m) == 2]


def display_matrix(a: int, b: int, c: int, d: int) -> tuple[int, ...]:
    return (a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30)


def shown_by_definition(stored: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """Move every pixel (x, y) to (a x + c y, b x + d y), as the display matrix says."""
    y, x = np.indices(stored.shape[:2])
    to_x, to_y = a * x + c * y, b * x + d * y
    to_x, to_y = to_x - to_x.min(), to_y - to_y.min()
    shown = np.zeros((to_y.max() + 1, to_x.max() + 1, *stored.shape[2:]), stored.dtype)
    shown[to_y, to_x] = stored
    return shown


def test_there_are_eight() -> None:
    assert len(MATRICES) == len({Orientation.of_matrix(display_matrix(*matrix)) for matrix in MATRICES}) == 8


@given(matrix=st.sampled_from(MATRICES), height=st.integers(1, 9), width=st.integers(1, 9))
def test_pixels_are_shown_where_the_matrix_says(matrix: tuple[int, int, int, int], height: int, width: int) -> None:
    stored = np.arange(height * width).reshape(height, width)
    orientation = Orientation.of_matrix(display_matrix(*matrix))
    np.testing.assert_array_equal(orientation.shown(stored), shown_by_definition(stored, *matrix))
    np.testing.assert_array_equal(orientation.stored(orientation.shown(stored)), stored)


@given(matrix=st.sampled_from(MATRICES), box=st.tuples(*[st.integers(0, 5)] * 2, *[st.integers(1, 4)] * 2))
def test_a_rectangle_lies_where_its_pixels_are(matrix: tuple[int, ...], box: tuple[int, int, int, int]) -> None:
    left, top, columns, rows = box
    orientation = Orientation.of_matrix(display_matrix(*matrix))
    shown = orientation.shown(np.arange(12 * 10).reshape(10, 12))
    x, y = orientation.stored_place(left, top, columns, rows, 12, 10)
    wanted = orientation.stored(shown[top : top + rows, left : left + columns])
    stored = orientation.stored(shown)
    np.testing.assert_array_equal(stored[y : y + wanted.shape[0], x : x + wanted.shape[1]], wanted)


@pytest.mark.parametrize("matrix", MATRICES)
def test_a_video_is_read_and_written_as_it_is_shown(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    stored, path = picture(3, 96, 64), tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264rgb", rate=25, options={"crf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "rgb24"
        stream.set_display_matrix(display_matrix(*matrix))
        out.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        out.mux(stream.encode(None))
    wanted = shown_by_definition(stored, *matrix)
    patch = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
    with VideoReader(path) as reader:
        frame = next(reader.frames())
        assert reader.info.upright_size == (wanted.shape[1], wanted.shape[0])
        np.testing.assert_array_equal(frame.rgb(), wanted)
        output, options = tmp_path / "o.mkv", EncodeOptions(codec="ffv1")
        with VideoWriter(tmp_path / "o.mkv", reader.info, None, options) as writer:
            writer.write(frame.pasted(patch, np.ones((12, 20), np.float32), 30, 7))
    wanted[7:19, 30:50] = patch
    with VideoReader(output) as reader:
        np.testing.assert_array_equal(next(reader.frames()).rgb(), wanted)
