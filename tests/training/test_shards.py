"""The data set on disk."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import webdataset
from helpers.datasets import dataset, made_up
from helpers.synthetic import smooth_picture

from personatalk.audio.rates import FPS
from personatalk.errors import MediaError
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.training.data.shards import (
    FORMAT_VERSION,
    JpegCrops,
    evenly_spaced,
    read_dataset,
    read_datasets,
    read_index,
    write_json,
    write_shard,
)


def test_a_clip_comes_back_as_it_was(tmp_path: Path, model: MorphableModel) -> None:
    clips = [made_up(model, "a-000000", frames=9), made_up(model, "b+c-000001", audio=False, split="val", speaker="x")]
    rows = read_dataset(dataset(tmp_path, clips))
    for row, clip in zip(rows, clips, strict=True):
        assert (row.key, row.speaker, row.split, row.frames, row.has_audio) == (
            *(clip.key, clip.speaker, clip.split, len(clip.time)),
            len(clip.audio) > 0,
        )
        got = row.load()
        for name in ("alpha", "beta", "pose", "time", "audio"):
            np.testing.assert_array_equal(getattr(got, name), getattr(clip, name))
        assert got.about["source"] == clip.key
        assert len(got.crops) == len(clip.crops)
    assert not list(tmp_path.glob("*.part"))


def test_any_webdataset_reader_can_stream_the_shards(tmp_path: Path, model: MorphableModel) -> None:
    dataset(tmp_path, [made_up(model, "a-000000"), made_up(model, "b-000000")])
    samples = list(webdataset.WebDataset(str(tmp_path / "shard-000000.tar"), shardshuffle=False))
    assert [s["__key__"] for s in samples] == ["a-000000", "b-000000"]
    assert json.loads(samples[0]["json"])["speaker"] == "a-000000"
    with np.load(io.BytesIO(samples[1]["npz"])) as file:
        assert file["beta"].shape == (30, model.num_expression)
    assert samples[0]["wav"][:4] == b"RIFF"


def test_crops_can_be_left_out(tmp_path: Path, model: MorphableModel) -> None:
    (row,) = read_dataset(dataset(tmp_path, [made_up(model)]))
    clip = row.load(crops=False)
    assert len(clip.crops) == 0 and len(clip.beta) == row.frames


def test_few_samples_are_spread_over_all(tmp_path: Path, model: MorphableModel) -> None:
    rows = read_dataset(dataset(tmp_path, [made_up(model, f"a-{n:06d}", frames=2) for n in range(9)]))
    assert [r.key[-1] for r in evenly_spaced(rows, 3)] == ["0", "4", "8"]
    assert evenly_spaced(rows, 20) == rows


def test_crops_are_decoded_one_at_a_time(model: MorphableModel) -> None:
    pictures = [smooth_picture(256, 256, 6, seed) for seed in range(4)]
    crops = JpegCrops.encode(iter(pictures))
    assert len(crops) == 4
    for i, picture in enumerate(pictures):
        error = np.abs(crops[i].astype(float) - picture)
        assert error.mean() < 1.5
        np.testing.assert_array_equal(crops[i - 4], crops[i])
    assert len(crops[1:3]) == 2
    with pytest.raises(IndexError):
        crops[4]
    assert len(JpegCrops.encode([])) == 0


def test_samples_are_chosen_by_split_and_sound(tmp_path: Path, model: MorphableModel) -> None:
    clips = [made_up(model, f"{s}-{n:06d}", split=s, audio=n > 0) for s in ("train", "val") for n in range(3)]
    dataset(tmp_path, clips)
    assert len(read_dataset(tmp_path)) == 6
    assert [r.key for r in read_datasets([tmp_path], ["val"], with_audio=True)] == ["val-000001", "val-000002"]
    assert len(read_datasets([tmp_path, tmp_path], ["val", "train"])) == 12
    with pytest.raises(MediaError, match="of the split test"):
        read_datasets([tmp_path], ["test"])


def test_what_is_no_data_set_is_refused(tmp_path: Path, model: MorphableModel) -> None:
    with pytest.raises(MediaError, match="personatalk data prepare"):
        read_dataset(tmp_path)
    dataset(tmp_path, [made_up(model)])
    write_json(tmp_path / "manifest.json", {"version": FORMAT_VERSION + 1, "shards": []})
    with pytest.raises(MediaError, match="version"):
        read_dataset(tmp_path)


def test_a_shard_that_was_not_finished_does_not_count(tmp_path: Path, model: MorphableModel) -> None:
    def broken() -> object:
        yield made_up(model)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path / "shard-000000.tar", broken())  # type: ignore[arg-type]
    assert not (tmp_path / "shard-000000.json").exists()
    write_shard(tmp_path / "shard-000000.tar", [made_up(model, "b-000000")])
    assert [r.key for r in read_index(tmp_path / "shard-000000.tar")] == ["b-000000"]


@pytest.mark.parametrize("rate", [25.0, 30.0, 23.976, 50.0])
@pytest.mark.parametrize("start", [0.0, 0.05])
def test_expression_comes_at_the_models_clock(model: MorphableModel, rate: float, start: float) -> None:
    clip = made_up(model, frames=61, rate=rate, start=start, crops=1)
    first, beta = clip.beta_at_clock()
    assert first == (0 if start == 0 else 2)
    wanted = (first + np.arange(len(beta))) / FPS
    np.testing.assert_allclose(beta[:, 0], wanted, atol=1e-5)
    end = start + 60 / rate
    assert wanted[-1] <= end + 1e-6
    assert end - wanted[-1] < 1 / FPS
    assert beta.dtype == np.float32
    if rate == 25.0 and start == 0:
        np.testing.assert_allclose(beta, clip.beta, atol=1e-5)
