"""Writing: the dubbed video, with everything else that its source held.

The output appears under its name only when it is whole: it is written to a hidden file beside it, which
is renamed at the end, or deleted when anything goes wrong.
"""

from __future__ import annotations

import contextlib
import errno
import io
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np

from personatalk.errors import MediaError
from personatalk.files import hidden
from personatalk.media import (
    Frame,
    SpeechInfo,
    VideoInfo,
    audio_stream,
    container_start,
    decode_speech,
    has_alpha,
    open_input,
    probe_speech,
)
from personatalk.pixels import converted
from personatalk.segments import JobFolder, write_packet

DISK_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
# Video encoders to fall back on when the container cannot hold the wanted codec, best first.
FALLBACK_VIDEO = ("libx264", "libvpx-vp9", "mpeg4", "mpeg2video", "mpeg1video")
# Encoders whose bitstream counts frames, so that their clock has to be one tick per frame.
FRAME_CLOCK = {"mpeg4", "mpeg2video", "mpeg1video"}
# Suffixes whose container could hold video, but which promise sound.
SOUND_SUFFIXES = {".m4a", ".m4b", ".m4r", ".aac", ".mka", ".oga", ".opus"}
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
SPEECH_BITRATES = {"aac": 160_000, "libopus": 128_000, "mp2": 128_000}
# Tags that describe the source's file rather than its content.
FILE_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "vendor_id"}
# Containers that can say "play from the middle of this packet" (an edit list), so that the run-in with which
# some codecs start lies before time 0. Elsewhere it would push the whole file, video included, back.
EDIT_LISTS = {"mp4", "mov", "ipod", "3gp"}
RUN_IN_CODECS = {"aac", "mp3"}
# Seconds by which packets of one time may lie apart in a file.
INTERLEAVING = 2.0
# A shorter rest of the speech than this is not worth decoding and encoding it again.
CUT_TOLERANCE = 0.005


@dataclass(frozen=True)
class EncodeOptions:
    """How the output is encoded.

    Attributes:
        codec: FFmpeg's name of the video encoder; another one is taken, with a warning, where the output
            container cannot hold its codec (webm).
        crf: Quality of the encoders that know it, lower is better; 13 is near transparent for x264.
        preset: Speed of the x264 and x265 encoders, "ultrafast" to "veryslow". "faster" takes half the time of
            "medium" and some 10 % more room at the same PSNR.
        audio_codec: FFmpeg's name of the speech's encoder, None for what suits the container.
        audio_bitrate: Bits per second of the speech, None for a generous rate.
    """

    codec: str = "libx264"
    crf: float = 13
    preset: str = "faster"
    audio_codec: str | None = None
    audio_bitrate: int | None = None


# ---------------------------------------------------------------------------------------------- checking


def check_output(output: Path | str, inputs: Iterable[Path | str] = ()) -> None:
    """Make sure, before any work, that the output can be written.

    Args:
        output: The file to write; it may exist and is then replaced.
        inputs: Files that are read, and must not be the output under any name.

    Raises:
        MediaError: The folder is missing or not writable, the output is a folder or one of the inputs, or
            its suffix names no container that FFmpeg can write video to.
    """
    output = Path(output)
    folder = output.parent
    try:
        is_folder = output.is_dir()
    except OSError as error:
        raise MediaError(f"the output {output} is no name for a file ({error.strerror}); name another") from error
    if is_folder:
        raise MediaError(f"the output {output} is a folder; name a file in it")
    if not folder.is_dir():
        raise MediaError(f"the output folder {folder} does not exist; create it or name another")
    for name in inputs:
        if same_file(output, Path(name)):
            raise MediaError(f"the output {output} is the input {name}; name another output")
    _check_suffix(output)
    try:
        # Only doing it tells for sure: permissions, read-only media and access lists all look alike.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise MediaError(f"the output folder {folder} is not writable ({reason}); name another") from error


def same_file(output: Path, name: Path) -> bool:
    """Whether two names mean one file: also through links, and when it does not exist yet."""
    with contextlib.suppress(OSError):
        if output.samefile(name):
            return True
    return output.resolve() == name.resolve()


def _check_suffix(output: Path) -> None:
    """Raise unless the output's suffix names a container for video."""
    advice = "use .mp4, .mov, .mkv, .webm or .avi"
    try:
        # Nothing is created on disk before a header is written.
        with av.open(str(output), "w") as container:
            holds = set(FALLBACK_VIDEO) & container.supported_codecs
            usable = holds and not container.format.no_file and container.default_video_codec != "none"
    except (ValueError, av.error.FFmpegError):
        raise MediaError(f"the output {output} has a suffix that FFmpeg cannot write; {advice}") from None
    if not usable or output.suffix.lower() in SOUND_SUFFIXES:
        raise MediaError(f"the output {output} has a suffix that cannot hold this video; {advice}")


def write_error(output: Path, error: BaseException) -> MediaError:
    """Explain a failed write in one line."""
    if getattr(error, "errno", None) in DISK_FULL:
        free = shutil.disk_usage(output.parent).free / 1e6
        return MediaError(
            f"disk full (or file size limit reached) while writing {output}: free {free:.0f} MB; "
            "make room or name another folder"
        )
    reason = getattr(error, "strerror", None) or str(error)
    return MediaError(f"cannot write {output}: {reason}; name another output, container or codec")


def check_source(source: VideoInfo, output: Path | str, codec: str) -> None:
    """Make sure, before any work, that a video's pictures are of a kind that can be dubbed and written whole.

    Args:
        source: The video.
        output: The file to write.
        codec: The wanted encoder, as in `EncodeOptions`.

    Raises:
        MediaError: The video is interlaced, or it is transparent and the output cannot be.
    """
    if source.interlaced:
        raise MediaError(
            f"{source.path} is interlaced: each frame holds two moments; deinterlace it first (ffmpeg -vf bwdif), or"
            " clear the mark if it is wrong (-vf setfield=prog)"
        )
    if not source.alpha:
        return
    if not has_alpha(av.VideoFormat(source.pix_fmt)):
        raise MediaError(f"{source.path} has transparency in a layer that is not read; convert it to ProRes 4444 first")
    with av.open(str(output), "w") as container:
        chosen = choose_video_codec(codec, container.supported_codecs)
    kept, _ = choose_pix_fmt(chosen, source.pix_fmt, source.width, source.height)
    if not has_alpha(av.VideoFormat(kept)):
        raise MediaError(
            f"{source.path} has transparency, which {chosen} cannot hold; use --codec prores_ks with .mov or --codec"
            " ffv1 with .mkv, or put it on a background first"
        )


# ---------------------------------------------------------------------------------------------- choosing


def choose_video_codec(wanted: str, supported: set[str]) -> str:
    """The wanted encoder if the container supports its codec, else the best that it supports.

    Raises:
        MediaError: FFmpeg has no such encoder.
    """
    try:
        av.Codec(wanted, "w")
    except ValueError:
        raise MediaError(f"this FFmpeg has no video encoder {wanted!r}; use libx264 or libx265") from None
    return next((name for name in (wanted, *FALLBACK_VIDEO) if name in supported), wanted)


def choose_pix_fmt(codec: str, pix_fmt: str, width: int, height: int) -> tuple[str, str]:
    """The encoder's pixel format for a source's, and what is lost ("" for nothing).

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
    """Whether a picture's size is whole in chroma samples of a format."""
    layout = av.VideoFormat(pix_fmt, width, height)
    across = layout.chroma_width(4) or 4
    down = layout.chroma_height(4) or 4
    return width % (4 // across) == 0 and height % (4 // down) == 0


def choose_rate(codec: str, rate: int) -> int:
    """The encoder's sample rate for a source's: the same, else the next higher, else its highest."""
    rates = sorted(av.Codec(codec, "w").audio_rates or ())
    if not rates or rate in rates:
        return rate
    return int(next((known for known in rates if known > rate), rates[-1]))


def choose_layout(codec: str, layout: str, channels: int) -> str:
    """The encoder's channel layout for a source's."""
    most = {"mp2": 2, "libmp3lame": 2, "wmav2": 2}.get(codec, 8)
    if channels > most:
        return "stereo"
    return "stereo" if layout.endswith("channels") else layout


def kept_tags(tags: dict[str, str]) -> dict[str, str]:
    """Metadata of a source that still holds for the output."""
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
            trial.add_stream_from_template(template, **_opaque(template))
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
    """Whether the packets of a codec must not begin before the file's start in a container.

    Edit lists work around time 0 alone; a later start would leave the run-in audible.
    """
    return codec in RUN_IN_CODECS and (format_name not in EDIT_LISTS or start > 0)


def _opaque(template: Any) -> dict[str, Any]:
    """Arguments that copy a stream's parameters even where there is no encoder for its codec."""
    return {"opaque": True} if template.codec_context is not None else {}


# ---------------------------------------------------------------------------------------------- sources


class _Speech:
    """The new sound track: packets for an output stream, up to a time at a time."""

    def __init__(
        self, path: Path, output: Any, options: EncodeOptions, start_seconds: float, limit: float | None
    ) -> None:
        self.info: SpeechInfo = probe_speech(path)
        self.start_seconds = start_seconds
        self.limit = limit
        self._exit = contextlib.ExitStack()
        self._input = self._exit.enter_context(open_input(path))
        self._source = audio_stream(self._input, path)
        self._held: Any = None
        if self._copies(output, options):
            self.stream = output.add_stream_from_template(self._source, **_opaque(self._source))
            self._packets: Iterator[Any] = self._copied()
        else:
            self.stream = self._add_encoder(output, options)
            self._packets = self._encoded()
        self.stream.metadata.update(
            {key: self._source.metadata[key] for key in ("language", "title") if key in self._source.metadata}
        )
        self.stream.disposition = int(av.stream.Disposition.default)
        codec = self.stream.codec_context.codec.canonical_name
        if has_run_in(output.format.name, codec, start_seconds):
            self._packets = without_run_in(self._packets, start_seconds)

    def close(self) -> None:
        """Close the speech file."""
        self._exit.close()

    def until(self, seconds: float) -> Iterator[Any]:
        """Yield the packets that start up to a time on the output's clock."""
        while True:
            self._held = self._held or next(self._packets, None)
            if self._held is None or float(self._held.pts * self._held.time_base) > seconds:
                return
            packet, self._held = self._held, None
            yield packet

    def _copies(self, output: Any, options: EncodeOptions) -> bool:
        """Whether the speech goes in unchanged: a codec that suits, and nothing to cut."""
        fits = self.info.codec in SPEECH_COPIES.get(output.format.name, set())
        whole = self.limit is None or 0 < self.info.seconds <= self.limit + CUT_TOLERANCE
        plain = options.audio_codec is None and options.audio_bitrate is None
        return fits and whole and plain and not can_hold(output.format.name, self._source)

    def _add_encoder(self, output: Any, options: EncodeOptions) -> Any:
        """Add an encoded stream at the speech's own rate and layout, as far as the codec has them."""
        codec = options.audio_codec or SPEECH_ENCODERS.get(output.format.name, output.default_audio_codec)
        try:
            stream = output.add_stream(codec, rate=choose_rate(codec, self.info.rate))
        except ValueError as error:
            raise MediaError(f"{output.format.name} cannot hold {codec!r} speech ({error})") from error
        context = stream.codec_context
        context.layout = choose_layout(codec, self.info.layout, self.info.channels)
        context.format = self._sample_format(codec, context.format.name)
        context.time_base = Fraction(1, context.sample_rate)
        if codec in SPEECH_BITRATES:
            context.bit_rate = options.audio_bitrate or self._bitrate(codec, context)
        context.open()
        return stream

    def _sample_format(self, codec: str, default: str) -> str:
        """The encoder's sample format: deep sound stays deep in a lossless codec."""
        known = [known.name for known in av.Codec(codec, "w").audio_formats or ()]
        deep = self._source.codec_context.format.name.startswith("s32")
        return "s32" if deep and "s32" in known else (known[0] if known else default)

    @staticmethod
    def _bitrate(codec: str, context: Any) -> int:
        """A generous bitrate; AAC allows 6 bits per sample, and MP2 less at low rates."""
        per_channel = min(SPEECH_BITRATES[codec], 5 * context.sample_rate)
        if codec == "mp2" and context.sample_rate < 32000:
            per_channel = 64_000
        return int(per_channel * context.layout.nb_channels)

    def _copied(self) -> Iterator[Any]:
        """Packets of the speech file, moved to the output's clock."""
        base = self._source.time_base
        shift = round((self.start_seconds - container_start(self._input, self._source)) / base)
        for packet in self._input.demux(self._source):
            if packet.size and packet.pts is not None:
                packet.pts += shift
                packet.dts = packet.pts if packet.dts is None else packet.dts + shift
                packet.stream = self.stream
                yield packet

    def _encoded(self) -> Iterator[Any]:
        """Encode the speech, cut at the limit."""
        context = self.stream.codec_context
        rate = context.sample_rate
        left = None if self.limit is None else round(self.limit * rate)
        pieces = decode_speech(
            self._input,
            self._source,
            self.info.path,
            rate=rate,
            sample_format=context.format.name,
            layout=context.layout.name,
            frame_size=context.frame_size or 1024,
        )
        clock: int | None = None
        for frame, seconds in pieces:
            if clock is None:
                clock = round((self.start_seconds + seconds) * rate)
                left = None if left is None else left - round(seconds * rate)
            if left is not None and left <= 0:
                break
            cut = head(frame, frame.samples if left is None else min(left, frame.samples))
            cut.pts, cut.time_base = clock, Fraction(1, rate)
            clock += cut.samples
            left = None if left is None else left - cut.samples
            yield from self.stream.encode(cut)
        yield from self.stream.encode(None)


def head(frame: Any, samples: int) -> Any:
    """The first samples of an audio frame."""
    if samples >= frame.samples:
        return frame
    values = frame.to_ndarray()
    width = samples if frame.format.is_planar else samples * frame.layout.nb_channels
    values = np.ascontiguousarray(values[:, :width])
    cut = av.AudioFrame.from_ndarray(values, format=frame.format.name, layout=frame.layout.name)
    cut.sample_rate = frame.sample_rate
    return cut


class _Copies:
    """The source's other streams: packets for their output streams, up to a time at a time."""

    def __init__(self, source: VideoInfo, output: Any, skip_audio: bool, warnings: list[str]) -> None:
        self.info = source
        self.warnings = warnings
        self.video_until = -1.0  # start of the latest video packet passed by, on the file's clock
        self.streams: dict[int, Any] = {}
        self.encoders: dict[int, Any] = {}
        self.clipped: set[int] = set()
        self._held: Any = None
        self._exit = contextlib.ExitStack()
        self.input = self._exit.enter_context(open_input(source.path))
        replaced = self._replaced() if skip_audio else None
        for stream in self.input.streams:
            if stream.index not in (source.stream_index, replaced):
                self._add(output, stream, skip_audio)
        self._packets = self._read()

    def close(self) -> None:
        """Close the source."""
        self._exit.close()

    def _replaced(self) -> int | None:
        """Number of the audio track whose place the speech takes."""
        if not self.input.streams.audio:
            return None
        return int(audio_stream(self.input, self.info.path).index)

    def _add(self, output: Any, stream: Any, new_default: bool) -> None:
        """Add a stream to the output as it is, or as text subtitles it can hold, or warn."""
        name = output.format.name
        if stream.type == "data" and self._rewritten(stream):
            return
        cover = bool(stream.disposition & av.stream.Disposition.attached_pic)
        if cover and name == "matroska":
            self._add_cover(output, stream)
            return
        reason = can_hold(name, stream)
        if cover and name in EDIT_LISTS:
            reason = "the tags of any name that this output has take the cover picture's place"
        if not reason:
            copy = output.add_stream_from_template(stream, **_opaque(stream))
        elif stream.type == "subtitle" and self._is_text(stream) and name in TEXT_SUBTITLES:
            copy = self._add_text(output, stream, TEXT_SUBTITLES[name])
        else:
            kind = getattr(stream.codec_context, "name", None) or stream.name or "unknown"
            self.warnings.append(f"stream {stream.index} ({stream.type}, {kind}) was left out of {name}: {reason}")
            return
        copy.metadata.update(kept_tags(stream.metadata))
        disposition = int(stream.disposition)
        if new_default and stream.type == "audio":
            disposition &= ~int(av.stream.Disposition.default)
        copy.disposition = disposition
        self.streams[stream.index] = copy
        if stream.type == "audio":
            codec = stream.codec_context.codec.canonical_name
            if has_run_in(name, codec, self.info.start_seconds):
                self.clipped.add(stream.index)

    def _add_cover(self, output: Any, stream: Any) -> None:
        """Add a cover picture to Matroska, where it is an attached file."""
        kind = stream.codec_context.codec.canonical_name
        suffix, mime = {"mjpeg": ("jpg", "image/jpeg")}.get(kind, (kind, f"image/{kind}"))
        with open_input(self.info.path) as again:
            picture = next(again.demux(again.streams[stream.index]))
            output.add_attachment(f"cover.{suffix}", mime, bytes(picture))

    def _rewritten(self, stream: Any) -> bool:
        """Whether a data stream is made anew by the muxer: QuickTime's chapter titles and time code."""
        mov = self.info.container.startswith("mov")
        return mov and (bool(self.input.chapters()) or "timecode" in stream.metadata)

    @staticmethod
    def _is_text(stream: Any) -> bool:
        return stream.codec_context is not None and bool(stream.codec_context.codec.text_sub)

    def _add_text(self, output: Any, stream: Any, codec: str) -> Any:
        """Add a text subtitle stream in another codec."""
        decoder = stream.codec_context
        decoder.open(strict=False)
        copy = output.add_stream(codec)
        copy.codec_context.subtitle_header = decoder.subtitle_header or b""
        self.encoders[stream.index] = copy.codec_context
        return copy

    def _read(self) -> Iterator[Any]:
        """Packets of the copied streams, as they lie in the file."""
        if not self.streams:
            return  # else the search for a first packet would read the whole file
        for packet in self.input.demux():
            moment = packet.pts if packet.pts is not None else packet.dts
            if not packet.size or moment is None:
                continue
            if packet.stream_index == self.info.stream_index:
                self.video_until = max(self.video_until, float(moment * packet.time_base))
            elif packet.stream_index in self.streams:
                yield from self._prepared(packet)

    def _prepared(self, packet: Any) -> Iterator[Any]:
        """A packet as its output stream takes it."""
        number = packet.stream_index
        if packet.pts is None:
            packet.pts = packet.dts
        if packet.dts is None:
            packet.dts = packet.pts
        if number in self.encoders:
            subtitle = packet.stream.codec_context.decode2(packet)
            if subtitle is None or not subtitle.rects:
                return
            coded = self.encoders[number].encode_subtitle(subtitle)
            coded.time_base, coded.pts, coded.dts = packet.time_base, packet.pts, packet.pts
            coded.duration = packet.duration
            packet = coded
        packet.stream = self.streams[number]
        yield from without_run_in([packet], self.info.start_seconds) if number in self.clipped else [packet]

    def until(self, seconds: float) -> Iterator[Any]:
        """Yield the packets that start up to a time on the file's clock."""
        while True:
            self._held = self._held or next(self._packets, None)
            if self._held is None or _start(self._held) > seconds:
                return
            packet, self._held = self._held, None
            yield packet

    def rest(self, end: float) -> Iterator[Any]:
        """Yield what is left: all of it, or up to `end` if the source's video goes on after it."""
        later = []
        while True:
            packet, self._held = self._held or next(self._packets, None), None
            if packet is not None and _start(packet) < end:
                yield packet
            elif packet is not None:
                later.append(packet)
            if self.video_until >= end + INTERLEAVING:
                return
            if packet is None:
                yield from later if self.video_until < end else []
                return


def _start(packet: Any) -> float:
    """When a packet starts, in seconds on its stream's clock."""
    return float(packet.pts * packet.time_base)


# ---------------------------------------------------------------------------------------------- writing


class _Segment:
    """A stretch of video that is being encoded into a job's folder.

    Args:
        job: The folder.
        encoder: A codec context of its own.
    """

    def __init__(self, job: JobFolder, encoder: Any) -> None:
        self.job, self.encoder = job, encoder
        self.notes: list[Any] = []
        self.path = job.folder / "packets"
        self._file = self.path.open("wb")

    def write(self, image: Any, note: Any) -> None:
        """Encode a picture."""
        self.notes.append(note)
        for packet in self.encoder.encode(image):
            write_packet(self._file, packet)

    def finish(self, number: int) -> None:
        """Write what the encoder still holds, and store the segment."""
        for packet in self.encoder.encode(None):
            write_packet(self._file, packet)
        self._file.close()
        self.job.store(number, self.notes, self.path)

    def close(self) -> None:
        """Give up."""
        self._file.close()


class VideoWriter:
    """Writes a dubbed video; use it in a `with` block, and `write` the frames in order.

    Attributes:
        warnings: What could not be kept from the source, one line each.
    """

    def __init__(
        self,
        output: Path | str,
        source: VideoInfo,
        speech: Path | str | None,
        options: EncodeOptions | None = None,
        *,
        speech_seconds_limit: float | None = None,
        extra_metadata: dict[str, str] | None = None,
        job: JobFolder | None = None,
        finish: Callable[[Path], None] | None = None,
    ) -> None:
        """Describe the output; files are opened when the `with` block is entered.

        Args:
            output: The file to write.
            source: The video whose frames are written, and whose other streams are kept.
            speech: The new sound track, which replaces the source's default one; None keeps all sound.
            options: How to encode.
            speech_seconds_limit: Cut the speech here, in seconds from its start.
            extra_metadata: Tags to add to the file.
            job: Where encoded segments are kept, so that a run can go on from them; see `resume`.
            finish: Called with the finished file before it gets its name, to change it in place; what it raises
                ends the run, and nothing is left.
        """
        self.output = Path(output)
        self.source = source
        self.speech = None if speech is None else Path(speech)
        self.options = options or EncodeOptions()
        self.limit = speech_seconds_limit
        self.extra_metadata = extra_metadata or {}
        self.job = job
        self._segment: _Segment | None = None
        self._finished_segments = 0
        self._last_dts: int | None = None
        self.finish = finish
        self.warnings: list[str] = []
        # In the job's folder, what a kill leaves is found and dropped by the next run.
        suffix = self.output.suffix
        self._temp = hidden(self.output, suffix) if job is None else job.folder / f"output{suffix}"
        self._container: Any = None
        self._tracks: list[_Speech | _Copies] = []
        self._durations: dict[int, int] = {}  # of the frames that are in the encoder, by pts
        self._last_pts: int | None = None
        self._end = 0.0  # where the last written frame ends, in seconds on the source's clock

    def __enter__(self) -> VideoWriter:
        check_output(self.output, [path for path in (self.source.path, self.speech) if path is not None])
        try:
            with self._explained():
                self._start()
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with self._explained():
                    self._finish()
        finally:
            self._discard()

    def resume(self, durations: Iterable[int]) -> list[Any]:
        """Take over the segments that the job's last run has finished; call it before the first `write`.

        Args:
            durations: Of all frames of the output, in order, in ticks of the source's time base.

        Returns:
            The notes of the frames taken over; the next frame to write is the one after these.
        """
        found: list[Any] = []
        if self.job is None:
            return found
        times = iter(durations)
        with self._explained():
            while (shown := self.job.shown(self._finished_segments)) is not None:
                # Packets come in decoding order, durations belong to frames as they are shown.
                for pts in shown:
                    duration = next(times)
                    self._keep_duration(pts, duration)
                    self._end = float(pts * self._clock + duration * self.source.time_base)
                notes, packets = self.job.load(self._finished_segments)
                self._append(packets)
                found += notes
                self._finished_segments += 1
        return found

    def write(self, frame: Frame, note: Any = None) -> None:
        """Encode a frame; its pts and duration, in ticks of the source's time base, are kept.

        Args:
            frame: The next frame.
            note: JSON-able; `resume` gives it back.

        Raises:
            MediaError: The disk is full, or the encoder or the container refuses.
            ValueError: The frame is not later than the one before it.
        """
        if self._last_pts is not None and frame.pts <= self._last_pts:
            raise ValueError(f"frame at {frame.pts} is not later than the one before it, {self._last_pts}")
        self._last_pts = frame.pts
        self._end = float((frame.pts + frame.duration) * self.source.time_base)
        self._keep_duration(frame.pts, frame.duration)
        with self._explained():
            if self.job is None:
                self._others_until(float(frame.pts * self.source.time_base))
                self._mux_video(self._video.encode(self._prepared(frame)))
                return
            if self._segment is None:
                self._segment = _Segment(self.job, self._encoder())
            self._segment.write(self._prepared(frame), note)
            if len(self._segment.notes) == self.job.length:
                self._end_segment()

    # ------------------------------------------------------------------------------------------ parts

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn FFmpeg's and the system's errors into MediaError."""
        try:
            yield
        except (av.error.FFmpegError, OSError) as error:
            raise write_error(self.output, error) from error

    def _start(self) -> None:
        """Open the output and add all streams: video, speech, then the others in the source's order."""
        # QuickTime's own tag names are few; this flag lets any name through. The index goes to the front
        # so that the file plays while it downloads.
        quicktime = self.output.suffix.lower() in (".mp4", ".mov", ".m4v", ".3gp")
        flags = {"movflags": "use_metadata_tags+faststart"} if quicktime else {}
        self._container = av.open(str(self._temp), "w", container_options=flags)
        self._add_video()
        if self.speech is not None:
            start = self.source.start_seconds
            self._tracks.append(_Speech(self.speech, self._container, self.options, start, self.limit))
        copies = _Copies(self.source, self._container, self.speech is not None, self.warnings)
        self._tracks.append(copies)
        video = copies.input.streams[self.source.stream_index]
        self._video.metadata.update(kept_tags(video.metadata))
        self._video.disposition = int(video.disposition)
        self._container.metadata.update(kept_tags(copies.input.metadata))
        self._container.metadata.update(self.extra_metadata)
        if copies.input.chapters():
            self._container.set_chapters(copies.input.chapters())
        self._container.start_encoding()

    def _keep_duration(self, pts: int, duration: int) -> None:
        if self._clock == self.source.time_base:
            self._durations[pts] = duration

    def _others_until(self, seconds: float) -> None:
        """Write the other tracks up to a frame's time: a muxer that waits for them then holds back little video."""
        for track in self._tracks:
            self._mux(track.until(seconds), track)

    def _encoder(self) -> Any:
        """An encoder like the video stream's own, for one segment."""
        own = self._video.codec_context
        context = av.CodecContext.create(own.codec.name, "w")
        context.options = dict(self._options)
        context.flags, context.framerate = own.flags, own.framerate
        context.bit_rate = own.bit_rate or 0
        self._describe(context)
        return context

    def _end_segment(self) -> None:
        """Finish the segment that is being encoded, and put it into the output."""
        assert self.job is not None and self._segment is not None
        self._segment.finish(self._finished_segments)
        self._segment = None
        _, packets = self.job.load(self._finished_segments)
        self._finished_segments += 1
        self._append(packets)

    def _append(self, packets: Iterable[Any]) -> None:
        """Put encoded packets into the output, among the other tracks'."""
        for packet in packets:
            # Each segment's encoder starts its decoding times anew; where frames come unevenly they may overlap.
            if self._last_dts is not None and packet.dts <= self._last_dts:
                packet.dts = min(self._last_dts + 1, packet.pts)
            self._last_dts = packet.dts
            self._others_until(float(packet.pts * self._clock))
            packet.stream, packet.time_base = self._video, self._clock
            self._mux_video([packet])

    def _add_video(self) -> None:
        """Add the video stream, with the source's size, clock, shape, rotation and colours."""
        source, output = self.source, self._container
        codec = choose_video_codec(self.options.codec, output.supported_codecs)
        if codec != self.options.codec:
            self.warnings.append(f"the video is {codec}: {output.format.name} cannot hold {self.options.codec}")
        fps = source.average_fps.limit_denominator(65535)
        frame_clock = codec in FRAME_CLOCK or output.format.name == "avi"
        self._clock = 1 / fps if frame_clock else source.time_base
        self._options = self._codec_options(codec)
        self._video = output.add_stream(codec, rate=fps, options=self._options, time_base=self._clock)
        self._pix_fmt, lost = choose_pix_fmt(codec, source.pix_fmt, source.width, source.height)
        if lost:
            self.warnings.append(f"{codec} has no {source.pix_fmt}; {self._pix_fmt} loses {lost}")
        if codec.startswith("libvpx") and self._pix_fmt.startswith("yuva"):
            self.job = None  # the alpha of these encoders travels beside their packets, which segments do not keep
        self._describe(self._video.codec_context)
        if source.display_matrix is not None:
            self._video.set_display_matrix(source.display_matrix)

    def _describe(self, context: Any) -> None:
        """Give an encoder the source's size, clock, shape and colours."""
        source = self.source
        context.time_base = self._clock
        context.width, context.height = source.width, source.height
        context.pix_fmt = self._pix_fmt
        if source.sample_aspect_ratio is not None:
            context.sample_aspect_ratio = source.sample_aspect_ratio
        context.color_range = source.color_range
        context.colorspace = self._matrix(context.format)
        context.color_primaries = source.color_primaries
        context.color_trc = source.color_trc
        if context.codec.name in FRAME_CLOCK:
            context.qscale, context.global_quality = True, 2 * 118  # FFmpeg's units per quantiser step

    def _matrix(self, layout: Any) -> int:
        """The YUV matrix tag; RGB that had to become YUV is BT.601, as swscale makes it."""
        was_rgb = av.VideoFormat(self.source.pix_fmt).is_rgb
        return 6 if was_rgb and not layout.is_rgb else self.source.colorspace

    def _codec_options(self, codec: str) -> dict[str, str]:
        """Encoder options for the wanted quality."""
        options, hdr = {}, self._hdr_options(codec)
        if codec.startswith(("libx264", "libx265")):
            options = {"crf": str(self.options.crf), "preset": self.options.preset}
        if codec == "libx264" and hdr:
            options["x264-params"] = ":".join(hdr)
        if codec == "libx265":
            options["x265-params"] = ":".join(["log-level=error", *hdr])
        if codec == "libvpx-vp9":
            options = {"crf": str(round(self.options.crf)), "b": "0", "row-mt": "1", "cpu-used": "4"}
        if self._container.format.name == "avi":
            options["bf"] = "0"  # AVI has no presentation times, so frames must be stored as shown
        return options

    def _hdr_options(self, codec: str) -> list[str]:
        """Static HDR metadata as parameters of the encoder; what is lost becomes a warning."""
        source = self.source
        if source.dynamic_hdr:
            self.warnings.append("HDR metadata of single frames (HDR10+, Dolby Vision) is lost")
        if not (source.mastering_display or source.light_level):
            return []
        names = {"libx264": ("mastering-display", "cll"), "libx265": ("master-display", "max-cll")}.get(codec)
        if names is None:
            self.warnings.append(f"{codec} does not take the HDR mastering display and light level: they are lost")
            return []
        display = [f"{names[0]}={source.mastering_display}"] if source.mastering_display else []
        return display + ([f"{names[1]}={source.light_level[0]},{source.light_level[1]}"] if source.light_level else [])

    def _prepared(self, frame: Frame) -> Any:
        """The frame's picture as the encoder takes it."""
        image = converted(frame.image, self._video.codec_context.pix_fmt)
        image.pts, image.time_base = frame.pts, self.source.time_base
        image.pict_type = av.video.frame.PictureType.NONE  # else x264 repeats the source's frame types
        return image

    def _mux_video(self, packets: Iterable[Any]) -> None:
        """Write video packets with the durations of their frames, which encoders do not pass on."""
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, packet.duration)
            self._container.mux(packet)

    def _mux(self, packets: Iterable[Any], track: _Speech | _Copies) -> None:
        """Write the packets of another track; a copied packet with an impossible time is left out."""
        for packet in packets:
            try:
                self._container.mux(packet)
            except (av.error.ArgumentError, ValueError) as error:
                if isinstance(track, _Speech):
                    raise
                warning = f"stream {packet.stream_index} lost packets with times out of order ({error})"
                if not any(known.startswith(warning[:20]) for known in self.warnings):
                    self.warnings.append(warning)

    def _finish(self) -> None:
        """Write what the encoder and the other tracks still hold, and give the file its name."""
        if self._segment is not None:
            self._end_segment()
        if self._last_pts is None and not self._finished_segments:
            raise MediaError(f"no frame was written to {self.output}; check that the video has frames")
        if self.job is None:
            self._mux_video(self._video.encode(None))
        for track in self._tracks:
            packets = track.rest(self._end) if isinstance(track, _Copies) else track.until(float("inf"))
            self._mux(packets, track)
        self._container.close()
        self._container = None
        if self.finish is not None:
            self.finish(self._temp)
        with self._temp.open("rb") as written:
            os.fsync(written.fileno())  # some disks tell only now that they are full
        self._temp.replace(self.output)

    def _discard(self) -> None:
        """Close everything, and delete what was written if it is still there under its hidden name."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        for track in self._tracks:
            with contextlib.suppress(av.error.FFmpegError, OSError):
                track.close()
        self._tracks = []
        with contextlib.suppress(OSError):
            self._temp.unlink(missing_ok=True)
        if self._container is not None:
            # Closing writes the rest of the file, which fails if that is why we are here.
            with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
                self._container.close()
            self._container = None
            self._temp.unlink(missing_ok=True)
