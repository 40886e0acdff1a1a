"""The data set that is being written."""

from __future__ import annotations

from pathlib import Path

import pytest
import webdataset
from helpers.datasets import KEEP_ALL, made_up

from personatalk.errors import MediaError
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.training.data.dataset import DatasetWriter
from personatalk.training.data.layouts import VideoSource
from personatalk.training.data.outcomes import PrepareOutcome, RejectReason, crash_outcome, source_stamp
from personatalk.training.data.shards import read_dataset


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MediaError, match="cannot be written"):
        DatasetWriter(tmp_path / "file" / "data", KEEP_ALL)


def test_a_writer_goes_on_from_its_journal(tmp_path: Path, model: MorphableModel) -> None:
    sources = [VideoSource(f"s{n}", tmp_path / f"{n}.mp4", "x") for n in range(3)]
    first = DatasetWriter(tmp_path / "data", KEEP_ALL)
    clip = made_up(model, "s0-000000", crops=1)
    with webdataset.TarWriter(str(first.parts / "s0.tar")) as writer:
        writer.write({"__key__": clip.key, **clip.members()})
    first.add(PrepareOutcome("s0", [clip.key], stamp=source_stamp(sources[0])))
    first.add(crash_outcome(sources[1]))
    second = DatasetWriter(tmp_path / "data", KEEP_ALL)
    assert second.remaining(sources) == sources[2:]
    manifest = second.finish()
    assert (manifest["videos"], manifest["clips"]) == (2, 1)
    assert manifest["rejected"] == {RejectReason.CRASHED.value: 1}
    assert [entry.key for entry in read_dataset(tmp_path / "data")] == [clip.key]
    assert not list(second.parts.iterdir())
