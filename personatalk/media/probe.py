"""personatalk.media.probe."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from ..errors import MediaError
from .pixels import rotation_of

MICROSECONDS = 1_000_000

# A container start time is rounded to microseconds; below this distance a stream starts with its file.
START_ROUNDING = 2e-6

# Containers that write down how long they are. Others have it estimated from the data that is there.
DECLARED_DURATION = ("mov,mp4", "matroska", "avi", "flv", "asf")

# How much of a declared duration may be missing: writers round it, and some count a last frame twice.
MISSING_SECONDS = 0.5

MISSING_SHARE = 0.05

# Packets that cannot be decoded: this many in a row, or this share of all, and the file is given up.
BAD_PACKETS_IN_A_ROW = 25

BAD_PACKETS_SHARE = 0.1

DEFAULT_FPS = Fraction(25)

# FFmpeg's names of side data that describes the HDR of single frames.
DYNAMIC_HDR = ("DYNAMIC_HDR", "DOVI")


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says about its picture.

    Attributes:
        path: The file.
        container: FFmpeg's name of the container format.
        width: Stored (unrotated) width in pixels.
        height: Stored (unrotated) height in pixels.
        rotation: Degrees clockwise by which players turn the stored picture: 0, 90, 180 or 270.
        display_matrix: The nine numbers behind `rotation` (they can also mirror), None without any.
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
        alpha: Whether the picture is transparent in places, be it in a layer that is not decoded.
        mastering_display: Colours and light of the display that an HDR video was made on, as the x264 and x265
            encoders write it; "" if not given.
        light_level: Brightest pixel and brightest mean of a frame in cd/m2 (MaxCLL, MaxFALL), None if not given.
        dynamic_hdr: Whether frames carry HDR metadata of their own (HDR10+, Dolby Vision, HDR Vivid).
    """

    path: Path
    container: str
    width: int
    height: int
    rotation: int
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

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) in pixels as players show it, before any stretching of non-square pixels."""
        return (self.height, self.width) if self.rotation % 180 else (self.width, self.height)


@dataclass(frozen=True)
class SpeechInfo:
    """What a file says about its sound.

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


@contextlib.contextmanager
def open_input(path: Path) -> Iterator[Any]:
    """Open a media file for reading, and close it afterwards.

    Raises:
        MediaError: No such file, a folder, not readable, or not a media file.
    """
    try:
        if path.is_dir():
            raise MediaError(f"{path} is a folder; name a media file")
        container = av.open(str(path), "r", metadata_errors="replace")
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
    """Say why a file could not be opened, as one line."""
    with contextlib.suppress(OSError):
        if path.stat().st_size == 0:
            return f"{path} is empty (0 bytes); copy or download it again"
    reason = getattr(error, "strerror", None) or str(error)
    return f"{path} is not a media file that FFmpeg can read, or it is cut off ({reason}); check the file"


def is_picture(container: Any) -> bool:
    """Whether the opened file is a still picture rather than a video."""
    name = container.format.name
    return bool(name == "image2" or name.endswith("_pipe"))


def video_stream(container: Any, path: Path) -> Any:
    """The stream that players show: the first one that is not a cover picture.

    Raises:
        MediaError: The file has no video.
    """
    if is_picture(container):
        raise MediaError(f"{path} is a still picture; name a video")
    occlusions = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & occlusions and stream.codec_context is not None:
            return stream
    if container.streams.video and not container.streams.audio:
        raise MediaError(f"{path} has video that this FFmpeg cannot decode; convert it first")
    only = " (it has only sound)" if container.streams.audio else ""
    raise MediaError(f"{path} has no video stream{only}; name a file with video")


def audio_stream(container: Any, path: Path) -> Any:
    """The sound that players play: the first track marked as default, else the first.

    Raises:
        MediaError: The file has no sound.
    """
    tracks = [stream for stream in container.streams.audio if stream.codec_context is not None]
    if not tracks:
        raise MediaError(f"{path} has no sound; name an audio file, or a video with a sound track")
    default = av.stream.Disposition.default
    return next((track for track in tracks if track.disposition & default), tracks[0])


def container_start(container: Any, stream: Any) -> float:
    """The file's start on its own clock, in seconds; exactly the stream's where they are the same."""
    if container.start_time is None:
        return 0.0
    start = container.start_time / MICROSECONDS
    if stream.start_time is not None:
        exact = float(stream.start_time * stream.time_base)
        if abs(exact - start) <= START_ROUNDING:
            return exact
    return float(start)


def probe_video(path: Path | str) -> VideoInfo:
    """Describe a file's video; decodes the first frame, which alone knows the rotation.

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
            rotation=rotation_of(matrix) if matrix else 0,
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
    """Whether a pixel format has transparency."""
    return any(part.is_alpha for part in layout.components)


def _hdr(image: Any) -> dict[str, Any]:
    """What a decoded frame says about HDR beside its colour tags, as fields of `VideoInfo`."""
    data = {side.type.name: bytes(side) for side in image.side_data}
    found: dict[str, Any] = {"dynamic_hdr": any(name.startswith(DYNAMIC_HDR) for name in data)}
    if "MASTERING_DISPLAY_METADATA" in data:
        found["mastering_display"] = _mastering_display(data["MASTERING_DISPLAY_METADATA"])
    if len(data.get("CONTENT_LIGHT_LEVEL", b"")) >= 8:
        brightest, mean = np.frombuffer(data["CONTENT_LIGHT_LEVEL"], np.uint32)[:2]
        found["light_level"] = int(brightest), int(mean)
    return found


def _mastering_display(data: bytes) -> str:
    """FFmpeg's AVMasteringDisplayMetadata in the encoders' words, or "" where it is not complete.

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
    """Describe a file's sound, without decoding it.

    Raises:
        MediaError: Missing, a folder, not a media file, or without sound.
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
    """FFmpeg's name of a channel layout; files that only count their channels mean the usual layout."""
    usual = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
    if layout.name.endswith("channels"):
        return usual.get(layout.nb_channels, str(layout.name))
    return str(layout.name)


def _stream_seconds(container: Any, stream: Any) -> float | None:
    """A stream's length in seconds, the file's if the stream does not say, None if neither does."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    tagged = _clock_seconds(stream.metadata.get("DURATION", ""))
    if tagged:
        return tagged
    return float(container.duration / MICROSECONDS) if container.duration else None


def _clock_seconds(text: str) -> float | None:
    """Seconds of an "HH:MM:SS.fraction" tag as Matroska writes it; None if it is not one."""
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return None


def _first_frame(container: Any, stream: Any, path: Path) -> av.VideoFrame:
    """Decode frames until the first good one."""
    for image in StreamDecoder(container, stream, path, 0.0).frames():
        return image
    raise MediaError(f"{path} has a video stream without any frame; check the file")


def _display_matrix(image: Any) -> tuple[int, ...] | None:
    """The display matrix of a decoded frame, None without one."""
    for data in image.side_data:
        if data.type.name == "DISPLAYMATRIX":
            return tuple(int(value) for value in np.frombuffer(bytes(data), np.int32)[:9])
    return None


class StreamDecoder:
    """Decodes one opened file and notices when the file is not whole."""

    def __init__(self, container: Any, stream: Any, path: Path, start_seconds: float) -> None:
        self.container = container
        self.stream = stream
        self.path = path
        self.start_seconds = start_seconds
        self.packets = 0
        self.bad = 0
        self.bad_in_a_row = 0
        self.seen_until = -math.inf  # seconds on the file's clock, over all its streams
        self.decoded_until = 0.0  # seconds on the presentation timeline

    def frames(self) -> Iterator[Any]:
        """Yield decoded frames of the stream in presentation order.

        Raises:
            MediaError: Reading fails, too many packets cannot be decoded, or the file ends too early.
        """
        self.stream.thread_type = "AUTO"
        for packet in self._demux():
            self._note_end(packet)
            # Not packet.stream_index, which is 0 in the empty packets that end each stream.
            if packet.stream.index != self.stream.index:
                continue
            for image in self._decode(packet):
                if image.pts is not None:
                    self.decoded_until = float(image.pts * self.stream.time_base) - self.start_seconds
                yield image
        self._check_whole()

    def _demux(self) -> Iterator[Any]:
        """Read packets of all streams: the others tell how far a file reaches whose video ends first."""
        try:
            yield from self.container.demux()
        except (av.error.FFmpegError, OSError) as error:
            raise self._damaged(getattr(error, "strerror", None) or str(error)) from error

    def _note_end(self, packet: Any) -> None:
        """Remember the latest time that the file's data reaches."""
        if packet.pts is not None and packet.time_base:
            self.seen_until = max(self.seen_until, float((packet.pts + packet.duration) * packet.time_base))

    def _decode(self, packet: Any) -> list[Any]:
        """Decode one packet; a bad one is skipped, since decoders go on at the next good one."""
        self.packets += 1
        try:
            images = packet.decode()
        except EOFError:
            return []
        except av.error.FFmpegError as error:
            self.bad += 1
            self.bad_in_a_row += 1
            if self.bad_in_a_row >= BAD_PACKETS_IN_A_ROW:
                raise self._damaged(error.strerror or "cannot be decoded") from error
            return []
        self.bad_in_a_row = 0
        return list(images)

    def _check_whole(self) -> None:
        """At the end of the data: complain if there should have been clearly more."""
        if self.bad > max(1, BAD_PACKETS_SHARE * self.packets):
            raise self._damaged(f"{self.bad} of {self.packets} packets cannot be decoded")
        declared = self.container.duration
        if not declared or not self.container.format.name.startswith(DECLARED_DURATION):
            return
        declared_seconds = declared / MICROSECONDS
        # Some containers declare the length and some the end; the later of both is never wrong here.
        if self.seen_until < declared_seconds - max(MISSING_SECONDS, MISSING_SHARE * declared_seconds):
            raise self._damaged(f"its header promises {declared_seconds:.1f} s")

    def _damaged(self, reason: str) -> MediaError:
        return MediaError(
            f"{self.path} is damaged after {max(0.0, self.decoded_until):.1f} s ({reason}); "
            "copy or download it again, or cut it before that time"
        )
