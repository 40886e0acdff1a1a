"""Images in FFmpeg's pixel formats: conversion to RGB, and blending a patch into an image's planes."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from ..utils.arrays import Array, Image
from .orientation import Orientation

# FFmpeg's numbers of the ranges (AVColorRange).
FULL_RANGE = 2
LIMITED_RANGE = 1

# swscale's numbers of YUV matrices by FFmpeg's (AVColorSpace). Untagged video is taken as BT.601, as
# swscale does: any choice is good as long as reading and pasting make the same one.
SWSCALE_BT601 = 5
MATRICES = {1: 1, 4: 4, 5: SWSCALE_BT601, 6: SWSCALE_BT601, 7: 7, 9: 9, 10: 9}

# Formats that images become for blending when their own format has no whole samples in memory.
BLENDABLE = ("yuv422p", "yuv422p10le", "yuv444p", "yuv444p10le", "rgb24", "rgba", "rgb48le", "gray")

# Swscale's SWS_BICUBIC, SWS_ACCURATE_RND and SWS_FULL_CHR_H_INT; not all have names in every version of PyAV. Without
# full chroma interpolation swscale takes a short cut from subsampled formats to RGB that comes out one to two grey
# levels too dark.
BICUBIC, ACCURATE_RND, FULL_CHROMA = 0x4, 0x40000, 0x2000
INTERPOLATION = BICUBIC | ACCURATE_RND | FULL_CHROMA

# Chroma samples beside a part of an image that its colours depend on.
BESIDE = 2
# Sides of parts are multiples of so many pixels: FFmpeg prepares itself for each size anew.
PART_SIDE = 32
# Kinds of conversions that each thread keeps prepared.
MOST_KEPT = 16


class _Converters(threading.local):
    """FFmpeg's converters of one thread: preparing one takes as long as converting a face."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], VideoReformatter] = {}

    def reformat(self, image: Any, **wish: Any) -> Any:
        """Return `image.reformat(**wish)`."""
        key = image.format.name, image.width, image.height, wish["format"], wish.get("width")
        if len(self._kept) >= MOST_KEPT and key not in self._kept:
            self._kept.clear()
        return self._kept.setdefault(key, VideoReformatter()).reformat(image, **wish)


_CONVERTERS = _Converters()


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels: left and top inside, right and bottom outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def empty(self) -> bool:
        """Return whether the rectangle holds no pixel."""
        return self.right <= self.left or self.bottom <= self.top

    def within(self, outer: Box) -> tuple[slice, slice]:
        """Return rows and columns of this box in an image of another, which holds it."""
        return (
            slice(self.top - outer.top, self.bottom - outer.top),
            slice(self.left - outer.left, self.right - outer.left),
        )


@dataclass(frozen=True)
class Plane:
    """One plane of an image as an array that shares its memory.

    Attributes:
        samples: (h, w, c) uint8 or uint16; c is 1 except in formats that interleave.
        step_x: Pixels per sample across.
        step_y: Pixels per sample down.
        alpha: Which of the c is transparency, None without any.
    """

    samples: npt.NDArray[Any]
    step_x: int
    step_y: int
    alpha: int | None


def _matrix_and_range(image: Any) -> tuple[int, int]:
    """Return swscale's numbers of an image's matrix and range."""
    full = image.format.name.startswith("yuvj") or image.color_range == FULL_RANGE
    return MATRICES.get(int(image.colorspace), SWSCALE_BT601), FULL_RANGE if full else LIMITED_RANGE


def to_rgb(image: Any, side: int | None = None) -> Image:
    """Convert a stored image to RGB, uint8 (height, width, 3), or to a small square of the given side."""
    matrix, color_range = _matrix_and_range(image)
    scaling = {"interpolation": INTERPOLATION if side is None else "AREA", "width": side, "height": side}
    if image.format.is_rgb:
        rgb = _CONVERTERS.reformat(image, format="rgb24", **scaling)
    else:
        rgb = _CONVERTERS.reformat(
            image,
            format="rgb24",
            src_colorspace=matrix,
            src_color_range=color_range,
            dst_color_range=FULL_RANGE,
            **scaling,
        )
    return np.asarray(rgb.to_ndarray(), np.uint8)


def part_to_rgb(image: Any, box: Box) -> Image:
    """Return a part of a stored image in RGB, uint8 (h, w, 3), with its chroma where `paste` will put it.

    FFmpeg may place the chroma of the whole image half a pixel away, since PyAV does not tell copies where it lies.
    """
    planes = planes_of(image)
    if planes is None:
        return to_rgb(image)[box.top : box.bottom, box.left : box.right]
    outer = _aligned(box, planes, image)
    return to_rgb(crop(image, outer))[box.within(outer)]


def from_rgb(rgb: Image, like: Any) -> Any:
    """Convert uint8 (h, w, 3) RGB to an image of the pixel format, matrix and range of `like`."""
    matrix, color_range = _matrix_and_range(like)
    image = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    if like.format.is_rgb:
        return _CONVERTERS.reformat(image, format=like.format.name, interpolation=INTERPOLATION)
    return _CONVERTERS.reformat(
        image,
        format=like.format.name,
        src_color_range=FULL_RANGE,
        dst_colorspace=matrix,
        dst_color_range=color_range,
        interpolation=INTERPOLATION,
    )


def convert_frame(image: Any, pix_fmt: str) -> Any:
    """Convert an image to another pixel format; YUV stays in the same matrix and range."""
    if image.format.name == pix_fmt:
        return image
    matrix, color_range = _matrix_and_range(image)
    to_rgb_format = av.VideoFormat(pix_fmt).is_rgb
    source_rgb = image.format.is_rgb
    result = _CONVERTERS.reformat(
        image,
        format=pix_fmt,
        src_colorspace=None if source_rgb else matrix,
        src_color_range=FULL_RANGE if source_rgb else color_range,
        dst_colorspace=None if to_rgb_format else matrix,
        dst_color_range=FULL_RANGE if to_rgb_format else color_range,
        interpolation=INTERPOLATION,
    )
    copy_tags(image, result)
    return result


def copy_tags(source: Any, target: Any) -> None:
    """Give `target` the time and the colour tags of `source`."""
    target.pts = source.pts
    if source.time_base is not None:
        target.time_base = source.time_base
    target.colorspace = source.colorspace
    target.color_range = source.color_range
    target.color_primaries = source.color_primaries
    target.color_trc = source.color_trc


def planes_of(image: Any) -> list[Plane] | None:
    """Return the planes of an image, or None if its samples are not whole bytes or 16-bit words."""
    layout = image.format
    parts = layout.components
    widest = max(part.bits for part in parts)
    if layout.has_palette or layout.is_bit_stream or layout.is_bayer or widest > 16:
        return None
    packed = len({part.plane for part in parts}) == 1 and len(parts) > 1
    subsampled = layout.chroma_width(image.width) != image.width
    if packed and (subsampled or any(part.bits not in (8, 16) for part in parts)):
        return None
    size = 1 if widest <= 8 else 2
    kind = np.dtype(np.uint8) if size == 1 else np.dtype(">u2" if layout.is_big_endian else "<u2")
    planes = []
    for number, plane in enumerate(image.planes):
        own = [part for part in parts if part.plane == number]
        channels = layout.padded_bits_per_pixel // (8 * size) if packed else len(own)
        if not own or plane.line_size < plane.width * channels * size:
            return None
        rows = np.frombuffer(plane, np.uint8)[: plane.height * plane.line_size]
        rows = rows.reshape(plane.height, plane.line_size)[:, : plane.width * channels * size]
        samples = rows.view(kind).reshape(plane.height, plane.width, channels)
        steps = -(-image.width // plane.width), -(-image.height // plane.height)
        planes.append(Plane(samples, *steps, _alpha(own, layout.name)))
    return planes


def _alpha(parts: list[Any], name: str) -> int | None:
    """Return the channel of a plane that is transparency: formats named "a..." store it first, others last."""
    if not any(part.is_alpha for part in parts):
        return None
    return 0 if len(parts) == 1 or name.startswith("a") else len(parts) - 1


def paste(image: Any, orientation: Orientation, patch: Image, mask: Array, left: int, top: int) -> Any:
    """Blend a patch, as it is shown, into a copy of a stored image; see `Frame.pasted`."""
    if patch.shape != (*mask.shape, 3):
        raise ValueError(f"patch {patch.shape} and mask {mask.shape} do not fit")
    work = image if planes_of(image) is not None else convert_frame(image, _blendable(image.format.name))
    result = duplicate(work)
    box, patch, mask = _stored(patch, mask, left, top, orientation, image.width, image.height)
    if not box.empty and bool((mask > 0).any()):
        _blend(work, result, box, patch, np.clip(mask, 0.0, 1.0).astype(np.float32))
    return convert_frame(result, image.format.name)


def _blendable(name: str) -> str:
    """Return the nearest format that `planes_of` knows."""
    best, _ = av.codec.find_best_pix_fmt_of_list(list(BLENDABLE), name)
    return str(best.name) if best is not None else "rgb24"


def cross_faded(image: Any, other: Any, share: float) -> Any:
    """Return an image with another one seen through it.

    Args:
        image: The image.
        other: One of the same size; one of another size, as streams may have that change it, is not seen.
        share: Share of the other, 0..1.
    """
    if (other.width, other.height) != (image.width, image.height):
        return image
    name = image.format.name if planes_of(image) is not None else _blendable(image.format.name)
    result, through = duplicate(convert_frame(image, name)), convert_frame(other, name)
    for plane, seen in zip(planes_of(result) or (), planes_of(through) or (), strict=True):
        mixed = (1 - share) * plane.samples.astype(np.float32) + share * seen.samples
        plane.samples[:] = np.rint(mixed).astype(plane.samples.dtype)
    return convert_frame(result, image.format.name)


def duplicate(image: Any) -> Any:
    """Copy an image into buffers of its own."""
    copy = av.VideoFrame(image.width, image.height, image.format.name)
    copy_tags(image, copy)
    for target, source in zip(planes_of(copy) or (), planes_of(image) or (), strict=True):
        target.samples[:] = source.samples
    return copy


def _stored(
    patch: Image, mask: Array, left: int, top: int, orientation: Orientation, width: int, height: int
) -> tuple[Box, Image, Array]:
    """Turn a patch from shown to stored coordinates and cut off what hangs over the edges.

    Args:
        patch: uint8 (h, w, 3).
        mask: float32 (h, w).
        left: Shown x of the patch.
        top: Shown y of the patch.
        orientation: How the stored image is shown.
        width: Stored width of the image.
        height: Stored height of the image.
    """
    x, y = orientation.stored_place(left, top, mask.shape[1], mask.shape[0], width, height)
    patch, mask = orientation.stored(patch), orientation.stored(mask)
    rows, columns = mask.shape
    box = Box(max(x, 0), max(y, 0), min(x + columns, width), min(y + rows, height))
    inside = np.s_[box.top - y : max(box.bottom - y, 0), box.left - x : max(box.right - x, 0)]
    return box, patch[inside], mask[inside]


def _blend(source: Any, target: Any, box: Box, patch: Image, mask: Array) -> None:
    """Blend a stored-coordinates patch into `target`, a copy of `source`.

    The patch is converted together with the image's own pixels around it and under mask 0: they share
    chroma samples with the patch, and foreign colours must not bleed into those.
    """
    planes = planes_of(target) or []
    outer = _aligned(box, planes, source)
    inner = box.within(outer)
    region = crop(source, outer)
    rgb = to_rgb(region).copy()
    np.copyto(rgb[inner], patch, where=mask[..., None] > 0)
    weight = np.zeros(rgb.shape[:2], np.float32)
    weight[inner] = mask
    new = planes_of(from_rgb(rgb, region)) or []
    for old, fresh in zip(planes, new, strict=True):
        place = _window(old, outer)
        old.samples[place] = _mixed(old, old.samples[place], fresh.samples, weight)


def _aligned(box: Box, planes: list[Plane], image: Any) -> Box:
    """Grow a box to whole chroma samples, inside the image, with what its colours depend on around it."""
    across, down = max(plane.step_x for plane in planes), max(plane.step_y for plane in planes)
    left, right = _grown(box.left, box.right, across, image.width)
    top, bottom = _grown(box.top, box.bottom, down, image.height)
    return Box(left, top, right, bottom)


def _grown(first: int, stop: int, step: int, size: int) -> tuple[int, int]:
    """Grow a span of pixels to samples of `step` pixels, some more beside it, and to a multiple of `PART_SIDE`."""
    first, stop = max(0, first // step - BESIDE) * step, (-(-stop // step) + BESIDE) * step
    length = -(-(stop - first) // PART_SIDE) * PART_SIDE
    stop = min(size, first + length)
    return max(0, stop - length) // step * step, stop


def _window(plane: Plane, box: Box) -> tuple[slice, slice]:
    """Return the samples of a plane that an aligned box covers."""
    return (
        slice(box.top // plane.step_y, -(-box.bottom // plane.step_y)),
        slice(box.left // plane.step_x, -(-box.right // plane.step_x)),
    )


def crop(image: Any, box: Box) -> Any:
    """Copy an aligned part of an image into a small image of the same format."""
    part = av.VideoFrame(box.right - box.left, box.bottom - box.top, image.format.name)
    copy_tags(image, part)
    for target, source in zip(planes_of(part) or (), planes_of(image) or (), strict=True):
        target.samples[:] = source.samples[_window(source, box)]
    return part


def _mixed(plane: Plane, old: npt.NDArray[Any], new: npt.NDArray[Any], weight: Array) -> npt.NDArray[Any]:
    """Blend samples (h, w, c) by a mask of pixels, averaged over the pixels of each sample."""
    share = _averaged(weight, plane.step_x, plane.step_y)[..., None]
    mixed = np.subtract(new, old, dtype=np.float32)
    mixed *= share
    # Where the share is 0, nothing is added: float32 holds 16 bits.
    result = np.rint(np.add(mixed, old, out=mixed), out=mixed).astype(old.dtype)
    if plane.alpha is not None:
        result[..., plane.alpha] = old[..., plane.alpha]
    return result


def _averaged(weight: Array, step_x: int, step_y: int) -> Array:
    """Return the mean of a mask over blocks of pixels; blocks that the image's edge cuts count what is there."""
    if step_x == 1 and step_y == 1:
        return weight
    rows, columns = weight.shape
    padded = cv2.copyMakeBorder(weight, 0, -rows % step_y, 0, -columns % step_x, cv2.BORDER_REPLICATE)
    size = padded.shape[1] // step_x, padded.shape[0] // step_y
    return cv2.resize(padded, size, interpolation=cv2.INTER_AREA)
