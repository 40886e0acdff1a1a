"""Still images as videos of one frame, which everything that reads videos can read."""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageCms, ImageOps

from ..errors import MediaError
from ..utils.arrays import Image
from ..utils.files import is_file, standing_in
from .container import media_url
from .pixels import LIMITED_RANGE, from_rgb

# Frames per second of a clip that is made of a still.
FPS = 25

# Pixels of the longer side of that clip: full HD, which all players show. Larger images are scaled down.
LONGEST_SIDE = 1920

# Pixels of the shorter side that encoders take.
SHORTEST_SIDE = 16

# Formats of Pillow that run other programs, are videos, or that it can only name.
NOT_READ = ("EPS", "WMF", "MPEG", "FLI", "GRIB", "HDF5", "BUFR")

# Formats whose further images are parts or small copies of the first.
OF_ONE_IMAGE = ("MPO", "PSD", "ICO", "ICNS")

# FFmpeg's number of BT.709: the YUV matrix, the primaries and the transfer curve of HD video.
BT709 = 1

# Level of white in 8 bits, and its ratio to that in 16.
WHITE = 255
DEEP = 257


@dataclass(frozen=True)
class StillVideo:
    """A still image as a video.

    Attributes:
        path: The video, of one frame.
        warnings: What became of the image, one line each.
    """

    path: Path
    warnings: list[str] = field(default_factory=list)


@contextlib.contextmanager
def still_as_video(path: Path) -> Iterator[StillVideo | None]:
    """Make a video of one frame out of a still image; it is deleted afterwards.

    Args:
        path: Any file.

    Yields:
        The video; None where the file is no still image. Errors of the block name the image.

    Raises:
        MediaError: It is one that cannot be read, or not taken.
    """
    rgb, notes = None, list[str]()
    with _explained(path):
        image = _open(path)
        if image is not None:
            with image:
                rgb = _upright_rgb(path, image, notes)
    if rgb is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="personatalk-") as folder:
        made = Path(folder) / "still.mkv"
        _write(made, rgb)
        with standing_in(path, made):
            yield StillVideo(made, notes)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn the many errors of damaged images into MediaError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", PillowImage.DecompressionBombWarning)
            yield
    except (PillowImage.DecompressionBombWarning, PillowImage.DecompressionBombError):
        raise MediaError(f"{path} is an image of too many pixels; scale it down first") from None
    except MediaError:
        raise
    except Exception as error:  # Pillow's plugins raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MediaError(f"{path} is a damaged image ({reason}); save or download it again") from error


def _open(path: Path) -> PillowImage.Image | None:
    """Open a still image, None for all else."""
    if not is_file(path):
        return None  # a pipe would never end
    PillowImage.init()
    formats = [name for name in PillowImage.ID if name not in NOT_READ]
    try:
        image = PillowImage.open(path, formats=formats)
    except (OSError, ValueError):  # not there, or not an image: told where videos are opened
        return None
    if getattr(image, "n_frames", 1) == 1 or image.format in OF_ONE_IMAGE:
        return image
    with image:
        if image.format == "TIFF":
            raise MediaError(f"{path} holds several images; save the one that is meant")
    return None  # animated


def _upright_rgb(path: Path, image: PillowImage.Image, notes: list[str]) -> Image:
    """Return an image as it is meant to be seen, uint8 (H, W, 3) in sRGB with even sides."""
    if image.mode == "F":
        raise MediaError(f"{path} is an image of floating-point numbers; save it with 8 or 16 bits")
    image.load()
    upright = image
    with contextlib.suppress(Exception):  # a damaged orientation turns nothing
        upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        upright = _shallow(upright)
    if upright.has_transparency_data:
        upright = _on_white(upright, notes)
    upright = _in_srgb(upright)
    if max(upright.size) > LONGEST_SIDE:
        notes.append(f"the image of {upright.width} x {upright.height} was scaled down to {LONGEST_SIDE} pixels")
        upright = ImageOps.contain(upright, (LONGEST_SIDE, LONGEST_SIDE), PillowImage.Resampling.LANCZOS)
    if min(upright.size) < SHORTEST_SIDE:
        raise MediaError(f"{path} is {upright.width} x {upright.height} pixels small; give a larger image")
    rgb = np.asarray(upright, np.uint8)
    return np.ascontiguousarray(rgb[: len(rgb) // 2 * 2, : rgb.shape[1] // 2 * 2])


def _shallow(image: PillowImage.Image) -> PillowImage.Image:
    """Return a grey image of 16 or 32 bits with 8; numbers of 32 bits count as those of 16, if none is larger."""
    deep: npt.NDArray[np.int64] = np.asarray(image).astype(np.int64)
    largest = max(DEEP * WHITE, int(deep.max()))
    return PillowImage.fromarray(np.rint(np.clip(deep, 0, largest) * (WHITE / largest)).astype(np.uint8))


def _on_white(image: PillowImage.Image, notes: list[str]) -> PillowImage.Image:
    """Return an image whose transparent parts are white."""
    coloured = image.convert("RGBA")
    if coloured.getchannel("A").getextrema() == (WHITE, WHITE):
        return coloured.convert("RGB")
    notes.append("the image's transparent parts became white")
    ground = PillowImage.new("RGBA", coloured.size, "white")
    result = PillowImage.alpha_composite(ground, coloured).convert("RGB")
    result.info["icc_profile"] = image.info.get("icc_profile")
    return result


def _in_srgb(image: PillowImage.Image) -> PillowImage.Image:
    """Return an image in sRGB, by its own colour profile if that can be read."""
    profile = image.info.get("icc_profile")
    plain = image if image.mode in ("RGB", "CMYK", "L") else image.convert("RGB")
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
            own, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(plain, own, srgb, outputMode="RGB")
            if converted is not None:
                return converted
    return plain.convert("RGB")


def _write(path: Path, rgb: Image) -> None:
    """Write an image as a video of one frame, without loss but for the halved resolution of its colours."""
    rows, columns = rgb.shape[:2]
    like = av.VideoFrame(columns, rows, "yuv420p")
    like.colorspace, like.color_range = BT709, LIMITED_RANGE
    with av.open(media_url(path), "w") as container:
        stream = container.add_stream("ffv1", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = columns, rows, "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_range = BT709, LIMITED_RANGE
        context.color_primaries, context.color_trc = BT709, BT709
        frame = from_rgb(rgb, like)
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
