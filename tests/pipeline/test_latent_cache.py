"""Texture latents that a persona keeps, and the tables that hold them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.sample_clips import decoded, sample_frames, sample_speech, write_video

import personatalk
from personatalk import DubOptions, Models
from personatalk.cli import main
from personatalk.errors import MediaError, WeightsError
from personatalk.media.reader import VideoReader
from personatalk.pipeline import persona
from personatalk.pipeline.latent_cache import COLOURS, TABLES, GrowingTable, LatentCache
from personatalk.pipeline.persona import Persona, analysis_of
from personatalk.stage2.compositing import coarse_colours
from personatalk.stage2.face_crops import FaceCropper
from personatalk.utils import serialization
from personatalk.utils.serialization import LazyTensor, save_arrays

COUNT = 8


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames with a face, three without."""
    frames = sample_frames(COUNT)
    frames[5:] = [np.zeros_like(frames[0])] * 3
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Path:
    path = tmp_path_factory.mktemp("persona") / "anna.persona"
    assert main.main(["persona", "make", str(clip), "-o", str(path), "--quiet"]) == 0
    assert [p.name for p in path.parent.iterdir()] == ["anna.persona"], "nothing else is left"
    return path


@pytest.fixture
def known(models: Models, kept: Path) -> Iterator[tuple[Persona, LatentCache]]:
    loaded = Persona.load(kept, models.morphable)
    textures = loaded.textures(loaded.footage[0], models)
    assert textures is not None
    yield loaded, textures


def test_frames_come_back_as_they_would_be_encoded(
    models: Models, clip: Path, known: tuple[Persona, LatentCache]
) -> None:
    loaded, textures = known
    with VideoReader(clip) as reader:
        analysis = analysis_of(loaded.footage[0], reader.info, models.morphable)
        crops = FaceCropper(models.morphable, analysis, models.stage2.size)
        for index, crop in crops.fetch(reader, np.arange(5)):
            found = textures.lookup(index)
            assert found is not None
            fresh = crops.encode(models.renderer, index, crop)
            torch.testing.assert_close(found[0].face_keys.pack(), fresh.face_keys.pack(), rtol=0, atol=0)
            torch.testing.assert_close(found[0].face_values, fresh.face_values, rtol=0, atol=0)
            np.testing.assert_array_equal(found[1], coarse_colours(crop))
    assert [textures.lookup(i) for i in (5, 6, 7)] == [None] * 3


def test_a_dub_takes_them(
    tmp_path: Path, models: Models, clip: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speech = sample_speech(tmp_path, COUNT)
    personatalk.dub(clip, speech, tmp_path / "without.mp4", models=models)
    monkeypatch.setattr(FaceCropper, "encode", None)
    report = personatalk.dub(clip, speech, tmp_path / "with.mp4", models=models, options=DubOptions(persona=kept))
    assert report.dubbed == 5
    for a, b in zip(decoded(tmp_path / "without.mp4"), decoded(tmp_path / "with.mp4"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_there_is_only_so_much_room(tmp_path: Path, models: Models, clip: Path, kept: Path) -> None:
    bytes_of_one = sum(t.shape[0] * t.shape[1] * t.dtype.itemsize for t in _tables(kept).values()) / 5
    some = persona.make_persona([clip], models, textures=2.5 * bytes_of_one).footage[0].textures
    assert some is not None and np.flatnonzero(some.cells).tolist() == [0, 1]
    assert persona.make_persona([clip], models, textures=0).footage[0].textures is None
    path = tmp_path / "small.persona"
    assert main.main(["persona", "make", str(clip), "-o", str(path), "--quiet", "--latent-cache", "0"]) == 0
    assert path.stat().st_size < 0.9 * kept.stat().st_size
    outputs = [tmp_path / f"{name}.mp4" for name in ("small", "kept")]
    speech = sample_speech(tmp_path, COUNT)
    for persona_file, output in zip((path, kept), outputs, strict=True):
        personatalk.dub(clip, speech, output, models=models, options=DubOptions(persona=persona_file))
    for a, b in zip(*map(decoded, outputs), strict=True):
        np.testing.assert_array_equal(a, b)


def _tables(path: Path) -> dict[str, LazyTensor]:
    return {name: LazyTensor(path, f"0.textures.{name}") for name in (*TABLES, COLOURS)}


def test_they_are_saved_again(tmp_path: Path, known: tuple[Persona, LatentCache], kept: Path) -> None:
    known[0].save(tmp_path / "copy.persona")
    copies = _tables(tmp_path / "copy.persona")
    for name, table in _tables(kept).items():
        np.testing.assert_array_equal(copies[name].rows(0, table.shape[0]), table.rows(0, table.shape[0]))


def test_those_of_another_renderer_are_not_taken(models: Models, known: tuple[Persona, LatentCache]) -> None:
    loaded, textures = known
    footage = loaded.footage[0]
    assert replace(loaded, made_by="another").textures(footage, models) is None
    for broken in (
        replace(textures, cells=textures.cells[:-1]),
        replace(textures, cells=-textures.cells),
        replace(textures, cells=textures.cells + 1),
        replace(textures, cells=np.array([int(textures.cells.sum()), 0, 0, 0, 0, 0, 0, 0])),
        replace(textures, cells=np.array([2**62] * 4 + textures.cells[4:].tolist())),
        replace(textures, tables={**textures.tables, "keys": textures.tables["places"]}),
        replace(textures, tables={**textures.tables, COLOURS: textures.tables["places"]}),
        replace(textures, tables={name: textures.tables[name] for name in TABLES}),
    ):
        with pytest.raises(WeightsError, match=r"anna\.persona: the textures of clip\.mp4 are damaged"):
            loaded.textures(replace(footage, textures=broken), models)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 3e7])
def test_damaged_numbers_are_encoded_anew(known: tuple[Persona, LatentCache], wrong: float) -> None:
    _, textures = known
    places = GrowingTable(np.dtype(np.float32), 10)
    rows = textures.tables["places"].rows(0, textures.tables["places"].shape[0])
    rows[int(textures.cells[0])] = wrong
    places.append(rows)
    damaged = replace(textures, tables={**textures.tables, "places": places})
    assert damaged.lookup(1) is None and damaged.lookup(0) is not None and damaged.lookup(2) is not None


def test_two_videos_of_one_speaker(tmp_path: Path, models: Models, clip: Path) -> None:
    other = write_video(tmp_path / "other.mp4", [f[:, ::-1].copy() for f in sample_frames(4)])
    persona.make_persona([clip, other], models, folder=tmp_path).save(tmp_path / "anna.persona")
    loaded = Persona.load(tmp_path / "anna.persona", models.morphable)
    for number, (video, count) in enumerate(((clip, 5), (other, 4))):
        footage = loaded.find(video)
        assert footage is loaded.footage[number]
        textures = loaded.textures(footage, models)
        assert textures is not None and np.count_nonzero(textures.cells) == count
        assert all(textures.lookup(i) for i in range(count))


def test_room_is_a_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("nan", "-1", "inf", "much"):
        with pytest.raises(SystemExit):
            main.main(["persona", "make", "x.mp4", "-o", str(tmp_path / "x.persona"), "--latent-cache", words])
        assert "--latent-cache" in capsys.readouterr().err


def test_a_full_disk_is_said(models: Models, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: GrowingTable, rows: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(GrowingTable, "append", full)
    with pytest.raises(MediaError, match="no room for texture latents"):
        persona.make_persona([clip], models)


def test_nothing_is_left_of_a_save_that_failed(tmp_path: Path, known: tuple[Persona, LatentCache]) -> None:
    class Broken(GrowingTable):
        def rows(self, start: int, stop: int) -> np.ndarray:
            raise OSError(28, "No space left on device")

    loaded, textures = known
    table = Broken(np.dtype(np.float16), 64)
    table.shape = textures.tables["keys"].shape
    broken = replace(textures, tables={**textures.tables, "keys": table})
    (tmp_path / "anna.persona").write_bytes(b"the user's")
    with pytest.raises(MediaError, match="No space left"):
        replace(loaded, footage=[replace(loaded.footage[0], textures=broken)]).save(tmp_path / "anna.persona")
    assert [p.name for p in tmp_path.iterdir()] == ["anna.persona"]
    assert (tmp_path / "anna.persona").read_bytes() == b"the user's"


def test_tables_are_copied_piece_by_piece(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays = {"a": random.random((3, 2)), "b": np.arange(5)}
    table, wanted = GrowingTable(np.dtype(np.float16), 6), random.random((50, 6)).astype(np.float16)
    for start in range(0, 50, 20):
        table.append(wanted[start : start + 20])
    tables = {"big.table": table}
    save_arrays(tmp_path / "x", arrays, kind="k", version=1, config={}, half=False, tables=tables, block_rows=7)
    kept = LazyTensor(tmp_path / "x", "big.table")
    assert kept.shape == (50, 6) and kept.dtype == np.float16
    np.testing.assert_array_equal(kept.rows(11, 43), wanted[11:43])
    found, _ = serialization.load_arrays(tmp_path / "x", kind="k", version=1, tables=".table")
    assert set(found) == {"a", "b"}
    np.testing.assert_array_equal(found["a"], arrays["a"])
    everything, _ = serialization.load_arrays(tmp_path / "x", kind="k", version=1)
    np.testing.assert_array_equal(everything["big.table"], wanted)
    for path, name in ((tmp_path / "x", "none"), (tmp_path / "y", "big.table"), (Path(__file__), "big.table")):
        with pytest.raises(WeightsError):
            LazyTensor(path, name)
