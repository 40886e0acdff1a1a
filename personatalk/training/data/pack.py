"""Packs data sets for stage 2 into a small one: the clips in which the mouth moves most, with their crops as video.

A pack travels to a machine with a GPU where whole data sets are too large. It holds no audio.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import MediaError
from ...geometry.camera import CROP_SIZE
from ...geometry.morphable_model import MorphableModel
from . import shards
from .crops import VideoCrops
from .shards import Clip, IndexEntry

# Frames of the shortest stretch of a clip that is packed: windows are sampled from less only with repetitions.
MIN_FRAMES = 40


def pack(
    entries: list[IndexEntry], output: Path, frames: int, held_out_frames: int, model: MorphableModel
) -> dict[str, Any]:
    """Write a pack.

    Args:
        entries: Clips of all splits.
        output: Folder of the pack; made if needed.
        frames: Frames at most of the split "train".
        held_out_frames: The same of all other splits together.
        model: The morphable model that the clips' coefficients belong to.

    Returns:
        The manifest, as it was written.

    Raises:
        MediaError: The folder holds a data set, or cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"{output}: cannot be written ({error.strerror}); choose another folder") from error
    if (output / "manifest.json").exists():
        raise MediaError(f"{output}: holds a data set; choose another folder")
    train = [entry for entry in entries if entry.split == "train"]
    others = [entry for entry in entries if entry.split != "train"]
    chosen = {**_choose(train, frames, model), **_choose(others, held_out_frames, model)}
    shard = output / "shard-000000.tar"
    index = shards.write_shard(shard, _packed(entries, chosen))
    manifest = {
        "version": shards.FORMAT_VERSION,
        "crop": CROP_SIZE,
        "shards": [shard.name],
        "clips": len(index),
        "speakers": len({entry.speaker for entry in index}),
        "frames": {split: sum(e.frames for e in index if e.split == split) for split in {e.split for e in index}},
        "splits": dict(Counter(entry.split for entry in index)),
    }
    shards.write_json(output / "manifest.json", manifest)
    return manifest


def _choose(entries: list[IndexEntry], frames: int, model: MorphableModel) -> dict[str, int]:
    """Return by key how many frames of which clips are taken: as evenly over speakers as there are frames."""
    entries = [entry for entry in entries if entry.frames >= MIN_FRAMES]
    total: Counter[str] = Counter()
    for entry in entries:
        total[entry.speaker] += entry.frames
    most = max(total.values(), default=0)
    while most > MIN_FRAMES and sum(min(count, most) for count in total.values()) > frames:
        most -= 1
    left = dict.fromkeys(total, most)
    chosen: dict[str, int] = {}
    for entry in sorted(entries, key=lambda entry: -_movement(entry.load(crops=False), model)):
        count = min(entry.frames, left[entry.speaker])
        if count >= MIN_FRAMES:
            chosen[entry.key] = count
            left[entry.speaker] -= count
    return chosen


def _movement(clip: Clip, model: MorphableModel) -> float:
    """Return the spread of the mouth's opening."""
    return float(np.std(model.mouth_opening(model.vertices(clip.alpha, clip.beta))))


def _packed(entries: list[IndexEntry], chosen: dict[str, int]) -> Iterator[Clip]:
    """Yield the chosen clips, shortened and without audio."""
    for entry in entries:
        if entry.key in chosen:
            clip, count = entry.load(), chosen[entry.key]
            crops = VideoCrops.encode(clip.crops[i] for i in range(count))
            yield replace(
                clip,
                beta=clip.beta[:count],
                pose=clip.pose[:count],
                time=clip.time[:count],
                audio=clip.audio[:0],
                crops=crops,
            )
