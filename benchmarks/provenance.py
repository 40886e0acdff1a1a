"""Rates at which the watermark is found in marked and in unmarked videos.

    python benchmarks/provenance.py marked FOLDER OUT.csv        original faces are marked, re-encoded and looked at
    python benchmarks/provenance.py plain FOLDER OUT.csv         originals as they are, one stretch after the other
    python benchmarks/provenance.py recoded FOLDER OUT.csv       originals re-encoded
    python benchmarks/provenance.py dubs FOLDER OUT.csv --speech FILE ...    true dubs, with provenance and without
    python benchmarks/provenance.py table OUT.csv ...            rates with Wilson 95 % intervals

FOLDER holds videos; they are taken in stretches of 3 seconds. The watermark is the same whoever drew the
face under it, so marking original faces measures the same as dubbing them and takes a tenth of the time.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from itertools import pairwise
from math import sqrt
from pathlib import Path

import av
import numpy as np

from personatalk.errors import PersonaTalkError
from personatalk.faces.analysis import Analysis, analyse
from personatalk.faces.landmarks import open_tracker
from personatalk.geometry.camera import apply_transform, crop_transform, project, warp
from personatalk.geometry.masks import face_region
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.media.reader import VideoReader
from personatalk.media.writer import VideoWriter
from personatalk.provenance.options import Provenance
from personatalk.provenance.verify import find_watermark
from personatalk.provenance.watermark import STRETCH_SECONDS, WatermarkDetector, WatermarkResult, embed_watermark
from personatalk.stage2.compositing import to_image

SUFFIXES = {".mp4", ".mpg", ".mov", ".mkv", ".avi"}
SETTINGS: dict[str, dict[str, float]] = {
    "x264 crf 18": {"crf": 18},
    "x264 crf 23": {"crf": 23},
    "x264 crf 28": {"crf": 28},
    "1 Mbit/s at 512 x 512": {"rate": 1e6 / 512**2},
    "half size, crf 23": {"crf": 23, "shrink": 2},
}
WRITTEN = "as written"


def recode(source: Path, target: Path, crf: float = 0, rate: float = 0, shrink: int = 1) -> None:
    """Encode again with x264 at its default preset; `rate` is in bits per second and pixel."""
    with VideoReader(source) as reader, av.open(str(target), "w") as out:
        info = reader.info
        stream = out.add_stream("libx264", rate=info.average_fps, options={"crf": str(crf)} if crf else {})
        width, height = info.width // shrink // 2 * 2, info.height // shrink // 2 * 2
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if rate:
            stream.bit_rate = round(rate * width * height)
        for frame in reader.frames():
            image = frame.image.reformat(width=width, height=height, format="yuv420p", interpolation="BICUBIC")
            image.pts, image.time_base = frame.index, 1 / Fraction(info.average_fps)
            image.pict_type = av.video.frame.PictureType.NONE
            out.mux(stream.encode(image))
        out.mux(stream.encode(None))


def stretch(source: Path, target: Path, start: float) -> None:
    """Copy a stretch of the pictures, at a quality that shows no loss."""
    with VideoReader(source) as reader, av.open(str(target), "w") as out:
        info = reader.info
        stream = out.add_stream("libx264", rate=info.average_fps, options={"crf": "10", "preset": "veryfast"})
        stream.width, stream.height = info.width // 2 * 2, info.height // 2 * 2
        stream.pix_fmt = "yuv420p"
        for frame in reader.frames():
            if frame.time >= start + STRETCH_SECONDS:
                break
            if frame.time < start:
                continue
            image = frame.image.reformat(width=stream.width, height=stream.height, format="yuv420p")
            image.pts, image.time_base = frame.index, 1 / Fraction(info.average_fps)
            image.pict_type = av.video.frame.PictureType.NONE
            out.mux(stream.encode(image))
        out.mux(stream.encode(None))


def analysed(source: Path, model: MorphableModel) -> Analysis:
    """Faces and geometry of a file."""
    with VideoReader(source) as reader:
        tracker = open_tracker()
        try:
            return analyse(reader, tracker, model)
        finally:
            tracker.close()


def marked(source: Path, target: Path, analysis: Analysis, model: MorphableModel) -> float:
    """Mark the original faces where a dub would be pasted; returns the PSNR in that region."""
    errors = []
    with VideoReader(source) as reader, VideoWriter(target, reader.info, None) as writer:
        for frame in reader.frames():
            if analysis.usable[frame.index]:
                pose = analysis.pose[frame.index]
                transform = crop_transform(pose)
                vertices = project(analysis.vertices(model, frame.index), pose)
                mask = face_region(model, [apply_transform(transform, vertices)], 256)
                crop = warp(frame.rgb(), transform)
                new = embed_watermark(crop, frame.time)
                errors.append(np.mean((new[mask > 0.5].astype(float) - crop[mask > 0.5]) ** 2))
                patch = to_image(new, mask, transform, *reader.info.upright_size)
                if patch is not None:
                    frame = frame.pasted(patch.pixels, patch.mask, patch.left, patch.top)
            writer.write(frame)
    return float(10 * np.log10(65025 / np.mean(errors)))


def starts(source: Path, most: int) -> list[float]:
    """Return the starts of stretches: up to `most`, apart from each other, over the whole clip."""
    with VideoReader(source) as reader:
        seconds = reader.info.duration or 0.0
    count = int((seconds + 0.05) // STRETCH_SECONDS)
    return [float(i * STRETCH_SECONDS) for i in np.unique(np.linspace(0, count - 1, min(most, count)).astype(int))]


def videos(folder: Path, part: tuple[int, int]) -> list[Path]:
    """The videos of a folder, or every Nth of them."""
    return sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES)[part[0] :: part[1]]


def row(
    source: Path, start: float, setting: str, is_marked: bool, found: WatermarkResult, **more: object
) -> dict[str, object]:
    """One line of the results."""
    basics: dict[str, object] = {"clip": source.name, "start": start, "setting": setting, "marked": int(is_marked)}
    return {**basics, "score": round(found.score, 2), "found": int(found.found), **more}


def on_stretches(source: Path, options: argparse.Namespace, is_marked: bool) -> Iterator[dict[str, object]]:
    """Stretches, marked or not, re-encoded at each setting."""
    model = MorphableModel.load()
    for start in starts(source, options.most):
        with tempfile.TemporaryDirectory() as name:
            plain, base, again = (Path(name) / f"{i}.mp4" for i in ("plain", "base", "again"))
            stretch(source, plain, start)
            analysis = analysed(plain, model)
            if analysis.usable.sum() * 2 < len(analysis):
                continue
            more = {"eyes": round(float(np.exp(analysis.pose[analysis.usable, 3]).mean()))}
            if is_marked:
                more["psnr"] = round(marked(plain, base, analysis, model), 2)  # type: ignore[assignment]
                yield row(source, start, WRITTEN, True, find_watermark(base, model), **more)
            else:
                plain.rename(base)
            for setting, how in SETTINGS.items():
                if is_marked or setting in options.settings:
                    recode(base, again, **how)  # type: ignore[arg-type]
                    yield row(source, start, setting, is_marked, find_watermark(again, model), **more)


def plain(source: Path, options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Originals: the clip is analysed once, and each stretch is looked at for itself."""
    model = MorphableModel.load()
    analysis = analysed(source, model)
    edges = [*np.arange(0, analysis.time[-1] - STRETCH_SECONDS * 0.9, STRETCH_SECONDS), analysis.time[-1] + 1]
    detectors = [WatermarkDetector() for _ in edges[1:]]
    with VideoReader(source) as reader:
        for frame in reader.frames():
            if analysis.usable[frame.index]:
                place = int(np.searchsorted(edges, frame.time, side="right")) - 1
                detectors[place].add(frame.time, warp(frame.rgb(), crop_transform(analysis.pose[frame.index])))
    for (start, _), detector in zip(pairwise(edges), detectors, strict=True):
        found = detector.result()
        if np.isfinite(found.threshold):
            yield row(source, start, "original", False, found)


def dubs(source: Path, options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """True dubs of one stretch of each clip, with provenance and without, and re-encoded."""
    from personatalk.pipeline.dub import Models, dub
    from personatalk.pipeline.options import DubOptions

    models = Models.load()
    with tempfile.TemporaryDirectory() as name:
        plain, made, again = (Path(name) / f"{i}.mp4" for i in ("plain", "made", "again"))
        stretch(source, plain, 0.0)
        speech = options.speech[len(source.name) % len(options.speech)]
        for on in (True, False):
            dub(plain, speech, made, models=models, options=DubOptions(provenance=Provenance(on)))
            yield row(source, 0.0, f"dub, {WRITTEN}", on, find_watermark(made, models.morphable))
            for setting in options.settings:
                recode(made, again, **SETTINGS[setting])  # type: ignore[arg-type]
                yield row(source, 0.0, f"dub, {setting}", on, find_watermark(again, models.morphable))


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a rate."""
    z = 1.96
    share = hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def table(options: argparse.Namespace) -> None:
    """Print rates from result files."""
    groups: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for path in (options.folder, *options.more):
        with path.open(newline="", encoding="utf-8") as file:
            for line in csv.DictReader(file):
                groups[line["marked"], line["setting"]].append(line)
    for is_marked, title in (("1", "marked"), ("0", "not marked")):
        print(f"| {title} | stretches | found | rate | Wilson 95 % | score: least, median, most |")
        print("|---|---|---|---|---|---|")
        kinds = [(setting, lines) for (kind, setting), lines in groups.items() if kind == is_marked]
        every = [line for _, lines in kinds for line in lines]
        for setting, lines in [*kinds, ("all", every)] if every else []:
            hits, scores = sum(int(line["found"]) for line in lines), [float(line["score"]) for line in lines]
            low, high = wilson(hits, len(lines))
            span = f"{min(scores):.1f}, {np.median(scores):.1f}, {max(scores):.1f}"
            rate = f"{hits / len(lines):.1%} | {low:.1%} to {high:.1%}"
            print(f"| {setting} | {len(lines)} | {hits} | {rate} | {span} |")
        psnr = [float(line["psnr"]) for line in every if line.get("psnr")]
        if psnr:
            print(f"PSNR of the marked region: mean {np.mean(psnr):.1f} dB, least {min(psnr):.1f} dB")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("marked", "plain", "recoded", "dubs", "table"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("more", type=Path, nargs="*")
    parser.add_argument("--most", type=int, default=2, help="stretches per clip")
    parser.add_argument("--part", type=int, nargs=2, default=(0, 1), help="I N: every Nth clip from number I on")
    parser.add_argument("--speech", type=Path, nargs="*", default=[])
    parser.add_argument("--settings", nargs="*", default=["x264 crf 28", "half size, crf 23"])
    options = parser.parse_args()
    if options.what == "table":
        table(options)
        return
    kinds: dict[str, Callable[[Path, argparse.Namespace], Iterator[dict[str, object]]]] = {
        "marked": partial(on_stretches, is_marked=True),
        "recoded": partial(on_stretches, is_marked=False),
        "plain": plain,
        "dubs": dubs,
    }
    names = ["clip", "start", "setting", "marked", "score", "found", "eyes", "psnr"]
    with options.more[0].open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for source in videos(options.folder, options.part):
            try:
                for line in kinds[options.what](source, options):
                    writer.writerow(line)
                    file.flush()
                    print(line, flush=True)
            except PersonaTalkError as error:
                print(error)


if __name__ == "__main__":
    main()
