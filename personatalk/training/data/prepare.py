"""Prepares raw video for training: `personatalk data prepare SOURCE... -o DATASET`.

For every video: scene cuts, the main face of every shot, hybrid geometry (paper, section 3.1), the offset between
audio and video, then stretches of at most ten seconds at 25 frames a second with face crops, audio and a check of
quality. What is left out is counted with its reason.

Each video becomes one part file, written at once or not at all; parts are packed into shards in the order of the
sources. After a kill the same command goes on where it stood: a video is done when the journal names it.
"""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import webdataset

from ...errors import FaceError, MediaError
from .clips import extract_clips, load_models
from .dataset import DatasetWriter
from .layouts import VideoSource
from .options import PrepareOptions
from .outcomes import PrepareOutcome, RejectReason, source_stamp

# Runs a function over sources and yields its results in their order; see `utils.processes`.
Executor = Callable[[Callable[[VideoSource], PrepareOutcome], Iterable[VideoSource]], Iterator[PrepareOutcome]]


def prepare_video(source: VideoSource, parts: Path, options: PrepareOptions) -> PrepareOutcome:
    """Prepare one video in a worker: write `parts`/KEY.tar if any clip of it is kept."""
    outcome = PrepareOutcome(source.key, stamp=source_stamp(source))
    if not os.access(source.video, os.R_OK):
        outcome.again = True
        outcome.reject(RejectReason.MISSING, str(source.video))
        return outcome
    part = parts / f"{source.key}.tar"
    # The file is of this process alone: a worker whose master was killed may still be at the same video.
    draft = part.with_suffix(f".{os.getpid()}.part")
    with webdataset.TarWriter(str(draft), mtime=0) as writer:
        try:
            for clip in extract_clips(source, options, outcome):
                writer.write({"__key__": clip.key, **clip.members()})
                outcome.clips.append(clip.key)
        except FaceError as error:
            outcome.reject(RejectReason.NO_FACE, str(error))
        except MediaError as error:
            outcome.reject(RejectReason.UNREADABLE, str(error))
    # No clip of a damaged file is kept: its timestamps cannot be trusted.
    if RejectReason.UNREADABLE.value in outcome.rejected:
        outcome.clips = []
    if outcome.clips:
        draft.replace(part)
    else:
        draft.unlink()
    return outcome


def prepare(
    sources: list[VideoSource],
    folder: Path,
    options: PrepareOptions,
    executor: Executor,
    on_outcome: Callable[[PrepareOutcome], None] = lambda outcome: None,
    shard_bytes: int = 256 << 20,
) -> dict[str, Any]:
    """Prepare videos into a data set, or go on with one.

    Args:
        sources: The videos; those that the data set has already are skipped.
        folder: The data set.
        options: The criteria by which clips are kept.
        executor: Runs the workers.
        on_outcome: Called with each outcome as it comes.
        shard_bytes: Size of a shard.

    Returns:
        The manifest.

    Raises:
        PersonaTalkError: A model is missing, or the folder cannot be written.
    """
    if len({s.key for s in sources}) < len(sources):
        duplicate = next(key for key, n in Counter(s.key for s in sources).items() if n > 1)
        raise MediaError(
            f"two sources have the same name in the data set, {duplicate}; prepare them into two data sets"
        )
    dataset = DatasetWriter(folder.resolve(), options, shard_bytes)
    # A model that is missing ends the run here, instead of every video.
    load_models(options)
    work = functools.partial(prepare_video, parts=dataset.parts, options=options)
    for outcome in executor(work, dataset.remaining(sources)):
        dataset.add(outcome)
        on_outcome(outcome)
    return dataset.finish()
