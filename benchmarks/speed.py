"""How fast a dub is, and where the time goes: one table for each device, and Wav2Lip's network beside ours.

    python benchmarks/speed.py
    python benchmarks/speed.py --devices cpu openvino --video VIDEO --speech SPEECH

Each device dubs the clip five times and eight times over, each in a process of its own. The difference of the two is
the steady state, which begins after the 20 seconds whose sound is held against the picture; what the first takes beyond
it is the start. Processor time is of all threads: on a machine
that does other work as well it is the figure to trust. Needs PyTorch for Wav2Lip's network alone, whose published sizes
get random weights.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path

import av
import numpy as np

from personatalk.sample import sample_files
from personatalk.utils.devices import available_devices

# How many times the clip is repeated for the two dubs.
TIMES = (5, 8)
# Faces that are timed one by one.
FACES = 10
PACKAGES = ("personatalk", "numpy", "onnxruntime", "openvino", "numba", "av")
# Dubs, and prints what only the process itself knows.
CHILD = """
import json, sys, time
start = time.perf_counter()
import personatalk
from personatalk.pipeline.options import DubOptions, WeightPaths
first = []
def progress(stage, done, total):
    if stage == "dubbing" and done and not first:
        first.append(time.perf_counter() - start)
video, speech, output, device = sys.argv[1:]
report = personatalk.dub(video, speech, output, models=WeightPaths(device=device).load(), progress=progress)
print(json.dumps({"first": first[0], "frames": report.frames, "stages": report.stage_seconds}))
"""


@dataclass(frozen=True)
class Run:
    """One dub in a process of its own: seconds by the clock and of processors, memory in MB, and its own record."""

    wall: float
    processor: float
    memory: float
    record: dict[str, object]

    @property
    def frames(self) -> int:
        """Frames of the output."""
        return int(str(self.record["frames"]))


def dubbed(video: Path, speech: Path, output: Path, device: str) -> Run:
    """Dub, and measure the process."""
    begin = time.perf_counter()
    words = [sys.executable, "-c", CHILD, str(video), str(speech), str(output), device]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert process.stdout is not None
    told = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the dub on {device} failed")
    wall, processor = time.perf_counter() - begin, usage.ru_utime + usage.ru_stime
    return Run(wall, processor, usage.ru_maxrss / 1024, json.loads(told.splitlines()[-1]))


def repeated(source: Path, target: Path, times: int) -> Path:
    """Write a video or audio file whose content comes several times."""
    with av.open(str(target), "w") as out:
        stream, count = None, 0
        for _ in range(times):
            with av.open(str(source)) as file:
                track = (file.streams.video or file.streams.audio)[0]
                video = track.type == "video"
                rate = track.average_rate if video else track.rate
                if stream is None:
                    stream = out.add_stream("libx264" if video else "pcm_s16le", rate=rate)
                    if video:
                        stream.width, stream.height, stream.pix_fmt = track.width, track.height, "yuv420p"
                        stream.options = {"crf": "10", "preset": "fast"}
                for frame in file.decode(track):
                    frame.pts, frame.time_base = count, 1 / Fraction(rate)
                    count += 1 if video else frame.samples
                    out.mux(stream.encode(frame))
        assert stream is not None
        out.mux(stream.encode(None))
    return target


def table(device: str, short: Run, long: Run) -> None:
    """Print the figures of a device."""
    frames = long.frames - short.frames
    wall, processor = (long.wall - short.wall) / frames, (long.processor - short.processor) / frames
    start = short.wall - short.frames * wall
    print(f"\n## {device}\n\n| | |\n|---|---|")
    print(f"| start: all but the frames | {start:.1f} s |")
    first = float(str(short.record["first"]))
    print(f"| first frame written after | {first:.1f} s, with the analysis of {short.frames} frames |")
    print(f"| steady state | {1 / wall:.1f} frames a second, {1000 * processor:.0f} ms of processor time a frame |")
    print(
        f"| memory at most | {short.memory:.0f} MB for {short.frames} frames, {long.memory:.0f} MB for {long.frames} |"
    )
    stages = [run.record["stages"] for run in (short, long)]
    assert isinstance(stages[0], dict) and isinstance(stages[1], dict)
    for name in stages[1]:
        print(f"| {name} | {1000 * (stages[1][name] - stages[0].get(name, 0)) / frames:.1f} ms a frame by the clock |")


def face_seconds(device: str) -> float:
    """Return the processor seconds of stage 2 for one face: a reference, queries, attention, decoder."""
    from personatalk.geometry.morphable_model import MorphableModel
    from personatalk.stage2.geometry_map import geometry_map
    from personatalk.stage2.runtime import RendererRuntime

    model, network = MorphableModel.load(), RendererRuntime(device=device)
    points = (model.mean - model.mean.mean(axis=0)) * np.float32(network.size / 1.9) + np.float32(network.size / 2)
    drawn = geometry_map(model, points, network.size)
    crop = np.random.default_rng(0).integers(0, 255, (network.size, network.size, 3), np.uint8)
    references = network.encode([crop] * 25, [drawn] * 25)

    def face() -> None:
        network.encode([crop], [drawn])
        network.render(drawn, references, references[:5])

    return seconds_of(face)


def wav2lip_seconds() -> float:
    """Return the processor seconds of Wav2Lip's network for one face of 96 pixels, in ONNX Runtime on one core."""
    import onnxruntime
    import torch
    from wav2lip_sizes import Wav2LipSizes

    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        inputs = (torch.rand(1, 1, 80, 16), torch.rand(1, 6, 96, 96))
        path = Path(folder) / "wav2lip.onnx"
        torch.onnx.export(Wav2LipSizes().eval(), inputs, str(path), input_names=["mel", "faces"], dynamo=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    named = {"mel": inputs[0].numpy(), "faces": inputs[1].numpy()}
    return seconds_of(lambda: session.run(None, named))


def seconds_of(work) -> float:  # type: ignore[no-untyped-def]
    """Return the median processor seconds of a call, after two that do not count."""
    times = []
    for _ in range(FACES + 2):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return float(np.median(times[2:]))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, default=sample_files()[0])
    parser.add_argument("--speech", type=Path, default=sample_files()[1])
    parser.add_argument("--devices", nargs="+", default=sorted(available_devices()))
    given = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()};")
    print(", ".join(f"{name} {version(name)}" for name in PACKAGES))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = [
            (
                repeated(given.video, folder / f"{times}.mp4", times),
                repeated(given.speech, folder / f"{times}.wav", times),
            )
            for times in TIMES
        ]
        for device in given.devices:
            runs = [dubbed(*clip, folder / f"{device}-{clip[0].name}", device) for clip in clips]
            table(device, *runs)
    theirs = wav2lip_seconds()
    print("\n## A face on one core\n\n| | ms | over Wav2Lip's |\n|---|---|---|")
    print(f"| Wav2Lip's network, 96 x 96 | {1000 * theirs:.0f} | 1 |")
    for device in given.devices:
        ours = face_seconds(device)
        print(f"| stage 2 on {device}, 256 x 256 | {1000 * ours:.0f} | {ours / theirs:.2f} |")


if __name__ == "__main__":
    main()
