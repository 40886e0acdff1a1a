"""Options of the output file: its length and its encoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..utils.options import check_options, option

# What to do when the speech and the video differ in length.
#
# - video: all frames of the video; after the speech's end the mouth follows silence.
# - video-original: all frames; after the speech's end they keep their original mouth.
# - shortest: ends where the shorter of the two ends.
# - pingpong: as long as the speech; the video goes forward, backward, forward... or is cut.
# - loop: as long as the speech; the video begins again, and its end fades into its start, or is cut.
# - remap: as long as the speech; each frame is shown a little longer or shorter.
LengthPolicy = Literal["video", "video-original", "shortest", "pingpong", "loop", "remap"]

# The policies under which the output is as long as the speech, which is needed whole.
AS_LONG_AS_SPEECH = ("pingpong", "loop", "remap")

# Speeds of the x264 and x265 encoders, fastest first.
Preset = Literal[
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
]


@dataclass(frozen=True)
class EncodeOptions:
    """Options of the output's encoding.

    Attributes:
        codec: FFmpeg's name of the video encoder; another one is taken, with a warning, where the output
            container cannot hold its codec (webm).
        crf: Quality of the encoders that know it, lower is better; 11 is near transparent for x264.
        preset: Speed of the x264 and x265 encoders. "superfast" at CRF 11 takes half the time of "faster" at 13, at
            the same PSNR and some 15 to 45 % more room.
        audio_codec: FFmpeg's name of the speech's encoder, None for what suits the container.
        audio_bitrate: Bits per second of the speech, None for a generous rate.
    """

    codec: str = option("libx264", "FFmpeg's name of the video encoder", metavar="ENCODER", group="encoding")
    crf: float = option(
        11,
        "quality of the video, lower is better; 11 is near-transparent for x264",
        metavar="NUMBER",
        group="encoding",
        least=0,
        most=63,
    )
    preset: Preset = option("superfast", "speed of the x264 and x265 encoders", group="encoding")
    audio_codec: str | None = option(
        None,
        "FFmpeg's name of the speech's encoder",
        otherwise="what suits the container",
        metavar="ENCODER",
        group="encoding",
    )
    audio_bitrate: int | None = option(
        None,
        "bits per second of the speech",
        otherwise="a generous rate",
        metavar="RATE",
        group="encoding",
        least=1000,
    )

    def __post_init__(self) -> None:
        check_options(self)
