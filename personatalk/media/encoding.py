"""The encoding of the output's video stream: codec, pixel format, clock, quality and tags."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.video.frame import PictureType

from ..errors import OutputError
from ..utils.scheduling import ordinary_scheduling
from .codecs import FRAME_CLOCK, choose_pix_fmt, choose_video_codec
from .container import media_url
from .frame_rate import counting_rate
from .options import EncodeOptions
from .pixels import convert_frame
from .probe import VideoInfo
from .reader import Frame

# FFmpeg's units per quantiser step, and the quantiser of the encoders that know no CRF.
QUANTISER_STEP = 118
QUANTISER = 2

# Largest CRF of the encoders that know less than 63; beyond it x264 takes its largest without a word.
MOST_CRF = {"libx264": 51, "libx265": 51}

# FFmpeg's number of the YUV matrix of BT.601, which RGB becomes.
BT601_TAG = 6

# Lets x264 give the same every time, and on every processor. Without it, its code for AVX-512 reads memory that nobody
# has written, and small videos differ by some grey levels from run to run.
REPRODUCIBLE = "cpu-independent=1"

# What x264's preset "superfast" goes without, and what makes its files almost as small as those of "faster" at the same
# PSNR, in half the time.
SUPERFAST = "mbtree=1:rc-lookahead=10:subme=2"

# Names of the parameters of HDR metadata (mastering display, light level), by encoder.
HDR_PARAMETERS = {"libx264": ("mastering-display", "cll"), "libx265": ("master-display", "max-cll")}


@dataclass(frozen=True)
class VideoEncoding:
    """Encoding of frames of a source.

    Attributes:
        source: The video that the frames come from; its size, shape and colours are kept.
        codec: FFmpeg's name of the encoder.
        pix_fmt: FFmpeg's name of the encoder's pixel format.
        fps: Frames per second, on average.
        clock: Seconds per tick of encoded packets.
        options: Options of the encoder.
        warnings: What cannot be kept from the source, one line each.
    """

    source: VideoInfo
    codec: str
    pix_fmt: str
    fps: Fraction
    clock: Fraction
    options: dict[str, str]
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def choose(cls, source: VideoInfo, wanted: EncodeOptions, output: OutputContainer) -> VideoEncoding:
        """Choose what a container can hold and loses least.

        Raises:
            MediaError: FFmpeg has no such encoder, or it takes no such quality or frame times.
        """
        name, warnings = output.format.name, []
        codec = choose_video_codec(wanted.codec, output.supported_codecs)
        if codec != wanted.codec:
            warnings.append(f"the video is {codec}: {name} cannot hold {wanted.codec}")
        counts = codec in FRAME_CLOCK or name == "avi"
        fps = counting_rate(source) if counts else source.average_fps.limit_denominator(65535)
        clock = 1 / fps if counts else source.time_base
        hdr = _hdr_parameters(source, codec, warnings)
        options = _codec_options(codec, wanted, hdr)
        if name in ("avi", "asf"):
            options["bf"] = "0"  # they keep no presentation times, so frames must be stored as shown
        pix_fmt, lost = choose_pix_fmt(codec, source.pix_fmt, source.width, source.height)
        if lost:
            warnings.append(f"{codec} has no {source.pix_fmt}; {pix_fmt} loses {lost}")
        return cls(source, codec, pix_fmt, fps, clock, options, warnings)

    def add_stream(self, output: OutputContainer) -> Any:
        """Add a video stream with the source's size, clock, shape, rotation and colours."""
        stream: Any = output.add_stream(self.codec, rate=self.fps, options=self.options, time_base=self.clock)
        self._describe(stream.codec_context)
        if self.source.display_matrix is not None:
            stream.set_display_matrix(self.source.display_matrix)
        return stream

    def encoder(self, stream: av.VideoStream) -> av.VideoCodecContext:
        """Return another encoder like that of a stream of `add_stream`."""
        own = stream.codec_context
        context = av.CodecContext.create(own.codec.name, "w")
        context.options = dict(self.options)
        context.flags, context.framerate = own.flags, own.framerate
        context.bit_rate = own.bit_rate or 0
        self._describe(context)
        with ordinary_scheduling():
            context.open()
        return context

    def prepare(self, frame: Frame) -> av.VideoFrame:
        """Return a frame's image as the encoder takes it."""
        image = convert_frame(frame.image, self.pix_fmt)
        image.pts, image.time_base = frame.pts, self.source.time_base
        image.pict_type = PictureType.NONE  # else x264 repeats the source's frame types
        return image

    def _describe(self, context: av.VideoCodecContext) -> None:
        """Give an encoder the source's size, clock, shape and colours."""
        source = self.source
        context.time_base = self.clock
        context.width, context.height = source.width, source.height
        context.pix_fmt = self.pix_fmt
        if source.sample_aspect_ratio is not None:
            context.sample_aspect_ratio = source.sample_aspect_ratio
        became_yuv = av.VideoFormat(source.pix_fmt).is_rgb and not context.format.is_rgb
        context.color_range = source.color_range
        context.colorspace = BT601_TAG if became_yuv else source.colorspace
        context.color_primaries = source.color_primaries
        context.color_trc = source.color_trc
        if context.codec.name in FRAME_CLOCK:
            context.qscale, context.global_quality = True, QUANTISER * QUANTISER_STEP


def segmentable(source: VideoInfo, wanted: EncodeOptions, output: Path) -> bool:
    """Return whether packets alone hold the encoded video: the alpha of VP8 and VP9 travels beside its packets.

    Raises:
        OutputError: FFmpeg has no such encoder, or no such container.
    """
    try:
        # Nothing is created on disk before a header is written.
        with av.open(media_url(output), "w") as trial:
            encoding = VideoEncoding.choose(source, wanted, trial)
    except (ValueError, av.error.FFmpegError):
        return True  # the writer tells what is wrong
    return not (encoding.codec.startswith("libvpx") and encoding.pix_fmt.startswith("yuva"))


def _codec_options(codec: str, wanted: EncodeOptions, hdr: list[str]) -> dict[str, str]:
    """Return encoder options for the wanted quality."""
    options: dict[str, str] = {}
    most = MOST_CRF.get(codec, math.inf)
    if wanted.crf > most:
        raise OutputError(f"--crf {wanted.crf:g} is too much for {codec}; give one from 0 to {most}")
    if codec.startswith(("libx264", "libx265")):
        options = {"crf": str(wanted.crf), "preset": wanted.preset}
    if codec.startswith("libx264"):
        looking_ahead = [SUPERFAST] if wanted.preset == "superfast" else []
        options["x264-params"] = ":".join([REPRODUCIBLE, *looking_ahead, *hdr])
    if codec == "libx265":
        options["x265-params"] = ":".join(["log-level=error", *hdr])
    if codec == "libvpx-vp9":
        options = {"crf": str(round(wanted.crf)), "b": "0", "row-mt": "1", "cpu-used": "4"}
    return options


def _hdr_parameters(source: VideoInfo, codec: str, warnings: list[str]) -> list[str]:
    """Return static HDR metadata as parameters of the encoder; what is lost becomes a warning."""
    if source.dynamic_hdr:
        warnings.append("HDR metadata of single frames (HDR10+, Dolby Vision) is lost")
    if not (source.mastering_display or source.light_level):
        return []
    if codec not in HDR_PARAMETERS:
        warnings.append(f"{codec} does not take the HDR mastering display and light level: they are lost")
        return []
    display, light = HDR_PARAMETERS[codec]
    found = [f"{display}={source.mastering_display}"] if source.mastering_display else []
    return found + ([f"{light}={source.light_level[0]},{source.light_level[1]}"] if source.light_level else [])
