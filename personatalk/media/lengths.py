"""The lengths of video and audio, measured where headers may not tell them, or only guess."""

from __future__ import annotations

from pathlib import Path

from .audio import mono_blocks
from .clock import ContinuousClock
from .container import open_input
from .probe import VideoInfo

# Samples per second at which audio is counted: that of the speech that is heard.
RATE = 16000


def video_seconds(info: VideoInfo) -> float:
    """Return where a video's last frame ends, in seconds on the presentation timeline; nothing is decoded.

    Raises:
        MediaError: The file cannot be read.
    """
    end = info.start_seconds
    with open_input(info.path) as container:
        for packet in ContinuousClock(container).packets():
            if packet.size and packet.stream.index == info.stream_index and packet.pts is not None:
                ticks = packet.duration or round(1 / (info.average_fps * packet.time_base))
                end = max(end, float((packet.pts + ticks) * packet.time_base))
    return end - info.start_seconds


def speech_seconds(path: Path) -> float:
    """Return the length of a speech, in seconds, by its samples.

    Raises:
        MediaError: It cannot be read.
    """
    return sum(map(len, mono_blocks(path, RATE))) / RATE
