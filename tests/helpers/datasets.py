"""Made-up data sets for training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from personatalk.geometry.morphable_model import MorphableModel
from personatalk.training.data.crops import JpegCrops
from personatalk.training.data.layouts import VideoSource
from personatalk.training.data.options import PrepareOptions
from personatalk.training.data.outcomes import PrepareOutcome
from personatalk.training.data.prepare import prepare
from personatalk.training.data.shards import FORMAT_VERSION, Clip, write_json, write_shard

# Criteria that every clip of a face meets.
KEEP_ALL = PrepareOptions(min_sync=0, min_speech=0)


def one_by_one(
    work: Callable[[VideoSource], PrepareOutcome], sources: Iterable[VideoSource]
) -> Iterator[PrepareOutcome]:
    """Run workers in this process."""
    return map(work, sources)


def prepared(folder: Path, sources: list[VideoSource], options: PrepareOptions = KEEP_ALL) -> Path:
    """Prepare videos into a data set."""
    prepare(sources, folder, options, one_by_one)
    return folder


def made_up(
    model: MorphableModel,
    key: str = "a-000000",
    frames: int = 30,
    rate: float = 25.0,
    start: float = 0.0,
    split: str = "train",
    audio: bool = True,
    crops: int | None = None,
    speaker: str = "",
) -> Clip:
    """A clip whose first coefficient is its time in seconds; crop i has the grey level 4 i."""
    random = np.random.default_rng(0)
    time = start + np.arange(frames) / rate
    beta = random.standard_normal((frames, model.num_expression)).astype(np.float32)
    beta[:, 0] = time
    seconds = frames / rate
    samples = (3000 * random.standard_normal(round(16000 * seconds))).astype(np.int16)
    pictures = [np.full((256, 256, 3), 4 * i, np.uint8) for i in range(frames if crops is None else crops)]
    return Clip(
        key=key,
        speaker=speaker or key,
        split=split,
        alpha=random.standard_normal(model.num_identity).astype(np.float32),
        beta=beta,
        pose=np.repeat(np.array([[0, 0, 0, np.log(100), 300, 200]], np.float32), frames, axis=0),
        time=time,
        audio=samples if audio else np.zeros(0, np.int16),
        crops=JpegCrops.encode(pictures),
        about={"source": key},
    )


def dataset(folder: Path, clips: list[Clip]) -> Path:
    """A data set of one shard."""
    write_shard(folder / "shard-000000.tar", clips)
    write_json(folder / "manifest.json", {"version": FORMAT_VERSION, "shards": ["shard-000000.tar"]})
    return folder
