"""Opened media files: which of their streams count, and when they start."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition

from ..errors import MediaError
from ..utils.files import is_pipe
from .clock import start_offset

MICROSECONDS = 1_000_000

# Flag in the header of a WebP file that has an animation.
WEBP_ANIMATION = 2

# Layout of the headers of a file's outermost chunks, of which the length is read, and the bytes that it leaves out.
CHUNK_HEADERS = {"avi": ("<4xI", 8), "asf": ("<16xQ", 0)}

# Bytes of the header of a tag of FLV.
FLV_TAG_HEADER = 11

# A container start time is rounded to microseconds; below this distance a stream starts with its file.
START_ROUNDING = 2e-6

# FFmpeg's names of formats whose files are whole by themselves; those of playlists, which name other files, are left
# out, and so are those of games and devices.
SELF_CONTAINED = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "mxf", "gxf", "dv", "nut", "ivf", "gif", "rm"),
    *("h264", "hevc", "mjpeg", "yuv4mpegpipe", "wav", "w64", "mp3", "flac", "aac", "ac3", "eac3", "aiff", "au", "caf"),
    *("amr", "wv", "tta", "ape", "webp_pipe", "png_pipe", "jpeg_pipe", "bmp_pipe", "tiff_pipe"),
)

# Settings with which this process opens media files.
_opening: dict[str, str] = {}


def refuse_playlists() -> None:
    """Let this process open only self-contained files from now on: a stranger's playlist may name any file."""
    _opening["format_whitelist"] = ",".join(SELF_CONTAINED)


def media_url(path: Path | str) -> str:
    """Return how FFmpeg is told of a file: a name with a colon is no protocol."""
    return f"file:{path}"


@contextlib.contextmanager
def open_input(path: Path) -> Iterator[InputContainer]:
    """Open a media file for reading, and close it afterwards.

    Raises:
        MediaError: No such file, a folder, not readable, or not a media file.
    """
    try:
        if path.is_dir():
            raise MediaError(f"{path} is a folder; name a media file")
        if is_pipe(path):
            raise MediaError(f"{path} is a pipe, which can be read only once; save it to a file and name that")
        container = av.open(media_url(path), "r", options=dict(_opening), metadata_errors="replace")
    except FileNotFoundError:
        raise MediaError(f"{path} does not exist; check the name") from None
    except PermissionError:
        raise MediaError(f"{path} may not be read; change its permissions") from None
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise MediaError(_not_media(path, error)) from error
    with container:
        if container.format.name == "tty":  # FFmpeg takes any .txt for ANSI art
            raise MediaError(f"{path} is a text file; name a video or audio file")
        yield container


def _not_media(path: Path, error: BaseException) -> str:
    """Explain in one line why a file could not be opened."""
    with contextlib.suppress(OSError):
        if path.stat().st_size == 0:
            return f"{path} is empty (0 bytes); copy or download it again"
    return f"{path} is not a media file that FFmpeg can read, or it is cut off ({reason_of(error)}); check the file"


def reason_of(error: BaseException) -> str:
    """Return what FFmpeg or the system says about an error."""
    return getattr(error, "strerror", None) or str(error)


def reaches_its_end(path: Path, container: str) -> bool:
    """Return whether a file is as long as its own structure says; False where that is not known.

    Args:
        path: The file.
        container: FFmpeg's name of its container.

    Raises:
        OSError: It cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if container == "flv":  # ends with the size of its last tag
            file.seek(-4, os.SEEK_END)
            (length,) = struct.unpack(">I", file.read(4))
            file.seek(max(0, size - 4 - length))
            return length == int.from_bytes(file.read(4)[1:], "big") + FLV_TAG_HEADER
        if container not in CHUNK_HEADERS:
            return False
        layout, excluded = CHUNK_HEADERS[container]
        place = 0
        while place + struct.calcsize(layout) <= size:
            file.seek(place)
            (length,) = struct.unpack(layout, file.read(struct.calcsize(layout)))
            place += max(1, length + excluded)
        return place == size


def is_still_image(container: InputContainer) -> bool:
    """Return whether the opened file is a still image rather than a video."""
    name = container.format.name
    return bool(name == "image2" or name.endswith("_pipe"))


def _is_animated_webp(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(21)
    return head[8:16] == b"WEBPVP8X" and len(head) == 21 and bool(head[20] & WEBP_ANIMATION)


def video_stream(container: InputContainer, path: Path) -> av.VideoStream:
    """Return the stream that players show: the first one that is not a cover image.

    Raises:
        MediaError: The file has no video.
    """
    if is_still_image(container):
        if _is_animated_webp(path):
            raise MediaError(f"{path} is an animated WebP, which FFmpeg cannot read; convert it to MP4 or GIF first")
        raise MediaError(f"{path} is a still picture; name a video")
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None:
            return stream
    if container.streams.video and not container.streams.audio:
        raise MediaError(f"{path} has video that this FFmpeg cannot decode; convert it first")
    only = " (it has only sound)" if container.streams.audio else ""
    raise MediaError(f"{path} has no video stream{only}; name a file with video")


def audio_stream(container: InputContainer, path: Path) -> av.AudioStream:
    """Return the audio track that players play: the first one marked as default, else the first.

    Raises:
        MediaError: The file has no audio.
    """
    tracks = [stream for stream in container.streams.audio if stream.codec_context is not None]
    if not tracks:
        raise MediaError(f"{path} has no sound; name an audio file, or a video with a sound track")
    return next((track for track in tracks if track.disposition & Disposition.default), tracks[0])


def container_start(container: InputContainer, stream: av.VideoStream | av.AudioStream) -> float:
    """Return the file's start on its continuous clock, in seconds; exactly the stream's where they are the same."""
    if container.start_time is None:
        return 0.0
    offset = start_offset(container)
    start = container.start_time / MICROSECONDS + float(offset)
    if stream.start_time is not None and stream.time_base is not None:
        exact = float((stream.start_time + round(offset / stream.time_base)) * stream.time_base)
        if abs(exact - start) <= START_ROUNDING:
            return exact
    return float(start)
