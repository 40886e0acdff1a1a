"""Damaged files of every kind that PersonaTalk reads are read or refused, and nothing else happens.

A few cases of `benchmarks/fuzz.py`, which runs as many as one likes; and what it found, each by itself.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from resource import RUSAGE_SELF, getrusage

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import fuzz
from mutations import BOMB, OWNED, PICKLE, mutated

from personatalk.errors import LONGEST, MediaError, PersonaTalkError, WeightsError
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.media.container import open_input
from personatalk.media.preflight import check_output
from personatalk.pipeline.report import check_report

NEVER_REFUSED = {"job", "clock", "orientation", "transitions"}
"""What is damaged in a job is made anew; clocks, orientations and transitions are odd, not damaged."""
CASES, SLOW = 40, {"front": 20, "inspect": 20, "transitions": 6}
"""Cases of a target; fewer where each takes its time."""


@pytest.fixture(scope="module")
def bench() -> Iterator[tuple[Path, fuzz.Reader]]:
    with fuzz.workshop() as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("target", fuzz.TARGETS, ids=lambda target: target.name)
def test_damaged_files_are_read_or_refused(target: fuzz.Target, bench: tuple[Path, fuzz.Reader]) -> None:
    score = fuzz.fuzz(target, SLOW.get(target.name, CASES), 77, *bench)
    assert score.defects == []
    assert score.refused > 0 or target.name in NEVER_REFUSED


def careless(path: Path, out: Path) -> None:
    """Do what a reader must not do, by the first letter of its file."""
    deeds: dict[str, Callable[[], object]] = {
        "a": lambda: path.read_bytes()[:0].decode() + str(1 // 0),
        "b": lambda: (out.parents[1] / "cwd" / "escaped").touch(),
        "c": lambda: time.sleep(30),
        "d": lambda: np.ones((fuzz.GROWTH + 1024 * getrusage(RUSAGE_SELF).ru_maxrss) // 8),
        "e": lambda: np.ones(1 << 31),
        "f": lambda: exec("import os; os.abort()"),
        "g": lambda: _refuse("without a name"),
        "h": lambda: __import__("pickle").loads(PICKLE),
    }
    deeds[path.name[0]]()


def _refuse(message: str) -> None:
    raise PersonaTalkError(message)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("letter", "verdict"),
    [
        ("a", "ZeroDivisionError"),
        ("b", "changed outside its folder: .*escaped"),
        ("c", "hangs"),
        ("d", "memory grew beyond measure"),
        ("e", "MemoryError"),
        ("f", "crashes: SIGABRT"),
        ("g", "the message names no file"),
        ("h", f"changed outside its folder: .*{OWNED}"),
    ],
)
def test_the_judge_sees_what_is_wrong(
    bench: tuple[Path, fuzz.Reader], letter: str, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, reader = bench
    if letter == "c":  # nobody wants to wait for it as long as for a slow machine
        monkeypatch.setattr(reader, "patience", 1.0)
        reader.judge(fuzz.Target("no work", no_seeds, no_work), root, root / "out", first=True)
    folder, out = root / "case" / letter, root / "out" / letter
    folder.mkdir()
    out.mkdir()
    (folder / f"{letter}.bin").touch()
    target = fuzz.Target("careless", no_seeds, careless, seconds=2)
    found = reader.judge(target, folder / f"{letter}.bin", out, first=letter != "c")
    for left in (root / "cwd").iterdir():
        left.unlink()
    assert re.match(verdict, found), found


def no_work(path: Path, out: Path) -> None:
    pass


def no_seeds(folder: Path) -> list[Path]:
    return []


def test_damage_depends_on_the_seed_alone() -> None:
    data = json.dumps({"a": [1, 2, {"b": "c"}]}).encode()
    twice = [[mutated(data, "x.json", Random(n)) for n in range(50)] for _ in range(2)]
    assert twice[0] == twice[1]
    assert sum(found != data for found in twice[0]) > 40


# ---------------------------------------------------------------------------------------------- what it found


def test_a_message_is_one_line_of_bounded_length() -> None:
    said = str(PersonaTalkError("a\n b\x85" + "x" * 9000 + "\nend"))
    assert said.startswith("a b xxx") and said.endswith("x end")
    assert len(said) <= LONGEST and len(said.splitlines()) == 1


def test_sound_of_no_channels_is_refused(tmp_path: Path) -> None:
    from personatalk.media.audio import AudioStream

    class Layout:
        name, nb_channels = "0 channels", 0

    class Track:
        codec_context = type("Context", (), {"layout": Layout})

    path = fuzz.sounds(tmp_path)[3]
    with open_input(path) as container, pytest.raises(MediaError, match=r"s\.flac has damaged sound"):
        AudioStream(container, Track, path, rate=16000)


def test_a_name_too_long_for_any_file_is_said(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 300 + ".mp4")
    with pytest.raises(MediaError, match="is no name for a file"):
        check_output(long)
    with pytest.raises(MediaError, match="cannot be written under this name"):
        check_report(long, [])
    with pytest.raises(MediaError, match="xxx"), open_input(long):
        pass
    with pytest.raises(WeightsError, match="xxx"):
        MorphableModel.load(long)
    (tmp_path / "pairs.csv").write_text(f"reference,generated\n{long.name},{long.name}\n")
    with pytest.raises(PersonaTalkError, match=r"line 2: .* is not there"):
        fuzz.load_pairs(tmp_path / "pairs.csv", tmp_path)


def changed_config(path: Path, **changes: object) -> Path:
    """A weights file that says something else of itself."""
    with safe_open(path, "np") as file:
        said = dict(file.metadata())
    said["personatalk.config"] = json.dumps({**json.loads(said["personatalk.config"]), **changes})
    save_file(load_file(path), path, metadata=said)
    return path


@pytest.mark.parametrize(
    ("seed", "load", "change"),
    [
        (fuzz.generator_seed, fuzz.load_generator, {"layers": 10**7}),
        (fuzz.generator_seed, fuzz.load_generator, {"dim": 200_000}),
        (fuzz.generator_seed, fuzz.load_generator, {"backbone": {"kind": "whisper", "layers": 10**7}}),
        (fuzz.renderer_seed, fuzz.load_renderer, {"channels": 200_000}),
        (fuzz.style_seed, fuzz.load_style, {"layers": 10**7}),
        (fuzz.style_seed, fuzz.load_style, {"heads": 3}),
    ],
)
def test_weights_cannot_ask_for_more_than_they_hold(
    tmp_path: Path, seed: Callable[[Path], list[Path]], load: Callable[[Path, Path], None], change: dict[str, object]
) -> None:
    # Built as it says, each of these takes hours or all memory.
    (path,) = seed(tmp_path)
    load(path, tmp_path)
    with pytest.raises(WeightsError, match=path.name):
        load(changed_config(path, **change), tmp_path)


@pytest.mark.parametrize(
    ("name", "value"), [("keypoints", 10**6), ("triangles", -1), ("landmarks", 478), ("mean", np.nan), ("rigid", 10**6)]
)
def test_a_morphable_model_that_does_not_fit_itself_is_refused(tmp_path: Path, name: str, value: float) -> None:
    (path,) = fuzz.morphable_seed(tmp_path)
    with safe_open(path, "np") as file:
        said = file.metadata()
    arrays = load_file(path)
    arrays[name].flat[0] = value
    save_file(arrays, path, metadata=said)
    with pytest.raises(WeightsError, match=rf"morphable\.safetensors: .*{name}"):
        MorphableModel.load(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB + "steps: *j\n", r"stage1\.yaml: "),
        ("a: &a [x,x,x]\n", r"stage1\.yaml: unknown field a"),
        ("steps: &a [*a, *a, *a]\n", r"stage1\.yaml: field steps: Expected `int`"),
        ("steps: " + "9" * 5000, r"stage1\.yaml: not YAML"),
        ("steps: " + "[" * 900, r"stage1\.yaml: not YAML \("),
        ("steps: " + "{" * 20000, r"stage1\.yaml: not YAML of a configuration"),
        (f"steps: !!python/object/apply:os.system ['touch {OWNED}']", r"stage1\.yaml: not YAML"),
    ],
)
def test_a_configuration_is_refused_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stage1.yaml").write_text(text)
    with pytest.raises(PersonaTalkError, match=said):
        fuzz.load_config(tmp_path / "stage1.yaml", tmp_path)
    assert not (tmp_path / OWNED).exists()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("key.json", lambda key: key.update(systems=True)),
        ("key.json", lambda key: key.update(systems=[[]])),
        ("key.json", lambda key: key.update(videos=1.5)),
        ("key.json", lambda key: key["videos"].update({"x.mp4": {}})),
        ("key.json", lambda key: key["videos"].update({"x.mp4": {"system": "nobody"}})),
        ("answers.json", lambda answers: answers.update(answers=[])),
        ("answers.json", None),
    ],
)
def test_a_damaged_study_is_refused(
    tmp_path: Path, name: str, change: Callable[[dict[str, object]], None] | None
) -> None:
    fuzz.study_seeds(tmp_path)
    fuzz.load_study(tmp_path / "key.json", tmp_path)
    content = json.loads((tmp_path / name).read_text())
    if change is None:
        (tmp_path / name).write_text("[" * 20000)
    else:
        change(content)
        (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(PersonaTalkError, match=name):
        fuzz.load_study(tmp_path / "key.json", tmp_path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("manifest.json", lambda table: table.pop("shards")),
        ("manifest.json", lambda table: table.update(shards=["../shard-000000.tar"])),
        ("manifest.json", lambda table: table.update(shards=[1.5])),
        ("shard-000000.json", lambda table: table["a-000000"].pop("speaker")),
        ("shard-000000.json", lambda table: table["a-000000"].update(more=1)),
        ("shard-000000.json", lambda table: table["a-000000"].update(frames="4")),
        ("shard-000000.json", lambda table: table["a-000000"]["members"].update(npz=[0, 1 << 40])),
        ("shard-000000.json", lambda table: table["a-000000"]["members"].update(npz=[-1, 10])),
        ("shard-000000.json", lambda table: table["a-000000"]["members"].update(npz=7)),
        ("shard-000000.json", lambda table: table["a-000000"]["members"].pop("json")),
        ("shard-000000.tar", None),
    ],
)
def test_a_damaged_data_set_is_refused(
    tmp_path: Path, name: str, change: Callable[[dict[str, dict[str, object]]], None] | None
) -> None:
    seeds = fuzz.dataset_seeds(tmp_path)
    fuzz.load_dataset(seeds[0], tmp_path)
    path = tmp_path / name
    if change is None:
        data = bytearray(path.read_bytes())
        data[600:620] = bytes(20)
        path.write_bytes(data)
    else:
        table = json.loads(path.read_text())
        change(table)
        path.write_text(json.dumps(table))
    with pytest.raises(MediaError, match=r"(manifest\.json|shard-000000\.(json|tar)): "):
        fuzz.load_dataset(seeds[0], tmp_path)


def test_a_damaged_picture_of_a_data_set_is_refused(tmp_path: Path) -> None:
    from personatalk.training.data.crops import JpegCrops

    crops = JpegCrops.encode([np.zeros((8, 8, 3), np.uint8)] * 2)
    broken = JpegCrops(np.zeros_like(crops.data), crops.ends, "shard.tar: a")
    with pytest.raises(MediaError, match=r"shard\.tar: a: image 1 is damaged"):
        broken[1]
