"""Tables of codecs and containers, and choices of what a container can hold."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import av

from ..errors import OutputError

# Suffixes of files that hold video.
VIDEO_SUFFIXES = (".mp4", ".mpg", ".mpeg", ".mkv", ".mov", ".webm", ".avi", ".m4v")

# Video encoders to fall back on when the container cannot hold the wanted codec, best first.
FALLBACK_VIDEO = ("libx264", "libvpx-vp9", "mpeg4", "mpeg2video", "mpeg1video")

# Encoders whose bitstream counts frames, so that their clock has to be one tick per frame.
FRAME_CLOCK = {"mpeg4", "mpeg2video", "mpeg1video"}

# Suffixes whose container could hold video, but which promise audio only.
AUDIO_ONLY_SUFFIXES = {".m4a", ".m4b", ".m4r", ".aac", ".mka", ".oga", ".opus"}

# Containers that end with their shortest track: frames after the end of the speech would be lost.
SHORTEST_TRACK_ENDS = {"mxf", "mxf_d10", "mxf_opatom", "gxf"}

# The codec that the speech is encoded with, by FFmpeg's name of the output container.
SPEECH_ENCODERS = {
    "mp4": "aac",
    "mov": "aac",
    "ipod": "aac",
    "3gp": "aac",
    "flv": "aac",
    "matroska": "flac",
    "webm": "libopus",
    "avi": "pcm_s16le",
    "mpeg": "mp2",
    "mpegts": "mp2",
}

# Codecs of speech that go into a container unchanged because its players know them.
SPEECH_COPIES = {
    "mp4": {"aac", "ac3", "eac3"},
    "mov": {"aac", "ac3", "eac3", "pcm_s16le", "pcm_s24le"},
    "ipod": {"aac"},
    "matroska": {"aac", "mp3", "flac", "opus", "vorbis", "ac3", "eac3", "pcm_s16le", "pcm_s24le"},
    "webm": {"opus", "vorbis"},
    "avi": {"pcm_s16le"},
}

# Text subtitles become this where the container does not hold their own codec.
TEXT_SUBTITLES = {
    "mp4": "mov_text",
    "mov": "mov_text",
    "ipod": "mov_text",
    "matroska": "srt",
    "webm": "webvtt",
}

# Bits per second and channel for the lossy speech encoders; generous, since this is a second encoding.
SPEECH_BITRATES = {"aac": 160_000, "libopus": 128_000, "mp2": 128_000, "wmav2": 128_000}

# Tags that describe the source's file rather than its content.
FILE_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "vendor_id"}

# Containers that can say "play from the middle of this packet" (an edit list), so that the run-in with which
# some codecs start lies before time 0. Elsewhere it would push the whole file, video included, back.
EDIT_LISTS = {"mp4", "mov", "ipod", "3gp"}

# Codecs that start with a run-in, which is decoded and not played.
RUN_IN_CODECS = {"aac", "mp3"}


# Channel layouts that all encoders of surround sound know.
SURROUND = ("5.1", "7.1")

# More channels than these no player knows.
MOST_CHANNELS = 8


def is_encoder(name: str, kind: str) -> bool:
    """Return whether FFmpeg has an encoder of this name and kind, "video" or "audio"."""
    try:
        return bool(av.Codec(name, "w").type == kind)
    except ValueError:
        return False


def choose_video_codec(wanted: str, supported: set[str]) -> str:
    """Return the wanted encoder if the container supports its codec, else the best that it supports.

    Raises:
        OutputError: FFmpeg has no such encoder.
    """
    if not is_encoder(wanted, "video"):
        raise OutputError(f"this FFmpeg has no video encoder {wanted!r}; use libx264 or libx265")
    return next((name for name in (wanted, *FALLBACK_VIDEO) if name in supported), wanted)


def choose_pix_fmt(codec: str, pix_fmt: str, width: int, height: int) -> tuple[str, str]:
    """Return the encoder's pixel format for a source's, and what is lost ("" for nothing).

    Args:
        codec: FFmpeg's name of the encoder.
        pix_fmt: The source's pixel format.
        width: In pixels; an odd size needs a format with full chroma, as x264 refuses half a sample.
        height: In pixels.
    """
    formats = [known.name for known in av.Codec(codec, "w").video_formats or ()]
    if not formats:
        return pix_fmt, ""
    fitting = [name for name in formats if _fits(name, width, height)] or formats
    if pix_fmt in fitting:
        return pix_fmt, ""
    # The full range "yuvj" formats are the plain ones with a tag; the tag is kept apart.
    plain = pix_fmt.replace("yuvj", "yuv")
    if plain in fitting:
        return plain, ""
    listed = [name for name in fitting if not name.startswith("yuvj")]
    best, loss = av.codec.find_best_pix_fmt_of_list(listed, plain)
    losses = av.codec.codec.PixFmtLoss
    found = [word for word in ("DEPTH", "CHROMA", "RESOLUTION", "ALPHA") if loss & losses[word]]
    return (best.name if best is not None else fitting[0]), ", ".join(found).lower()


def _fits(pix_fmt: str, width: int, height: int) -> bool:
    """Return whether an image's size is whole in chroma samples of a format."""
    layout = av.VideoFormat(pix_fmt, width, height)
    across = layout.chroma_width(4) or 4
    down = layout.chroma_height(4) or 4
    return width % (4 // across) == 0 and height % (4 // down) == 0


def choose_rate(codec: str, rate: int) -> int:
    """Return the encoder's sample rate for a source's: the same, else the next higher, else its highest."""
    rates = sorted(av.Codec(codec, "w").audio_rates or ())
    if not rates or rate in rates:
        return rate
    return int(next((known for known in rates if known > rate), rates[-1]))


def choose_layout(codec: str, layout: str, channels: int) -> str:
    """Return the encoder's channel layout for a source's: the same, else the usual one of so many, else stereo."""
    if channels > MOST_CHANNELS:
        return "stereo"
    known = [layout, *(usual for usual in SURROUND if av.AudioLayout(usual).nb_channels == channels)]
    return next((name for name in known if _takes_layout(codec, name)), "stereo")


def _takes_layout(codec: str, layout: str) -> bool:
    """Return whether an encoder opens with a channel layout; only doing it tells."""
    encoder = av.Codec(codec, "w")
    try:
        trial = av.CodecContext.create(codec, "w")
        assert isinstance(trial, av.AudioCodecContext)
        trial.sample_rate = choose_rate(codec, 48000)
        trial.format, trial.layout = (encoder.audio_formats or [av.AudioFormat("s16")])[0], layout
        trial.time_base = Fraction(1, trial.sample_rate)
        trial.open()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def kept_tags(tags: dict[str, str]) -> dict[str, str]:
    """Return the metadata of a source that still holds for the output."""
    return {
        key: value
        for key, value in tags.items()
        if key.lower() not in FILE_TAGS and not key.startswith(("_STATISTICS", "BPS", "NUMBER_OF_"))
    }


def can_hold(format_name: str, template: Any) -> str:
    """Try a stream in a container's header; return "" if it works, else the reason.

    Muxers refuse streams for many reasons and only when the header is written, so this writes one to
    memory. Without it one odd stream would spoil the whole output.
    """
    try:
        with av.open(io.BytesIO(), "w", format=format_name) as trial:
            trial.add_stream_from_template(template, **copy_arguments(template))
            trial.start_encoding()
    except (av.error.FFmpegError, ValueError, OSError, AttributeError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""


def without_run_in(packets: Iterable[Any], start: float) -> Iterator[Any]:
    """Drop packets that lie mostly before a start, in seconds, and let none begin before it."""
    for packet in packets:
        first = math.ceil(Fraction(start) / packet.time_base)
        if packet.pts + (packet.duration or 0) / 2 < first:
            continue
        if packet.pts < first:
            packet.pts = packet.dts = first
        yield packet


def has_run_in(format_name: str, codec: str, start: float) -> bool:
    """Return whether the packets of a codec must not begin before the file's start in a container.

    Edit lists work around time 0 alone; a later start would leave the run-in audible.
    """
    return codec in RUN_IN_CODECS and (format_name not in EDIT_LISTS or start > 0)


def copy_arguments(template: Any) -> dict[str, Any]:
    """Return arguments that copy a stream's parameters even where there is no encoder for its codec."""
    return {"opaque": True} if template.codec_context is not None else {}
