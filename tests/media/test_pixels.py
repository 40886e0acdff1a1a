"""Conversions between RGB and a video's own pixel format."""

from __future__ import annotations

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personatalk.media import pixels
from personatalk.media.orientation import Orientation
from personatalk.media.pixels import Box
from personatalk.media.reader import Frame, VideoReader
from personatalk.sample import sample_files

FORMATS = ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv420p10le", "nv12", "rgb24"]


def there_and_back(colour: np.ndarray, pix_fmt: str) -> np.ndarray:
    """Change of a plain colour (3,) by a conversion to a format and back."""
    picture = np.tile(colour.astype(np.uint8), (32, 32, 1))
    stored = pixels.from_rgb(picture, av.VideoFrame(32, 32, pix_fmt))
    return pixels.to_rgb(stored)[16, 16].astype(float) - colour


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_greys_keep_their_brightness(pix_fmt: str) -> None:
    errors = [there_and_back(np.full(3, level), pix_fmt) for level in range(20, 236, 5)]
    assert np.abs(np.mean(errors)) < 0.3
    assert np.abs(errors).max() <= 1


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_colours_stay_within_the_rounding_of_chroma(pix_fmt: str) -> None:
    random = np.random.default_rng(0)
    errors = [there_and_back(random.integers(20, 235, 3), pix_fmt) for _ in range(40)]
    assert np.abs(errors).max() <= 2


def noise(pix_fmt: str, size: tuple[int, int], seed: int) -> av.VideoFrame:
    rgb = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pix_fmt)
    image.colorspace, image.color_range = 1, 2 if pix_fmt.startswith("yuvj") else 1
    return image


ORIENTATIONS = [Orientation(rotation, mirrored) for rotation in (0, 90, 180, 270) for mirrored in (False, True)]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    pix_fmt=st.sampled_from([*FORMATS, "yuv422p10le", "gray", "rgba", "gbrp", "p010le", "yuva420p", "yuv411p"]),
    orientation=st.sampled_from(ORIENTATIONS),
    size=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    box=st.tuples(st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 30), st.integers(1, 30)),
    seed=st.integers(0, 9),
)
def test_paste_changes_no_sample_that_the_mask_does_not_touch(
    pix_fmt: str, orientation: Orientation, size: tuple[int, int], box: tuple[int, int, int, int], seed: int
) -> None:
    left, top, columns, rows = box
    image, random = noise(pix_fmt, size, seed), np.random.default_rng(seed)
    mask = (random.random((rows, columns)) * (random.random((rows, columns)) > 0.5)).astype(np.float32)
    patch = random.integers(0, 256, (rows, columns, 3), np.uint8)
    before = [plane.samples.copy() for plane in pixels.planes_of(image) or ()]
    made = pixels.paste(image, orientation, patch, mask, left, top)
    assert made.format.name == pix_fmt and (made.width, made.height) == size
    touched = np.zeros(orientation.shown(np.zeros((size[1], size[0]))).shape, bool)
    for y, x in zip(*np.nonzero(mask), strict=True):
        if 0 <= top + y < touched.shape[0] and 0 <= left + x < touched.shape[1]:
            touched[top + y, left + x] = True
    stored = orientation.stored(touched)
    for plane, old, own in zip(pixels.planes_of(made) or (), before, pixels.planes_of(image) or (), strict=True):
        assert (own.samples == old).all()  # the source is never written
        down, across = plane.step_y, plane.step_x
        padded = np.pad(stored, ((0, -size[1] % down), (0, -size[0] % across)))
        blocks = padded.reshape(padded.shape[0] // down, down, -1, across).any(axis=(1, 3))
        assert (plane.samples == old)[~blocks].all()


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    pix_fmt=st.sampled_from([*FORMATS, "yuv422p10le", "gray", "yuyv422", "p010le", "yuv411p"]),
    orientation=st.sampled_from(ORIENTATIONS),
    size=st.tuples(st.integers(1, 22), st.integers(1, 22)),  # in fours: FFmpeg stretches the chroma of odd sides
    shares=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_a_part_is_converted_as_in_the_whole(
    pix_fmt: str, orientation: Orientation, size: tuple[int, int], shares: tuple[float, float, float, float]
) -> None:
    frame = Frame(0, 0.0, 0, 1, noise(pix_fmt, (4 * size[0], 4 * size[1]), 0), orientation)
    whole = frame.rgb()
    height, width = whole.shape[:2]
    left, top = int(shares[0] * (width - 1)), int(shares[1] * (height - 1))
    box = Box(left, top, left + 1 + int(shares[2] * (width - left - 1)), top + 1 + int(shares[3] * (height - top - 1)))
    part = frame.rgb(box).astype(int)
    assert np.abs(part - whole[box.top : box.bottom, box.left : box.right]).max() <= 1


def test_a_part_that_is_pasted_back_keeps_its_colours() -> None:
    """FFmpeg places the chroma of decoded images elsewhere than that of copies: a part, like a patch, is a copy."""
    with VideoReader(sample_files()[0]) as reader:
        frame = next(iter(reader.frames()))
    box = Box(100, 100, 300, 300)
    whole = frame.rgb()[box.top : box.bottom, box.left : box.right]
    errors = []
    for patch in (frame.rgb(box), whole):
        pasted = frame.pasted(patch, np.ones(patch.shape[:2], np.float32), box.left, box.top)
        pairs = zip(pixels.planes_of(pasted.image) or (), pixels.planes_of(frame.image) or (), strict=True)
        errors.append(sum(np.abs(new.samples.astype(int) - old.samples).sum() for new, old in pairs))
    assert errors[0] < 0.7 * errors[1]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    pix_fmt=st.sampled_from(["rgb24", "bgr24", "gbrp", "rgba", "rgb48le", "yuv444p", "yuv444p10le"]),
    orientation=st.sampled_from(ORIENTATIONS),
    place=st.tuples(st.integers(-20, 30), st.integers(-20, 30)),
    seed=st.integers(0, 9),
)
def test_a_mask_of_one_gives_the_patch(
    pix_fmt: str, orientation: Orientation, place: tuple[int, int], seed: int
) -> None:
    left, top = place
    image = noise(pix_fmt, (31, 24), seed)
    shape = orientation.shown(np.zeros((24, 31))).shape
    patch = np.random.default_rng(seed + 1).integers(16, 236, (18, 22, 3), np.uint8)
    made = orientation.shown(
        pixels.to_rgb(pixels.paste(image, orientation, patch, np.ones((18, 22), np.float32), left, top))
    )
    y, x = slice(max(top, 0), min(top + 18, shape[0])), slice(max(left, 0), min(left + 22, shape[1]))
    wanted = patch[y.start - top : y.stop - top, x.start - left : x.stop - left] if y.start < y.stop else patch[:0]
    found = made[y, x]
    if not wanted.size or not found.size:
        return
    saturated = pix_fmt.startswith("yuv")  # colours that limited YUV cannot tell apart
    error = np.abs(found.astype(int) - wanted)
    assert error.max() <= (4 if saturated else 0)


def test_a_patch_of_another_size_than_its_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        pixels.paste(
            noise("rgb24", (8, 8), 0), Orientation(), np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3), np.float32), 0, 0
        )
