"""Peak memory of `personatalk dub` on a short and a long video, made by repeating one clip.

    python benchmarks/memory.py CLIP [--seconds 60 600]

Prints the peak resident memory of each run and the ratio of the largest to the smallest.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from itertools import cycle
from pathlib import Path

import av
import numpy as np

from personatalk.media import VideoReader, read_speech


def repeated(clip: Path, seconds: float, folder: Path) -> tuple[Path, Path]:
    """The clip's frames forward and backward, and its sound, over and over, as a video and a WAV file."""
    video, sound = folder / f"{seconds:.0f}.mp4", folder / f"{seconds:.0f}.wav"
    with VideoReader(clip) as reader:
        frames = [frame.image for frame in reader.frames(0, 250)]
        fps = reader.info.average_fps
    turned = [*frames, *frames[-2:0:-1]]
    with av.open(str(video), "w") as out:
        stream = out.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
        for number, image in zip(range(round(seconds * fps)), cycle(turned), strict=False):
            image.pts, image.time_base = number, 1 / Fraction(fps)
            out.mux(stream.encode(image))
        out.mux(stream.encode(None))
    samples = np.resize((read_speech(clip) * 32767).astype(np.int16), round(seconds * 16000))
    with av.open(str(sound), "w") as out:
        track = out.add_stream("pcm_s16le", rate=16000, layout="mono")
        for start in range(0, len(samples), 16000):
            block = av.AudioFrame.from_ndarray(samples[None, start : start + 16000], format="s16", layout="mono")
            block.sample_rate = 16000
            out.mux(track.encode(block))
        out.mux(track.encode(None))
    return video, sound


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--seconds", type=float, nargs="+", default=[60.0, 600.0])
    arguments = parser.parse_args()
    peaks = []
    with tempfile.TemporaryDirectory() as name:
        for seconds in sorted(arguments.seconds):
            video, sound = repeated(arguments.clip, seconds, Path(name))
            command = [sys.executable, "-m", "personatalk", "dub", str(video), str(sound), "--quiet"]
            start = time.perf_counter()
            subprocess.run([*command, "-o", str(Path(name) / "out.mp4")], check=True, stderr=subprocess.DEVNULL)
            # The largest of all children so far: the runs go from short to long.
            peaks.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
            print(f"{seconds:.0f} s of video: {peaks[-1]:.0f} MiB, {time.perf_counter() - start:.0f} s", flush=True)
    print(f"ratio {peaks[-1] / peaks[0]:.3f}")


if __name__ == "__main__":
    main()
