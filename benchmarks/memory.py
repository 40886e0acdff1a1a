"""Peak memory of dubbing videos of several lengths, each in a process of its own.

    python benchmarks/memory.py VIDEO SPEECH -o FOLDER [--minutes 6 60] [--shown 2]

The source is VIDEO, scaled to 128 pixels of width, shown for the first seconds of every three minutes; in between there
is a still image without a face, so that an hour is decoded, analysed, timed and encoded, but not rendered as a whole.
The speech lasts as long as the video.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from personatalk.audio.rates import SAMPLE_RATE
from personatalk.media.audio import read_speech
from personatalk.media.reader import VideoReader

FPS, PERIOD = 25, 180
WORK = """
import json, resource, sys
from personatalk.cli.main import main
code = main(sys.argv[1:])
print(json.dumps({"code": code, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def long_video(source: Path, minutes: int, shown: int, path: Path) -> None:
    """Write the video."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", FPS, options={"preset": "ultrafast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv420p"
        still = av.VideoFrame.from_ndarray(np.full((128, 128, 3), 90, np.uint8), "rgb24")
        for start in range(0, minutes * 60, PERIOD):
            with VideoReader(source) as reader:
                frames = itertools.islice(itertools.cycle(reader.frames()), shown * FPS)
                for number in range(min(PERIOD, minutes * 60 - start) * FPS):
                    frame = next(frames, None)
                    shown_frame = (still if frame is None else frame.image).reformat(128, 128, "yuv420p")
                    shown_frame.pts, shown_frame.time_base = start * FPS + number, Fraction(1, FPS)
                    output.mux(stream.encode(shown_frame))
        output.mux(stream.encode())


def long_speech(source: Path, minutes: int, path: Path) -> None:
    """Write the speech, again and again, as 16 kHz FLAC."""
    samples = (read_speech(source, SAMPLE_RATE) * 32767).clip(-32768, 32767).astype(np.int16)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("flac", SAMPLE_RATE, layout="mono")
        place = 0
        while place < minutes * 60 * SAMPLE_RATE:
            block = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
            block.sample_rate, block.pts = SAMPLE_RATE, place
            place += len(samples)
            for packet in stream.encode(block):
                output.mux(packet)
        output.mux(stream.encode())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--minutes", type=int, nargs="+", default=[6, 60])
    parser.add_argument("--shown", type=int, default=2, help="seconds of face in every three minutes")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    for minutes in given.minutes:
        video, speech = given.output / f"{minutes}.mp4", given.output / f"{minutes}.flac"
        long_video(given.video, minutes, given.shown, video)
        long_speech(given.speech, minutes, speech)
        report = given.output / f"{minutes}.json"
        words = ["dub", video, speech, "-o", given.output / f"{minutes}_dubbed.mp4", "--report", report, "--quiet"]
        call = [sys.executable, "-c", WORK, *map(str, words)]
        last = subprocess.run(call, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        found, made = json.loads(last), json.loads(report.read_text())
        print(
            f"{minutes} min: {made['frames']} frames, {made['dubbed']} dubbed, peak {found['peak_mb']:.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
