"""Texture latents that a persona keeps, and the tables that hold them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import tiny
from helpers.sample_clips import decoded

import personatalk
from personatalk import DubOptions, Models
from personatalk.cli import main
from personatalk.errors import MediaError, WeightsError
from personatalk.media.reader import VideoReader
from personatalk.pipeline.footage import ArrayNames
from personatalk.pipeline.latent_cache import COLOUR_TABLE, TABLES, GrowingTable, LatentCache
from personatalk.pipeline.persona import Persona
from personatalk.pipeline.persona_making import make_persona
from personatalk.stage2.compositing import coarse_colours
from personatalk.stage2.face_crops import FaceCropper
from personatalk.utils import serialization
from personatalk.utils.serialization import LazyTensor, save_arrays

pytestmark = pytest.mark.usefixtures("drawn_faces")

COUNT = 8


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames with a face, three without."""
    frames = [*tiny.talking(5), *[tiny.nobody()] * 3]
    return tiny.clip_of(tmp_path_factory.mktemp("clip") / "clip.mp4", frames)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, clip: Path, tiny_models: Models) -> Path:
    path = tmp_path_factory.mktemp("persona") / "anna.persona"
    with tiny.in_place(tiny_models):
        assert main.main(["persona", "make", str(clip), "-o", str(path), "--quiet"]) == 0
    assert [p.name for p in path.parent.iterdir()] == ["anna.persona"], "nothing else is left"
    return path


@pytest.fixture
def known(tiny_models: Models, kept: Path) -> Iterator[tuple[Persona, LatentCache]]:
    loaded = Persona.load(kept, tiny_models.morphable)
    latents = loaded.latents(loaded.footage[0], tiny_models)
    assert latents is not None
    yield loaded, latents


def test_frames_come_back_as_they_would_be_encoded(
    tiny_models: Models, clip: Path, known: tuple[Persona, LatentCache]
) -> None:
    loaded, latents = known
    with VideoReader(clip) as reader:
        analysis = loaded.footage[0].load_analysis(reader.info, tiny_models.morphable)
        crops = FaceCropper(tiny_models.morphable, analysis, tiny_models.renderer.size)
        for index, crop in crops.fetch(reader, np.arange(5)):
            found = latents.lookup(index)
            assert found is not None
            fresh = crops.encode(tiny_models.renderer, index, crop)
            for table in TABLES:
                np.testing.assert_array_equal(getattr(found[0].face, table), getattr(fresh.face, table))
            np.testing.assert_array_equal(found[1], coarse_colours(crop))
    assert [latents.lookup(i) for i in (5, 6, 7)] == [None] * 3


@pytest.mark.slow
def test_a_dub_takes_them(
    tmp_path: Path, tiny_models: Models, clip: Path, kept: Path, known: tuple[Persona, LatentCache]
) -> None:
    loaded, latents = known
    grey = GrowingTable(latents.tables["values"].dtype, latents.tables["values"].shape[1])
    grey.append(np.zeros(latents.tables["values"].shape))
    changed = replace(latents, tables={**latents.tables, "values": grey})
    replace(loaded, footage=[replace(loaded.footage[0], latents=changed)]).save(tmp_path / "changed.persona")
    speech = tiny.speech_of(tmp_path / "speech.wav", COUNT / 25)
    frames = {}
    for name, persona in (("without", None), ("with", kept), ("changed", tmp_path / "changed.persona")):
        output = tmp_path / f"{name}.mp4"
        report = personatalk.dub(clip, speech, output, models=tiny_models, options=DubOptions(persona=persona))
        assert report.dubbed == 5
        frames[name] = np.stack(decoded(output))
    np.testing.assert_array_equal(frames["with"], frames["without"])
    assert (frames["changed"] != frames["without"]).any(), "the kept latents are not what is rendered from"


@pytest.mark.slow
def test_there_is_only_so_much_room(tmp_path: Path, tiny_models: Models, clip: Path, kept: Path) -> None:
    bytes_of_one = sum(t.shape[0] * t.shape[1] * t.dtype.itemsize for t in _tables(kept).values()) / 5
    some = make_persona([clip], tiny_models, max_latent_bytes=2.5 * bytes_of_one).footage[0].latents
    assert some is not None and np.flatnonzero(some.cells).tolist() == [0, 1]
    assert make_persona([clip], tiny_models, max_latent_bytes=0).footage[0].latents is None
    path = tmp_path / "small.persona"
    assert main.main(["persona", "make", str(clip), "-o", str(path), "--quiet", "--latent-cache", "0"]) == 0
    assert path.stat().st_size < 0.9 * kept.stat().st_size
    outputs = [tmp_path / f"{name}.mp4" for name in ("small", "kept")]
    speech = tiny.speech_of(tmp_path / "speech.wav", COUNT / 25)
    for persona_file, output in zip((path, kept), outputs, strict=True):
        personatalk.dub(clip, speech, output, models=tiny_models, options=DubOptions(persona=persona_file))
    for a, b in zip(*map(decoded, outputs), strict=True):
        np.testing.assert_array_equal(a, b)


def _tables(path: Path) -> dict[str, LazyTensor]:
    return {name: LazyTensor(path, ArrayNames(0).latents + name) for name in (*TABLES, COLOUR_TABLE)}


def test_they_are_saved_again(tmp_path: Path, known: tuple[Persona, LatentCache], kept: Path) -> None:
    known[0].save(tmp_path / "copy.persona")
    copies = _tables(tmp_path / "copy.persona")
    for name, table in _tables(kept).items():
        np.testing.assert_array_equal(copies[name].rows(0, table.shape[0]), table.rows(0, table.shape[0]))


def test_those_of_another_renderer_are_not_taken(tiny_models: Models, known: tuple[Persona, LatentCache]) -> None:
    loaded, latents = known
    footage = loaded.footage[0]
    assert replace(loaded, models="another").latents(footage, tiny_models) is None
    for broken in (
        replace(latents, cells=latents.cells[:-1]),
        replace(latents, cells=-latents.cells),
        replace(latents, cells=latents.cells + 1),
        replace(latents, cells=np.array([int(latents.cells.sum()), 0, 0, 0, 0, 0, 0, 0])),
        replace(latents, cells=np.array([2**62] * 4 + latents.cells[4:].tolist())),
        replace(latents, tables={**latents.tables, "keys": latents.tables["places"]}),
        replace(latents, tables={**latents.tables, COLOUR_TABLE: latents.tables["places"]}),
        replace(latents, tables={name: latents.tables[name] for name in TABLES}),
    ):
        with pytest.raises(WeightsError, match=r"anna\.persona: the textures of clip\.mp4 are damaged"):
            loaded.latents(replace(footage, latents=broken), tiny_models)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 3e7])
def test_damaged_numbers_are_encoded_anew(known: tuple[Persona, LatentCache], wrong: float) -> None:
    _, latents = known
    places = GrowingTable(np.dtype(np.float32), latents.tables["places"].shape[1])
    rows = latents.tables["places"].rows(0, latents.tables["places"].shape[0])
    rows[int(latents.cells[0])] = wrong
    places.append(rows)
    damaged = replace(latents, tables={**latents.tables, "places": places})
    assert damaged.lookup(1) is None and damaged.lookup(0) is not None and damaged.lookup(2) is not None


@pytest.mark.slow
def test_two_videos_of_one_speaker(tmp_path: Path, tiny_models: Models, clip: Path) -> None:
    other = tiny.clip_of(tmp_path / "other.mp4", tiny.talking(4, tiny.Face(x=44.0)))
    make_persona([clip, other], tiny_models, folder=tmp_path).save(tmp_path / "anna.persona")
    loaded = Persona.load(tmp_path / "anna.persona", tiny_models.morphable)
    for number, (video, count) in enumerate(((clip, 5), (other, 4))):
        footage = loaded.find(video)
        assert footage is loaded.footage[number]
        latents = loaded.latents(footage, tiny_models)
        assert latents is not None and np.count_nonzero(latents.cells) == count
        assert all(latents.lookup(i) for i in range(count))


def test_room_is_a_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("nan", "-1", "inf", "much"):
        with pytest.raises(SystemExit):
            main.main(["persona", "make", "x.mp4", "-o", str(tmp_path / "x.persona"), "--latent-cache", words])
        assert "--latent-cache" in capsys.readouterr().err


def test_a_folder_without_room_is_said(tmp_path: Path, tiny_models: Models, clip: Path) -> None:
    with pytest.raises(MediaError, match="no room for texture latents"):
        make_persona([clip], tiny_models, folder=tmp_path / "missing")


def test_nothing_is_left_of_a_save_that_failed(tmp_path: Path, known: tuple[Persona, LatentCache]) -> None:
    class Broken(GrowingTable):
        def rows(self, start: int, stop: int) -> np.ndarray:
            raise OSError(28, "No space left on device")

    loaded, latents = known
    table = Broken(np.dtype(np.float16), 64)
    table.shape = latents.tables["keys"].shape
    broken = replace(latents, tables={**latents.tables, "keys": table})
    (tmp_path / "anna.persona").write_bytes(b"the user's")
    with pytest.raises(MediaError, match="No space left"):
        replace(loaded, footage=[replace(loaded.footage[0], latents=broken)]).save(tmp_path / "anna.persona")
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
