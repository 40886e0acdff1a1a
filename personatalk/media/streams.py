"""The output's tracks beside the video: the speech, and what is copied from the source."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np

from ..errors import OutputError
from .audio import AudioStream, is_continuous, loses_channels
from .clock import ContinuousClock
from .codecs import (
    EDIT_LISTS,
    SPEECH_BITRATES,
    SPEECH_COPIES,
    SPEECH_ENCODERS,
    TEXT_SUBTITLES,
    can_hold,
    choose_layout,
    choose_rate,
    copy_arguments,
    has_run_in,
    is_encoder,
    kept_tags,
    without_run_in,
)
from .container import audio_stream, container_start, open_input
from .downmix import downmix
from .options import EncodeOptions
from .probe import USUAL_LAYOUTS, SpeechInfo, VideoInfo, probe_speech

# Seconds by which packets of one time may lie apart in a file.
INTERLEAVING = 2.0

# A shorter rest of the speech than this is not worth decoding and encoding it again.
CUT_TOLERANCE = 0.005


class SpeechStream:
    """The new audio track: packets for an output stream, up to a time at a time."""

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
        # Players leave out what they cannot place; the mouth heard it.
        self._downmixed = loses_channels(path, self.info, limit)
        if self._copies(output, options):
            self.stream = output.add_stream_from_template(self._source, **copy_arguments(self._source))
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
        """Return whether the speech goes in unchanged: a codec that suits, and nothing to cut."""
        fits = self.info.codec in SPEECH_COPIES.get(output.format.name, set())
        whole = self.limit is None or 0 < self.info.seconds <= self.limit + CUT_TOLERANCE
        plain = options.audio_codec is None and options.audio_bitrate is None and not self._downmixed
        # Most containers of plain PCM only count its channels.
        placed = not self.info.codec.startswith("pcm") or self.info.layout in USUAL_LAYOUTS.values()
        held = fits and whole and plain and placed and not can_hold(output.format.name, self._source)
        return held and is_continuous(self.info.path, self.info.rate)

    def _add_encoder(self, output: Any, options: EncodeOptions) -> Any:
        """Add an encoded stream at the speech's own rate and layout, as far as the codec has them."""
        codec = options.audio_codec or SPEECH_ENCODERS.get(output.format.name, output.default_audio_codec)
        if codec == "none":
            raise OutputError(f"{output.format.name} cannot hold sound; use .mp4 or .mkv")
        if not is_encoder(codec, "audio"):
            raise OutputError(f"this FFmpeg has no audio encoder {codec!r}; use aac, flac or libopus")
        try:
            stream = output.add_stream(codec, rate=choose_rate(codec, self.info.rate))
        except ValueError as error:
            raise OutputError(f"{output.format.name} cannot hold {codec!r} speech ({error})") from error
        context = stream.codec_context
        context.layout = "mono" if self._downmixed else choose_layout(codec, self.info.layout, self.info.channels)
        context.format = self._sample_format(codec, context.format.name)
        context.time_base = Fraction(1, context.sample_rate)
        if codec in SPEECH_BITRATES:
            context.bit_rate = options.audio_bitrate or self._bitrate(codec, context)
        context.open()
        return stream

    def _sample_format(self, codec: str, default: str) -> str:
        """Return the encoder's sample format: deep audio stays deep in a lossless codec."""
        known = [known.name for known in av.Codec(codec, "w").audio_formats or ()]
        deep = self._source.codec_context.format.name.startswith("s32")
        return "s32" if deep and "s32" in known else (known[0] if known else default)

    @staticmethod
    def _bitrate(codec: str, context: Any) -> int:
        """Return a generous bitrate in bits per second; AAC allows 6 bits per sample, and MP2 less at low rates."""
        per_channel = min(SPEECH_BITRATES[codec], 5 * context.sample_rate)
        if codec == "mp2" and context.sample_rate < 32000:
            per_channel = 64_000
        return int(per_channel * context.layout.nb_channels)

    def _copied(self) -> Iterator[Any]:
        """Yield the packets of the speech file, moved to the output's clock."""
        base = self._source.time_base
        shift = round((self.start_seconds - container_start(self._input, self._source)) / base)
        for packet in ContinuousClock(self._input).packets():
            if packet.size and packet.stream.index == self._source.index and packet.pts is not None:
                packet.pts += shift
                packet.dts = packet.pts if packet.dts is None else packet.dts + shift
                packet.stream = self.stream
                yield packet

    def _encoded(self) -> Iterator[Any]:
        """Encode the speech from the file's start on, cut at the limit."""
        context = self.stream.codec_context
        rate, layout = context.sample_rate, context.layout.name
        deep = context.format.name.startswith("s32") and not self._downmixed
        kind = "s32" if deep else "flt"
        named = None if self._downmixed else layout
        audio = AudioStream(self._input, self._source, self.info.path, rate=rate, sample_format=kind, layout=named)
        blocks = audio.blocks(self.limit)
        resampler = av.AudioResampler(context.format.name, layout, rate, context.frame_size or 1024)
        clock = round(self.start_seconds * rate)
        for block in chain(downmix(blocks, rate) if self._downmixed else blocks, [None]):
            for frame in resampler.resample(None if block is None else _audio_frame(block, kind, layout, rate)):
                frame.pts, frame.time_base = clock, Fraction(1, rate)
                clock += frame.samples
                yield from self.stream.encode(frame)
        yield from self.stream.encode(None)


def _audio_frame(block: Any, sample_format: str, layout: str, rate: int) -> av.AudioFrame:
    """Return a block (N, C) or (N,) as a frame."""
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block).reshape(1, -1), sample_format, layout)
    frame.sample_rate = rate
    return frame


class CopiedStreams:
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
        """Return the number of the audio track whose place the speech takes."""
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
            copy = output.add_stream_from_template(stream, **copy_arguments(stream))
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
        """Add a cover image to Matroska, where it is an attached file."""
        kind = stream.codec_context.codec.canonical_name
        suffix, mime = {"mjpeg": ("jpg", "image/jpeg")}.get(kind, (kind, f"image/{kind}"))
        with open_input(self.info.path) as again:
            cover_image = next(again.demux(again.streams[stream.index]))
            output.add_attachment(f"cover.{suffix}", mime, bytes(cover_image))

    def _rewritten(self, stream: Any) -> bool:
        """Return whether a data stream is made anew by the muxer: QuickTime's chapter titles and time code."""
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
        """Yield the packets of the copied streams, as they lie in the file."""
        if not self.streams:
            return  # else the search for a first packet would read the whole file
        for packet in ContinuousClock(self.input).packets():
            moment = packet.pts if packet.pts is not None else packet.dts
            if not packet.size or moment is None:
                continue
            if packet.stream_index == self.info.stream_index:
                self.video_until = max(self.video_until, float(moment * packet.time_base))
            elif packet.stream_index in self.streams:
                yield from self._prepared(packet)

    def _prepared(self, packet: Any) -> Iterator[Any]:
        """Yield a packet as its output stream takes it, or nothing."""
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
    """Return the start of a packet, in seconds on its stream's clock."""
    return float(packet.pts * packet.time_base)
