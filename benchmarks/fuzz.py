"""Fuzzing: damaged files of every kind that PersonaTalk reads must be read or refused, and nothing else.

    python benchmarks/fuzz.py --cases 2000 [--only NAME...] [--seed 0]

A case is a file with seeded damage. It passes if it is read, or refused by a PersonaTalkError of one line that names
the file. Another exception, a hang, a crash, memory beyond all measure, a file changed or written outside the case's
output folder, and code that is run are defects. Prints a table of targets; keeps the files of defects in `--keep`.

To fuzz another format add a line to `TARGETS`.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import media_kinds
import numpy as np
from mutations import mutated
from transition_cases import another_transition, load_transition, transition_seed

sys.path.append(str(Path(__file__).parents[1] / "tests"))

MEMORY = 6 << 30
"""Bytes of address space of the process that reads the cases."""
CHANNELS = 2
"""Of the renderer for which the persona is made."""
CELLS = 4096
"""Of its grid."""
GROWTH = 1 << 30
"""Bytes by which one case may raise the peak of resident memory."""
PATIENCE = 6.0
"""Times by which a case may take longer than its time of the processor, since the machine has other work."""


@dataclass(frozen=True)
class Target:
    """Something that reads files.

    Attributes:
        name: For the table.
        seeds: Writes sound files into a folder; returns those to damage. Others lie beside every case.
        load: Reads a damaged file; the folder is for what it writes.
        seconds: Longest time of the processor for a case; it hangs if nothing comes after `PATIENCE` times as much.
        change: Makes a case of a seed's content and name.
    """

    name: str
    seeds: Callable[[Path], list[Path]]
    load: Callable[[Path, Path], object]
    seconds: float = 10.0
    change: Callable[[bytes, str, Random], bytes] = mutated


@dataclass
class Score:
    """Results of a target's cases."""

    cases: int = 0
    accepted: int = 0
    refused: int = 0
    defects: list[str] = field(default_factory=list)


# ---------------------------------------------------------------------------------------------- media


def sounds(folder: Path) -> list[Path]:
    """A fifth of a second of sound in four containers."""
    import av
    from helpers.media_clips import add_audio, encode_tone, write_wav

    found = [write_wav(folder / "s.wav", 0.3 * np.sin(np.arange(3200) / 20), 16000)]
    for name, codec in (("s.mp3", "libmp3lame"), ("s.ogg", "libopus"), ("s.flac", "flac")):
        with av.open(str(folder / name), "w") as out:
            track = add_audio(out, codec, 48000)
            out.start_encoding()
            encode_tone(out, track, 300, 0.2, 48000)
        found.append(folder / name)
    return found


def videos(folder: Path) -> list[Path]:
    """Five frames with sound in six containers."""
    from helpers.media_clips import Clip, make

    kinds = [("v.mp4", "libx264", "aac"), ("v.mov", "libx264", "aac"), ("v.mkv", "libx264", "flac")]
    kinds += [("v.webm", "libvpx", "libopus"), ("v.avi", "mpeg4", "pcm_s16le"), ("v.ts", "mpeg2video", "mp2")]
    shared = {"fps": Fraction(25), "count": 5, "size": (128, 96)}
    return [make(Clip(folder / n, codec=c, audio=[(a, 300)], **shared)) for n, c, a in kinds]  # type: ignore[arg-type]


def channel_layouts(folder: Path) -> list[Path]:
    """One to sixteen channels, with layouts and without, planar and packed."""
    from helpers.audio_clips import voice, write_channels

    layouts = ["mono", "2 channels", "2.1", "3 channels", "quad", "5.1", "6 channels", "7.1", "8 channels"]
    kinds = [("wav", "pcm_s16le", "s16", [*layouts, "16 channels"]), ("mkv", "flac", "s16", layouts)]
    kinds += [("m4a", "aac", "fltp", ["mono", "5.1", "7.1"])]
    found = []
    for suffix, codec, sample_format, names in kinds:
        for number, layout in enumerate(names):
            count = int(layout.split()[0]) if "channels" in layout else {"mono": 1, "quad": 4}.get(layout, 0)
            count = count or sum(map(int, layout.split(".")))
            samples = np.stack([voice(0.2, 48000, seed=channel) for channel in range(count)], axis=1)
            path = folder / f"{number}.{suffix}"
            found.append(write_channels(path, codec, samples, 48000, layout, sample_format))
    return found


def audio_time_stamps(folder: Path) -> list[Path]:
    """Holes, overlaps, late starts, clocks of another speed and clocks that start anew."""
    from helpers.audio_clips import voice, write_stamped

    moves: list[Callable[[float], float | None]] = [
        lambda time: None if 0.1 < time < 0.2 else time,
        lambda time: time if time < 0.2 else time - 0.015,
        lambda time: time + 0.3,
        lambda time: 1.3 * time,
        lambda time: time if time < 0.2 else time + 5000,
    ]
    kinds = [("mkv", "flac"), ("mp4", "aac"), ("webm", "libopus"), ("ts", "mp2"), ("ogg", "flac")]
    found = []
    for number, move in enumerate(moves):
        for suffix, codec in kinds:
            path = folder / f"{number}.{suffix}"
            found.append(write_stamped(path, codec, voice(0.4, 48000), 48000, move))
    for suffix in ("ts", "ogg"):
        data = (folder / f"0.{suffix}").read_bytes()
        found.append(folder / f"joined.{suffix}")
        found[-1].write_bytes(3 * data)
    return found


def all_media(folder: Path) -> list[Path]:
    """Videos and sounds."""
    return [*videos(folder), *sounds(folder)]


class OneFace:
    """A tracker that sees the same face in every picture."""

    def __init__(self, *arguments: object) -> None:
        from helpers.synthetic import talk

        from personatalk.geometry.morphable_model import MorphableModel

        self.landmarks = talk(MorphableModel.load(), 1, 0.0, scale=24.0).landmarks[0]

    def detect(self, rgb: object) -> list[Any]:
        """See `FaceTracker.detect`."""
        return [self.landmarks]

    def close(self) -> None:
        """See `FaceTracker.close`."""


def load_frames(path: Path, out: Path) -> None:
    """Every frame, and a second pass from the middle."""
    from personatalk.media.reader import VideoReader

    with VideoReader(path) as reader:
        count = sum(len(frame.rgb()) > 0 for frame in reader.frames())
        for frame in reader.frames(count // 2):
            frame.rgb()


def load_speech(path: Path, out: Path) -> None:
    """All samples."""
    from personatalk.media.audio import read_speech
    from personatalk.media.probe import probe_speech

    probe_speech(path)
    read_speech(path)


def load_channels(path: Path, out: Path) -> None:
    """Whatever is asked of a speech on its way to the mouth and to the output."""
    from personatalk.media.audio import is_continuous, loses_channels, mono_blocks, stereo_blocks
    from personatalk.media.probe import probe_speech

    info = probe_speech(path)
    loses_channels(path, info, 5.0)
    is_continuous(path, info.rate)
    for block in (*mono_blocks(path, 16000, 5.0), *stereo_blocks(path, 16000)):
        assert np.isfinite(block).all()


def load_front(path: Path, out: Path) -> None:
    """A dub up to its analysis, and its output with nothing dubbed."""
    from personatalk.faces.analysis import analyse
    from personatalk.geometry.morphable_model import MorphableModel
    from personatalk.media.audio import read_speech
    from personatalk.media.options import EncodeOptions
    from personatalk.media.preflight import check_output
    from personatalk.media.reader import VideoReader
    from personatalk.media.timeline import frames_in_order, plan, retimed
    from personatalk.media.writer import VideoWriter

    check_output(out / "o.mp4", [path])
    with VideoReader(path) as reader:
        samples = read_speech(path)
        analysis = analyse(reader, OneFace(), MorphableModel.load())
        timeline = plan(analysis.time, analysis.duration, len(samples) / 16000)
        options = EncodeOptions(preset="ultrafast")
        with VideoWriter(
            out / "o.mp4", reader.info, path, options, speech_seconds_limit=timeline.speech_limit
        ) as writer:
            for frame in retimed(frames_in_order(reader, timeline.source_index), timeline, reader.info):
                writer.write(frame)


def load_sheet(path: Path, out: Path) -> None:
    """The contact sheet."""
    from personatalk.faces import selection
    from personatalk.geometry.morphable_model import MorphableModel
    from personatalk.pipeline import contact_sheet

    selection.open_searching_tracker = OneFace  # type: ignore[assignment]
    contact_sheet.draw_contact_sheet(path, out / "sheet.png", MorphableModel.load(), count=2)


# ---------------------------------------------------------------------------------------------- weights


def arrays_seed(folder: Path) -> list[Path]:
    """A plain file of arrays."""
    from personatalk.utils.serialization import save_arrays

    arrays = {"a": np.ones((3, 4), np.float32), "b": np.arange(5)}
    save_arrays(folder / "w.safetensors", arrays, kind="thing", version=1, config={"n": 3, "deep": {"m": [1, 2]}})
    return [folder / "w.safetensors"]


def generator_seed(folder: Path) -> list[Path]:
    """A small geometry generator."""
    from personatalk.stage1.network import GeometryGenerator

    backbone = {"kind": "whisper", "width": 8, "heads": 2, "layers": 1}
    GeometryGenerator(6, 3, backbone, dim=8, heads=2, layers=1, reach=2).save(folder / "stage1.safetensors")
    return [folder / "stage1.safetensors"]


def renderer_seed(folder: Path) -> list[Path]:
    """A small renderer."""
    from personatalk.stage2.renderer import Renderer

    Renderer(channels=16, width=16, size=32).save(folder / "stage2.safetensors")
    return [folder / "stage2.safetensors"]


def morphable_seed(folder: Path) -> list[Path]:
    """The morphable model of the package."""
    from personatalk.utils.serialization import packaged

    return [Path(shutil.copy(packaged("morphable.safetensors"), folder))]


def style_seed(folder: Path) -> list[Path]:
    """A small style encoder."""
    from personatalk.stage1.style_similarity import StyleSimilarityEncoder

    StyleSimilarityEncoder(6, 3, dim=8, layers=1, heads=2).save(folder / "style.safetensors")
    return [folder / "style.safetensors"]


def a_persona() -> Any:
    """A persona of one video of six frames, and its morphable model."""
    from personatalk.faces.analysis import Analysis, Shot, SkipReason
    from personatalk.geometry.morphable_model import MorphableModel
    from personatalk.pipeline.footage import Footage, reference_names
    from personatalk.pipeline.latent_cache import COLOUR_TABLE, GrowingTable, LatentCache, table_layout
    from personatalk.pipeline.persona import Persona
    from personatalk.pipeline.weights import model_fingerprint
    from personatalk.stage2.reference_cells import Reference

    model, count = MorphableModel.load(), 6
    series = {"time": np.arange(count) / 25, "duration": np.full(count, 0.04), "usable": np.arange(count) > 0}
    shots = [Shot(0, 4, np.ones(model.num_identity, np.float32)), Shot(4, 6, np.ones(model.num_identity, np.float32))]
    analysis = Analysis(
        info=None,  # type: ignore[arg-type]
        reason={0: SkipReason.NO_FACE},
        shots=shots,
        shot_of=np.array([0, 0, 0, 0, 1, 1]),
        beta=np.ones((count, model.num_expression), np.float32),
        pose=np.ones((count, 6), np.float32),
        occlusions={2: np.ones(4, np.uint8)},
        lips_hidden=np.zeros(count, np.float32),
        faces=np.ones(count, np.int64),
        light=np.ones((count, 3), np.float32),
        **series,
    )
    lips = {n: np.ones((4, width), np.float32) for n, width in Reference.table_widths(CHANNELS).items()}
    lips |= {n: np.array([2, 2]) for n in reference_names() if n.endswith("count")}
    tables = {name: GrowingTable(*kind) for name, kind in table_layout(CHANNELS).items()}
    for name, rows in (("keys", 8), ("places", 8), ("values", 8), (COLOUR_TABLE, 4)):
        tables[name].append(np.ones((rows, tables[name].shape[1]), np.float32))
    latents = LatentCache(np.array([0, 2, 2, 0, 2, 2]), dict(tables))
    footage = [Footage("a.mp4", "00", None, "{}", analysis.arrays(), 256, {0: lips}, latents=latents)]
    mouths = np.zeros((2, 96, 96, 3), np.uint8)
    return Persona(analysis.beta, shots[0].alpha, mouths, "x", model_fingerprint(model), footage), model


def persona_seed(folder: Path) -> list[Path]:
    """A small persona."""
    a_persona()[0].save(folder / "anna.persona")
    return [folder / "anna.persona"]


def load_persona(path: Path, out: Path) -> None:
    """All of a persona: what a dub takes of it, and what is shown."""
    from personatalk.geometry.morphable_model import MorphableModel
    from personatalk.pipeline.persona import Persona
    from personatalk.pipeline.persona_sheet import draw_persona

    model = MorphableModel.load()
    persona = Persona.load(path, model)
    for footage in persona.footage:
        analysis = footage.load_analysis(None, model)  # type: ignore[arg-type]
        latents = footage.load_latents(CHANNELS, CELLS)
        for frame in range(len(analysis)) if latents else ():
            latents.lookup(frame)
        footage.load_lips(CHANNELS, CELLS)
    assert draw_persona(persona, model).dtype == np.uint8


def cue_seed(folder: Path) -> list[Path]:
    """A cue file, and the sounds that it names."""
    for name in ("anna.wav", "ben.wav"):
        (folder / name).write_bytes(b"")
    lines = ["# who says what", "1", "00:00:01,000 --> 00:00:04,500", "face: left", "speech: anna.wav", ""]
    lines += ["2", "0:05.2 --> 0:06", "face: 0.3,0.5@2.5", "speech: ben.wav", "from: 00:00:03", ""]
    return written(folder, "cues.txt", "\n".join(lines))


def load_cues(path: Path, out: Path) -> None:
    """The cues."""
    from personatalk.pipeline.cues import read_cues

    read_cues(path)


def subtitle_seeds(folder: Path) -> list[Path]:
    """Subtitles of two speakers in two formats, and speech for each."""
    blocks = [f"{n}\n00:00:0{n},000 --> 00:00:0{n},800\n[{'Anna' if n % 2 else 'Ben'}] Words {n}\n" for n in (1, 2, 3)]
    vtt = "WEBVTT\n\nNOTE no words\n\n00:01.000 --> 00:01.800 align:start\n<v Anna>One\n\n"
    vtt += "00:02.000 --> 00:02.800\n<v.loud Ben>Two <i>three</i>\n"
    for number in (1, 2, 3):
        shutil.copy(sounds(folder)[0], folder / f"{number}.wav")
    return written(folder, "cues.srt", "\n".join(blocks)) + written(folder, "cues.vtt", vtt)


def load_subtitles(path: Path, out: Path) -> None:
    """Make cues of subtitles, and write them."""
    from personatalk.pipeline.cues import read_cues, write_cues
    from personatalk.pipeline.subtitle_cues import cues_of_subtitles, speech_in_folder

    made = cues_of_subtitles(path, speech_in_folder(path.parent), {"Anna": "left", "Ben": "right"})
    write_cues(out / "cues.txt", made.cues)
    assert [cue.face for cue in read_cues(out / "cues.txt")] == [cue.face for cue in made.cues]


def still_seeds(folder: Path) -> list[Path]:
    """Still images in the formats that people have."""
    from PIL import Image

    y, x = np.mgrid[0:40, 0:48]
    rgb = Image.fromarray(np.stack([x * 5, y * 6, x + y], -1).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 8
    found = []
    for kind in ("png", "jpg", "webp", "tiff", "bmp", "gif", "jp2", "avif", "tga", "pcx", "ico", "ppm"):
        options = {"exif": exif} if kind in ("jpg", "png", "webp", "tiff") else {}
        rgb.save(folder / f"a.{kind}", **options)
        found.append(folder / f"a.{kind}")
    for mode in ("RGBA", "LA", "P", "CMYK", "1"):
        kind = "tiff" if mode == "CMYK" else "png"
        rgb.convert(mode).save(folder / f"{mode}.{kind}")
        found.append(folder / f"{mode}.{kind}")
    Image.fromarray((x * 1000).astype(np.uint16)).save(folder / "deep.png")
    return [*found, folder / "deep.png"]


def load_still(path: Path, out: Path) -> None:
    """Make a video of a still image, and read it."""
    from personatalk.media.reader import VideoReader
    from personatalk.media.still import still_as_video

    with still_as_video(path) as still:
        if still is None:  # damaged beyond knowing
            load_frames(path, out)
            return
        with VideoReader(still.path) as reader:
            assert len([frame.rgb() for frame in reader.frames()]) == 1


def job_seeds(folder: Path) -> list[Path]:
    """Return the files of a job that was cut off: its key, and a segment."""
    import json

    from personatalk.media.segments import PACKET_HEADER

    notes = json.dumps([None, "no face"]).encode()
    packets = b"".join(PACKET_HEADER.pack(i, i, 1, 1, 4) + b"abcd" for i in range(2))
    (folder / "000000.packets").write_bytes(len(notes).to_bytes(8, "little") + notes + packets)
    (folder / "job.json").write_text(json.dumps({"key": "0" * 64, "output": "out.mp4"}))
    return [folder / "000000.packets", folder / "job.json"]


def load_job(path: Path, out: Path) -> None:
    """A job's folder with the damaged file in it: what cannot be read is done again."""
    import shutil

    from personatalk.media.segments import JobFolder, folder_of

    key: dict[str, Any] = {"kind": "fuzz"}
    with JobFolder(out / "seed.mp4", key) as job:
        own = (job.folder / "job.json").read_bytes()
    folder = folder_of(out / "out.mp4")
    folder.mkdir()
    (folder / "job.json").write_bytes(own)
    shutil.copy(path, folder / path.name)
    with JobFolder(out / "out.mp4", key) as job:
        number = 0
        while job.shown(number) is not None:
            _, packets = job.load(number)
            list(packets)
            number += 1


def load_arrays(path: Path, out: Path) -> None:
    """Any file of arrays."""
    from personatalk.utils.serialization import load_arrays

    load_arrays(path, kind="thing", version=1)


def load_generator(path: Path, out: Path) -> None:
    """Stage 1."""
    from personatalk.stage1.network import GeometryGenerator

    GeometryGenerator.load(path)


def load_renderer(path: Path, out: Path) -> None:
    """Stage 2."""
    from personatalk.stage2.renderer import Renderer

    Renderer.load(path)


def load_morphable(path: Path, out: Path) -> None:
    """The morphable model, and what is first done with it."""
    from personatalk.geometry.morphable_model import MorphableModel

    model = MorphableModel.load(path)
    vertices = model.vertices(np.zeros(model.num_identity, np.float32), np.zeros(model.num_expression, np.float32))
    model.mouth_opening(vertices)
    model.colours()
    vertices[model.keypoints]


def load_style(path: Path, out: Path) -> None:
    """The style encoder."""
    from personatalk.stage1.style_similarity import StyleSimilarityEncoder

    StyleSimilarityEncoder.load(path)


# ---------------------------------------------------------------------------------------------- tables


def written(folder: Path, name: str, text: str) -> list[Path]:
    """One seed of text."""
    (folder / name).write_text(text, encoding="utf8")
    return [folder / name]


def config_seed(folder: Path) -> list[Path]:
    """The default configurations."""
    from personatalk.training.config import CONFIGS, as_yaml

    return [path for name in ("stage1", "stage2") for path in written(folder, f"{name}.yaml", as_yaml(CONFIGS[name]()))]


def load_config(path: Path, out: Path) -> None:
    """A configuration of a training."""
    from personatalk.training.config import Stage1Config, Stage2Config
    from personatalk.training.config_files import read_config

    if path.stem == "stage1":
        read_config(Stage1Config, path)
    else:
        read_config(Stage2Config, path)


def pairs_seed(folder: Path) -> list[Path]:
    """A list of pairs; their videos need only be there."""
    for name in ("a.mp4", "b.mp4"):
        (folder / name).touch()
    return written(
        folder, "pairs.csv", "reference,generated,name,text,mismatched\na.mp4,b.mp4,x,Hello you,1\nb.mp4,a.mp4,,,\n"
    )


def load_pairs(path: Path, out: Path) -> None:
    """Pairs to evaluate."""
    from personatalk.evaluation.jobs import from_list

    from_list(path)


def speakers_seed(folder: Path) -> list[Path]:
    """Return a table of the speaker of each file."""
    return written(folder, "speakers.csv", "file,speaker\na.mp4,ann\nx/b.mp4,bob\n")


def load_speakers(path: Path, out: Path) -> None:
    """A speakers' table."""
    from personatalk.training.data.layouts import speaker_table

    speaker_table(path)


def study_seeds(folder: Path) -> list[Path]:
    """A study's key, and the answers of a rater."""
    import json

    shown = {f"00000{n}.mp4": {"system": s, "clip": "c"} for n, s in enumerate(("ours", "theirs"))}
    key = {"study": "abcd", "videos": shown, "systems": ["ours", "theirs"]}
    answers = {name: {"visual": 4, "sync": 3, "persona": 5} for name in shown}
    given = {"study": "abcd", "rater": "r1", "answers": answers}
    return [
        *written(folder, "key.json", json.dumps(key, indent=1)),
        *written(folder, "answers.json", json.dumps(given, indent=1)),
    ]


def load_study(path: Path, out: Path) -> None:
    """Scores of a study."""
    from personatalk.evaluation.study import opinion_table, score_study

    opinion_table(score_study(path.parent, [path.parent / "answers.json"]))


def dataset_seeds(folder: Path) -> list[Path]:
    """A data set of one clip."""
    from helpers.datasets import dataset, made_up

    from personatalk.geometry.morphable_model import MorphableModel

    dataset(folder, [made_up(MorphableModel.load(), frames=4)])
    return [folder / "manifest.json", folder / "shard-000000.json", folder / "shard-000000.tar"]


def load_dataset(path: Path, out: Path) -> None:
    """All of a data set."""
    from personatalk.training.data.shards import read_datasets

    for row in read_datasets([path.parent], ["train"]):
        clip = row.load()
        clip.beta_at_clock()
        if len(clip.crops):
            clip.crops[0]


def batch_seed(folder: Path) -> list[Path]:
    """A list of jobs."""
    lines = ["video,speech,output,length,crf,codec,preset,report", "a.mp4,s.wav,x.mp4,shortest,20,libx264,fast,r.json"]
    return written(folder, "jobs.csv", "\n".join([*lines, 'b.mp4,"s,2.wav",y.mp4,,,,,', ""]))


def load_batch(path: Path, out: Path) -> None:
    """A batch whose jobs do nothing."""
    from personatalk.pipeline.batch import run_batch, run_job
    from personatalk.pipeline.batch_list import check_jobs, read_jobs

    jobs = read_jobs(path)
    check_jobs(path, jobs, out / "status.csv")
    run_batch(
        jobs,
        out / "status.csv",
        run=lambda job: None,
        executor=lambda work, left: (work(job) for job in left),
    )
    assert run_job(lambda job: None, jobs[0]).exit_code == 0


def status_seed(folder: Path) -> list[Path]:
    """The table of a batch."""
    from personatalk.pipeline.batch_status import JobStatus, write_status

    rows = [
        JobStatus("/x/a.mp4", 2, "done", 1, 0, 3.5, "", "here/1", "abcd"),
        JobStatus("/x/b.mp4", 3, "failed", 2, 1, 0.1, "no, it is"),
    ]
    write_status(folder / "status.csv", rows)
    return [folder / "status.csv"]


def load_status(path: Path, out: Path) -> None:
    """The table of a batch, and what it says of jobs."""
    from personatalk.pipeline.batch_list import BatchJob
    from personatalk.pipeline.batch_status import plan_jobs, read_status, write_status

    write_status(out / "status.csv", plan_jobs([BatchJob(2, path, path, Path("/x/a.mp4"))], read_status(path)).values())


def outputs_seed(folder: Path) -> list[Path]:
    """A number; what is damaged of it makes another case."""
    return written(folder, "case.txt", "case 5 of containers and codecs")


def load_outputs(path: Path, out: Path) -> None:
    """An output of any container, codecs and quality; see `outputs.py`."""
    from outputs import write_at_random

    write_at_random(path, out)


def requests_seed(folder: Path) -> list[Path]:
    """A number, as for outputs."""
    return written(folder, "case.txt", "case 7 of requests")


def load_requests(path: Path, out: Path) -> None:
    """A request to a service; see `request_cases.py`."""
    import request_cases

    request_cases.load(path, out)


TARGETS = [
    Target("frames", videos, load_frames),
    Target("speech", all_media, load_speech),
    Target("channel layouts", channel_layouts, load_channels),
    Target("audio time stamps", audio_time_stamps, load_channels),
    Target("front", videos, load_front),
    Target("inspect", videos, load_sheet),
    Target("arrays", arrays_seed, load_arrays),
    Target("stage1", generator_seed, load_generator),
    Target("stage2", renderer_seed, load_renderer),
    Target("morphable", morphable_seed, load_morphable),
    Target("style", style_seed, load_style),
    Target("config", config_seed, load_config),
    Target("pairs", pairs_seed, load_pairs),
    Target("speakers", speakers_seed, load_speakers),
    Target("study", study_seeds, load_study),
    Target("dataset", dataset_seeds, load_dataset),
    Target("batch", batch_seed, load_batch),
    Target("status", status_seed, load_status),
    Target("persona", persona_seed, load_persona),
    Target("cue", cue_seed, load_cues),
    Target("subtitles", subtitle_seeds, load_subtitles),
    Target("still", still_seeds, load_still),
    Target("job", job_seeds, load_job),
    Target("containers and codecs", outputs_seed, load_outputs, seconds=30.0),
    Target("clock", media_kinds.clock_seeds, media_kinds.load_clock, change=media_kinds.restamped),
    Target("orientation", media_kinds.oriented_seeds, media_kinds.load_oriented, change=media_kinds.reoriented),
    Target("combination", media_kinds.combination_seed, media_kinds.load_combination, change=media_kinds.combined),
    Target("transitions", transition_seed, load_transition, seconds=30.0, change=another_transition),
    # Last: its service makes the process refuse playlists.
    Target("requests", requests_seed, load_requests, seconds=60.0),
]
"""What is fuzzed."""


# ---------------------------------------------------------------------------------------------- one case


def judge(target: Target, path: Path, out: Path, root: Path, seconds: float) -> str:
    """Read a damaged file: "accepted", "refused", or what is wrong."""
    from personatalk.errors import PersonaTalkError

    start = time.process_time()
    before, peak = listing(root, out), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        target.load(path, out)
        verdict = "accepted"
    except PersonaTalkError as error:
        verdict = "refused"
        names = [str(path.parent), path.name, *(p.name for p in path.parent.iterdir())]
        if not any(name in str(error) for name in names):
            verdict = f"the message names no file: {str(error)[:200]}"
        elif "\n" in str(error) or len(str(error)) > 20000:
            verdict = f"the message is not one line: {str(error)[:200]!r}"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)
        ours = [f"{Path(f.filename).name}:{f.lineno}" for f in where if "personatalk" in f.filename]
        verdict = f"{type(error).__name__} at {' < '.join(ours[::-1][:3])}: {' '.join(str(error).split())[:200]}"
    if (taken := time.process_time() - start) > seconds:
        verdict = f"takes {taken:.0f} s ({verdict})"
    if (changed := listing(root, out) ^ before) != set():
        verdict = f"changed outside its folder: {sorted(changed)[:3]}"
    if 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) > GROWTH:
        verdict = f"memory grew beyond measure ({verdict})"
    return verdict


def listing(root: Path, out: Path) -> set[tuple[str, int, int]]:
    """Every file under the root but not in the output folder: name, size and time."""
    found = set()
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if os.path.join(folder, name) != str(out)]  # noqa: PTH118
        for name in [*names, *folders]:
            path = Path(folder, name)
            with contextlib.suppress(OSError):
                stat = path.lstat()
                found.add((str(path), 0 if path.is_dir() else stat.st_size, 0 if path.is_dir() else stat.st_mtime_ns))
    return found


# ---------------------------------------------------------------------------------------------- the process


def serve(pipe: Any, root: Path, memory: int) -> None:
    """The process that reads the cases: (target, file, output folder, seconds, patience) in, verdicts out."""
    from personatalk.utils.threads import limit_cores

    limit_cores(1)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    log = (root / "out" / "stacks.txt").open("w")
    os.chdir(root / "cwd")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    faulthandler.enable(log)
    while True:
        try:
            target, path, out, seconds, patience = pipe.recv()
        except EOFError:
            return
        faulthandler.dump_traceback_later(patience * seconds, file=log)
        verdict = judge(target, path, out, root, seconds)
        faulthandler.cancel_dump_traceback_later()
        pipe.send(verdict)


class Reader:
    """The process that reads the cases, replaced when it crashes or hangs."""

    def __init__(self, root: Path, memory: int = MEMORY) -> None:
        self.root, self.memory, self.patience = root, memory, PATIENCE
        self.process: Any = None

    def judge(self, target: Target, path: Path, out: Path, first: bool) -> str:
        """The verdict on a case; the first of a target, and of a process, pays for imports."""
        seconds = target.seconds + (120 if first or self.process is None else 0)
        if self.process is None:
            (self.root / "out" / "stacks.txt").touch()
            context = multiprocessing.get_context("spawn")
            self.pipe, theirs = context.Pipe()
            self.process = context.Process(target=serve, args=(theirs, self.root, self.memory), daemon=True)
            self.process.start()
            theirs.close()
        self.pipe.send((target, path, out, seconds, self.patience))
        if not self.pipe.poll(self.patience * seconds + 1):  # by then the stack is written
            stacks = (self.root / "out" / "stacks.txt").read_text()
            self.end()
            return "hangs: " + " < ".join(line.strip() for line in stacks.splitlines() if "personatalk" in line)[:300]
        try:
            return str(self.pipe.recv())
        except (EOFError, ConnectionResetError):
            self.process.join()
            code = self.process.exitcode
            self.end()
            return f"crashes: {signal.Signals(-code).name if code and code < 0 else code}"

    def end(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
            self.process = None


@contextlib.contextmanager
def workshop() -> Iterator[tuple[Path, Reader]]:
    """A folder and the process that reads in it."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for part in ("seeds", "case", "out", "cwd"):
            (root / part).mkdir()
        reader = Reader(root)
        try:
            yield root, reader
        finally:
            reader.end()


def fuzz(target: Target, cases: int, seed: int, root: Path, reader: Reader, keep: Path | None = None) -> Score:
    """Read so many damaged files of a target."""
    seeds = root / "seeds" / target.name
    seeds.mkdir()
    files, score = target.seeds(seeds), Score()
    whole = {path: path.read_bytes() for path in files}
    for number in range(cases):
        random = Random(f"{target.name} {seed} {number}")
        chosen = files[number % len(files)]
        data = target.change(whole[chosen], chosen.name, random) if number >= len(files) else whole[chosen]
        folder, out = root / "case" / "files", root / "out" / "case"
        for old in (folder, out):
            shutil.rmtree(old, ignore_errors=True)
            old.mkdir()
        for beside in seeds.iterdir():
            if beside != chosen:
                (folder / beside.name).symlink_to(beside)
        (folder / chosen.name).write_bytes(data)
        verdict = reader.judge(target, folder / chosen.name, out, number < len(files))
        score.cases += 1
        score.accepted += verdict == "accepted"
        score.refused += verdict == "refused"
        if number < len(files) and verdict != "accepted":
            verdict = f"the seed itself is not read: {verdict}"
        if verdict not in ("accepted", "refused"):
            score.defects.append(f"case {number} ({chosen.name}): {verdict}")
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{target.name}-{seed}-{number}-{chosen.name}").write_bytes(data)
    return score


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000, help="of each target (default: 2000)")
    parser.add_argument("--only", nargs="+", choices=[target.name for target in TARGETS], help="these targets alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the files of defects here")
    given = parser.parse_args()
    total = 0
    print("| target | cases | accepted | refused | defects |\n|---|---|---|---|---|", flush=True)
    with workshop() as (root, reader):
        for target in TARGETS:
            if given.only is None or target.name in given.only:
                score = fuzz(target, given.cases, given.seed, root, reader, given.keep)
                total += len(score.defects)
                cells = [target.name, score.cases, score.accepted, score.refused, len(score.defects)]
                print("| " + " | ".join(map(str, cells)) + " |", flush=True)
                for defect in score.defects:
                    print(f"  {defect}", file=sys.stderr, flush=True)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
