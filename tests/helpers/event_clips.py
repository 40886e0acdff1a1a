"""Clips in which something is seen and heard at the same time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from .media_clips import add_audio, clicks, encode_samples

# Seconds of a clip, and of the flash and click in it.
LENGTH, EVENT = 1.0, 0.4


def flash_and_click(path: Path, start: float = 0.0, tail: float = 0.0) -> Path:
    """Write a clip in which a white frame and a click begin at the same time, from a time on its own clock on.

    Its sound lasts `tail` seconds longer than its picture.
    """
    with av.open(str(path), "w", container_options={"avoid_negative_ts": "disabled"}) as out:
        # Matroska stores no decoding times; what FFmpeg makes up for B-frames has holes.
        options = {"preset": "fast", "bf": "0" if path.suffix == ".mkv" else "2", "g": "12"}
        video = out.add_stream("libx264", rate=25, options=options)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = Fraction(1, 90000)
        track = add_audio(out, "mp2" if path.suffix == ".ts" else "aac", 48000)
        out.start_encoding()
        encode_samples(out, track, clicks(LENGTH + tail, 48000, (EVENT,)), 48000, clock=round(start * 48000))
        for number in range(round(LENGTH * 25)):
            level = 255 if number == round(EVENT * 25) else 20
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round((start + number / 25) * 90000), Fraction(1, 90000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    return path
