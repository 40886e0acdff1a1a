"""Outputs at random: container, codecs, pixel format, quality and speech; see "containers and codecs" in `fuzz.py`.

Each case ends in a valid file, or in an error before the work: what the rehearsal lets pass must be written and read
back.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy as np
from helpers.media_clips import Clip, make, write_wav

from personatalk.errors import MediaError, PersonaTalkError
from personatalk.media.audio import read_speech
from personatalk.media.options import EncodeOptions
from personatalk.media.preflight import check_output, check_source
from personatalk.media.probe import probe_video
from personatalk.media.reader import VideoReader
from personatalk.media.rehearsal import rehearse
from personatalk.media.segments import JobFolder
from personatalk.media.writer import resumable_writer

SUFFIXES = [".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".ts", ".flv", ".3gp", ".3g2", ".wmv", ".asf"]
SUFFIXES += [".nut", ".vob", ".f4v", ".m2ts", ".wtv"]
RARE_SUFFIXES = [".mxf", ".gxf", ".ogv", ".gif", ".dv", ".rm", ".h264", ".m4a", ".mp3", ".wav", ".jpg", ".ism", ".psp"]
RARE_SUFFIXES += [".amv", ".mjpeg", ".y4m", ".txt", ".m3u8", ".mpd"]
COMMON = ["libx264", "libx265", "mpeg4", "mpeg2video", "libvpx-vp9", "ffv1", "prores_ks", "mjpeg", "libsvtav1"]
RATES = [Fraction(25), Fraction(30000, 1001), Fraction(15), Fraction(121, 10), Fraction(60), Fraction(1)]
FORMATS = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p12le", "gbrp10le", "yuvj420p", "gray"]
SIZES = [(128, 96), (129, 97), (176, 144), (320, 240), (64, 130), (34, 18)]
UNEVEN = [0, 20, 100, 140, 300, 310, 330, 700]
COUNT = 8
DEVICES = ("nvenc", "vaapi", "qsv", "amf", "v4l2m2m", "vulkan", "mediacodec", "videotoolbox")


def encoders(kind: str) -> list[str]:
    """Names of FFmpeg's encoders of a kind, without those of devices."""
    found = []
    for name in sorted(av.codecs_available):
        try:
            if av.Codec(name, "w").type == kind and not name.endswith(DEVICES):
                found.append(name)
        except ValueError:
            continue
    return found


def options_at_random(random: Random) -> EncodeOptions:
    """Any options that the command line takes."""
    values: dict[str, Any] = {"preset": "ultrafast"}
    if random.random() < 0.6:
        values["codec"] = random.choice(COMMON if random.random() < 0.6 else encoders("video"))
    if random.random() < 0.3:
        values["crf"] = random.choice([0, 0.5, 18, 40, 51, 52, 63])
    if random.random() < 0.4:
        values["audio_codec"] = random.choice(encoders("audio"))
    if random.random() < 0.3:
        values["audio_bitrate"] = random.choice([1000, 8000, 64_000, 500_000, 20_000_000])
    return EncodeOptions(**values)


def source_at_random(random: Random, folder: Path) -> Path:
    """A clip of any size, rate and pixel format."""
    uneven = random.random() < 0.2
    clip = Clip(folder / "video.mkv", count=COUNT, codec="ffv1", size=random.choice(SIZES), fps=random.choice(RATES))
    clip.pix_fmt = random.choice(FORMATS).replace("yuvj", "yuv")
    if uneven:
        clip.pts, clip.time_base = UNEVEN, Fraction(1, 1000)
    return make(clip)


def speech_at_random(random: Random, folder: Path) -> Path:
    """A tone of any rate and number of channels."""
    rate, channels = random.choice([4000, 8000, 22050, 24000, 44100, 48000, 96000, 192000]), random.choice([1, 1, 2, 6])
    tone = 0.3 * np.sin(np.arange(rate // 2) * 2000 / rate)
    return write_wav(folder / "speech.wav", np.repeat(tone[:, None], channels, 1), rate)


def write_at_random(path: Path, out: Path) -> None:
    """Write what the content of a file, taken for a seed, asks for.

    Raises:
        PersonaTalkError: It was refused before the work.
        AssertionError: It was refused only later, or what was written is not what was meant.
    """
    random = Random(path.read_bytes())
    source, speech = source_at_random(random, out), speech_at_random(random, out)
    output = out / f"o{random.choice(SUFFIXES if random.random() < 0.9 else RARE_SUFFIXES)}"
    options, limit = options_at_random(random), random.choice([None, 0.2])
    case = f"{output.suffix} {options} {probe_video(source).pix_fmt} {limit}"
    try:
        check_output(output, [source, speech])
        check_source(probe_video(source), output, options.codec)
        rehearse(output, probe_video(source), speech, options, limit)
    except MediaError as error:
        raise PersonaTalkError(f"{path.name}: {error}") from error
    assert {name.name for name in out.iterdir()} == {source.name, speech.name}, f"{case}: something is left"
    try:
        write(source, output, speech, options, limit)
    except MediaError as error:
        raise AssertionError(f"{case}: refused only later: {error}") from error
    check_written(output, source, case)


def write(source: Path, output: Path, speech: Path, options: EncodeOptions, limit: float | None) -> None:
    """Write all frames as they are."""
    with VideoReader(source) as reader, JobFolder(output, {}) as job:
        writer = resumable_writer(job, output, reader.info, speech, options, speech_seconds_limit=limit)
        with writer:
            for frame in reader.frames():
                writer.write(frame)


def check_written(output: Path, source: Path, case: str) -> None:
    """Read all frames and the sound."""
    with VideoReader(output) as reader:
        count = sum(1 for _ in reader.frames())
        size = (reader.info.width, reader.info.height)
    wanted = probe_video(source)
    assert count == COUNT and size == (wanted.width, wanted.height), f"{case}: {count} frames of {size}"
    assert len(read_speech(output)) > 0, f"{case}: no sound"
