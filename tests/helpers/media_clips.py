"""Small media files that the tests make for themselves."""

from __future__ import annotations

import wave
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.subtitles.subtitle import SubtitleSet

WIDTH, HEIGHT = 128, 96
ASS_HEADER = (
    b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize, PrimaryColour, "
    b"SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, "
    b"Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding\n"
    b"Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0\n\n"
    b"[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)


@dataclass
class Clip:
    """Properties of a clip to be made."""

    path: Path
    fps: Fraction = Fraction(25)
    count: int = 25
    pts: list[int] | None = None  # ticks of time_base; None: constant rate
    time_base: Fraction | None = None
    pix_fmt: str = "yuv420p"
    codec: str = "libx264"
    size: tuple[int, int] = (WIDTH, HEIGHT)
    clockwise: int = 0
    aspect: Fraction | None = None
    colours: tuple[int, int, int, int] | None = None  # matrix, range, primaries, transfer
    audio: list[tuple[str, int]] = field(default_factory=list)  # (codec, tone in Hz)
    audio_seconds: float | None = None
    subtitles: str | None = None
    chapters: bool = False
    metadata: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    muxer: dict[str, str] = field(default_factory=dict)
    audio_rate: int = 48000


def picture(number: int, width: int, height: int) -> np.ndarray:
    """A smooth picture with a bright column that tells its number."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 255 / width, y * 255 / height, 255 - x * 255 / width], -1)
    rgb[:, (number * 4) % width : (number * 4) % width + 4] = 255
    return np.ascontiguousarray(rgb.astype(np.uint8))


def make(clip: Clip) -> Path:
    with av.open(str(clip.path), "w", container_options=clip.muxer) as out:
        time_base = clip.time_base or 1 / clip.fps
        options = {"preset": "ultrafast"} if clip.codec == "libx264" else {}
        video = out.add_stream(clip.codec, rate=clip.fps, options={**options, **clip.options}, time_base=time_base)
        video.width, video.height = clip.size
        video.pix_fmt = clip.pix_fmt
        if clip.aspect:
            video.codec_context.sample_aspect_ratio = clip.aspect
        if clip.colours:
            context = video.codec_context
            context.colorspace, context.color_range, context.color_primaries, context.color_trc = clip.colours
        if clip.clockwise:
            video.set_display_rotation(-clip.clockwise)
        tracks = [add_audio(out, codec, clip.audio_rate) for codec, _ in clip.audio]
        for track, language in zip(tracks, ("eng", "fra", "spa"), strict=False):
            track.metadata.update({"language": language, "title": f"track {language}"})
        sub = add_subtitles(out, clip.subtitles) if clip.subtitles else None
        out.metadata.update(clip.metadata)
        if clip.chapters:
            half = {"time_base": Fraction(1, 1000), "metadata": {"title": "first"}}
            out.set_chapters(
                [
                    {**half, "id": 1, "start": 0, "end": 500},
                    {**half, "id": 2, "start": 500, "end": 1000, "metadata": {"title": "second"}},
                ]
            )
        out.start_encoding()
        if sub is not None:
            out.mux(subtitle_packet(sub))
        seconds = clip.audio_seconds or float(clip.count / clip.fps)
        for track, (_, tone) in zip(tracks, clip.audio, strict=True):
            encode_tone(out, track, tone, seconds, clip.audio_rate)
        encode_pictures(out, video, clip, time_base)
    return clip.path


def encode_pictures(out: Any, video: Any, clip: Clip, time_base: Fraction) -> None:
    for number in range(clip.count):
        frame = av.VideoFrame.from_ndarray(picture(number, *clip.size), format="rgb24")
        if clip.colours:
            frame = frame.reformat(format=clip.pix_fmt, dst_colorspace=clip.colours[0], dst_color_range=clip.colours[1])
        else:
            frame = frame.reformat(format=clip.pix_fmt)
        frame.pts = clip.pts[number] if clip.pts else number
        frame.time_base = time_base
        out.mux(video.encode(frame))
    out.mux(video.encode(None))


def add_audio(out: Any, codec: str, rate: int) -> Any:
    track = out.add_stream(codec, rate=rate)
    track.codec_context.layout = "mono"
    track.codec_context.open()
    return track


def encode_tone(out: Any, track: Any, tone: int, seconds: float, rate: int) -> None:
    samples = 0.5 * np.sin(2 * np.pi * tone * np.arange(round(seconds * rate)) / rate)
    encode_samples(out, track, samples, rate)


def encode_samples(out: Any, track: Any, samples: np.ndarray, rate: int, clock: int = 0) -> None:
    context = track.codec_context
    resampler = av.AudioResampler(context.format.name, "mono", rate, context.frame_size or 1024)
    frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="fltp", layout="mono")
    frame.sample_rate = rate
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        piece.pts, piece.time_base = clock, Fraction(1, rate)
        clock += piece.samples
        out.mux(track.encode(piece))
    out.mux(track.encode(None))


def add_subtitles(out: Any, codec: str) -> Any:
    sub = out.add_stream(codec)
    sub.codec_context.subtitle_header = ASS_HEADER
    sub.metadata["language"] = "deu"
    return sub


def subtitle_packet(sub: Any) -> Any:
    text = SubtitleSet.create(text=b"0,0,Default,,0,0,0,,Hallo Welt", start=0, end=400, pts=200_000)
    packet = sub.codec_context.encode_subtitle(text)
    packet.stream, packet.time_base = sub, Fraction(1, 1000)
    packet.pts = packet.dts = 200
    packet.duration = 400
    return packet


def write_wav(path: Path, samples: np.ndarray, rate: int) -> Path:
    """Write float (N,) or (N, channels) samples as 16 bit."""
    values = np.atleast_2d(samples.T).T
    with wave.open(str(path), "wb") as out:
        out.setnchannels(values.shape[1])
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((np.clip(values, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def clicks(seconds: float, rate: int, at: tuple[float, ...]) -> np.ndarray:
    """Silence with short 1 kHz bursts that start at given times."""
    samples = np.zeros(round(seconds * rate), np.float32)
    burst = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(round(0.03 * rate)) / rate)
    for moment in at:
        begin = round(moment * rate)
        samples[begin : begin + len(burst)] = burst[: len(samples) - begin]
    return samples


def onsets(samples: np.ndarray, rate: int) -> list[float]:
    """Times in seconds at which bursts start."""
    loud = np.abs(samples) > 0.3
    result: list[float] = []
    for place in np.flatnonzero(loud):
        if not result or place / rate - result[-1] > 0.1:
            result.append(float(place / rate))
    return result


def spoil_packets(path: Path, packets: range) -> None:
    """Overwrite the content of some video packets with noise."""
    with av.open(str(path)) as source:
        places = [(p.pos, p.size) for p in source.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for number in packets:
        position, size = places[number]
        data[position : position + size] = rng.bytes(size)
    path.write_bytes(bytes(data))
