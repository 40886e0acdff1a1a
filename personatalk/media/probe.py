"""Description of media files: `probe_video` and `probe_speech`."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from ..errors import MediaError
from .container import MICROSECONDS, audio_stream, container_start, open_input, video_stream
from .decoder import VideoDecoder
from .orientation import AS_STORED, Orientation
from .side_data import side_data

# Frame rate of a video that tells none.
DEFAULT_FPS = Fraction(25)

# FFmpeg's names of side data that describes the HDR of single frames.
DYNAMIC_HDR = ("DYNAMIC_HDR", "DOVI")

# What so many channels mean where a file only counts them.
USUAL_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}


@dataclass(frozen=True)
class VideoInfo:
    """Description of a video file's video stream.

    Attributes:
        path: The file.
        container: FFmpeg's name of the container format.
        width: Stored (unrotated) width in pixels.
        height: Stored (unrotated) height in pixels.
        orientation: How players turn and mirror the stored image.
        display_matrix: The nine numbers behind `orientation`, None without any.
        pix_fmt: FFmpeg's name of the pixel format.
        codec: FFmpeg's name of the video codec.
        average_fps: Frames per second, on average.
        time_base: Seconds per tick of `Frame.pts`.
        start_seconds: The file's start on its own clock; `Frame.time = pts * time_base - start_seconds`.
        duration: Seconds of video, None if unknown.
        estimated_frames: A guess for progress bars, 0 if unknown.
        sample_aspect_ratio: Width to height of one pixel, None if not given.
        colorspace: FFmpeg's number of the YUV matrix (AVColorSpace), 2 if not given.
        color_range: FFmpeg's number of the range (AVColorRange): 0 not given, 1 limited, 2 full.
        color_primaries: FFmpeg's number of the primaries, 2 if not given.
        color_trc: FFmpeg's number of the transfer curve, 2 if not given.
        stream_index: Which stream of the file it is.
        interlaced: Whether a frame holds two moments, line by line.
        alpha: Whether the image can be transparent in places, be it in a layer that is not decoded.
        mastering_display: Colours and light of the display that an HDR video was made on, as the x264 and x265
            encoders write it; "" if not given.
        light_level: Brightest pixel and brightest mean of a frame in cd/m2 (MaxCLL, MaxFALL), None if not given.
        dynamic_hdr: Whether frames carry HDR metadata of their own (HDR10+, Dolby Vision, HDR Vivid).
        stretch: Factor by which frames are shown longer than in the file; 1 but for an output that is stretched.
    """

    path: Path
    container: str
    width: int
    height: int
    orientation: Orientation
    display_matrix: tuple[int, ...] | None
    pix_fmt: str
    codec: str
    average_fps: Fraction
    time_base: Fraction
    start_seconds: float
    duration: float | None
    estimated_frames: int
    sample_aspect_ratio: Fraction | None
    colorspace: int
    color_range: int
    color_primaries: int
    color_trc: int
    stream_index: int
    interlaced: bool = False
    alpha: bool = False
    mastering_display: str = ""
    light_level: tuple[int, int] | None = None
    dynamic_hdr: bool = False
    stretch: Fraction = Fraction(1)

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) in pixels as players show it, before any stretching of non-square pixels."""
        return (self.height, self.width) if self.orientation.swaps_sides else (self.width, self.height)


@dataclass(frozen=True)
class SpeechInfo:
    """Description of a file's audio track.

    Attributes:
        path: The file.
        rate: Samples per second.
        channels: Number of channels.
        layout: FFmpeg's name of the channel layout, such as "stereo".
        seconds: Length, 0.0 if the file does not say.
        codec: FFmpeg's name of the codec.
    """

    path: Path
    rate: int
    channels: int
    layout: str
    seconds: float
    codec: str


def probe_video(path: Path | str) -> VideoInfo:
    """Describe a file's video; decodes the first frame, which alone knows the orientation.

    Raises:
        MediaError: Missing, a folder, not a media file, without video, or no frame can be decoded.
    """
    path = Path(path)
    with open_input(path) as container:
        stream = video_stream(container, path)
        first = _first_frame(container, stream, path)
        context = stream.codec_context
        matrix = _display_matrix(first)
        fps = stream.average_rate or stream.guessed_rate or stream.base_rate or DEFAULT_FPS
        duration = _stream_seconds(container, stream)
        return VideoInfo(
            path=path,
            container=container.format.name,
            width=first.width,
            height=first.height,
            orientation=Orientation.of_matrix(matrix) if matrix else AS_STORED,
            display_matrix=matrix,
            pix_fmt=first.format.name,
            codec=context.codec.canonical_name,
            average_fps=Fraction(fps),
            time_base=Fraction(stream.time_base),
            start_seconds=container_start(container, stream),
            duration=duration,
            estimated_frames=stream.frames or round((duration or 0.0) * fps),
            sample_aspect_ratio=stream.sample_aspect_ratio or None,
            colorspace=int(first.colorspace),
            color_range=2 if first.format.name.startswith("yuvj") else int(first.color_range),
            color_primaries=int(first.color_primaries),
            color_trc=int(first.color_trc),
            stream_index=stream.index,
            interlaced=bool(first.interlaced_frame),
            alpha=has_alpha(first.format) or stream.metadata.get("alpha_mode", "0") == "1",
            **_hdr(first),
        )


def has_alpha(layout: Any) -> bool:
    """Return whether a pixel format has transparency."""
    return any(part.is_alpha for part in layout.components)


def _hdr(image: Any) -> dict[str, Any]:
    """Return the HDR metadata of a decoded frame, beside its colour tags, as fields of `VideoInfo`."""
    data = side_data(image)
    found: dict[str, Any] = {"dynamic_hdr": any(name.startswith(DYNAMIC_HDR) for name in data)}
    if "MASTERING_DISPLAY_METADATA" in data:
        found["mastering_display"] = _mastering_display(data["MASTERING_DISPLAY_METADATA"])
    if len(data.get("CONTENT_LIGHT_LEVEL", b"")) >= 8:
        brightest, mean = np.frombuffer(data["CONTENT_LIGHT_LEVEL"], np.uint32)[:2]
        found["light_level"] = int(brightest), int(mean)
    return found


def _mastering_display(data: bytes) -> str:
    """Return FFmpeg's AVMasteringDisplayMetadata as the encoders write it, or "" where it is not complete.

    The struct holds ten fractions (red, green, blue and white as x and y; least and most light) and two flags. The
    encoders count chromaticity in 1/50,000 and light in 1/10,000 cd/m2.
    """
    numbers = np.frombuffer(data, np.int32)
    if len(numbers) < 22 or not numbers[20:22].all() or not numbers[1:20:2].all():
        return ""
    values = numbers[:20:2] / numbers[1:20:2]
    red, green, blue, white = (values[:8] * 50000).round().astype(int).reshape(4, 2).tolist()
    darkest, lightest = (values[8:] * 10000).round().astype(int).tolist()
    names = ("G", "B", "R", "WP")
    points = "".join(f"{name}({x},{y})" for name, (x, y) in zip(names, (green, blue, red, white), strict=True))
    return f"{points}L({lightest},{darkest})"


def probe_speech(path: Path | str) -> SpeechInfo:
    """Describe a file's audio track, without decoding it.

    Raises:
        MediaError: Missing, a folder, not a media file, or without audio.
    """
    path = Path(path)
    with open_input(path) as container:
        stream = audio_stream(container, path)
        context = stream.codec_context
        return SpeechInfo(
            path=path,
            rate=context.sample_rate,
            channels=context.layout.nb_channels,
            layout=layout_name(context.layout),
            seconds=_stream_seconds(container, stream) or 0.0,
            codec=context.codec.canonical_name,
        )


def layout_name(layout: Any) -> str:
    """Return FFmpeg's name of a channel layout; files that only count their channels mean the usual layout."""
    if layout.name.endswith("channels"):
        return USUAL_LAYOUTS.get(layout.nb_channels, str(layout.name))
    return str(layout.name)


def _stream_seconds(container: Any, stream: Any) -> float | None:
    """Return a stream's length in seconds, the file's if the stream does not say, None if neither does."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    tagged = _clock_seconds(stream.metadata.get("DURATION", ""))
    if tagged:
        return tagged
    return float(container.duration / MICROSECONDS) if container.duration else None


def _clock_seconds(text: str) -> float | None:
    """Return the seconds of an "HH:MM:SS.fraction" tag as Matroska writes it; None if it is not one."""
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return None


def _first_frame(container: Any, stream: Any, path: Path) -> av.VideoFrame:
    """Return the first frame that can be decoded."""
    for image in VideoDecoder(container, stream, path, 0.0).frames():
        return image
    raise MediaError(f"{path} has a video stream without any frame; check the file")


def _display_matrix(image: Any) -> tuple[int, ...] | None:
    """Return the display matrix of a decoded frame, None without one."""
    matrix = side_data(image).get("DISPLAYMATRIX")
    return None if matrix is None else tuple(int(value) for value in np.frombuffer(matrix, np.int32)[:9])
