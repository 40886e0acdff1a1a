"""Weight files: strict, and nothing in them is ever run."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from personatalk.errors import PersonaTalkError, WeightsError
from personatalk.geometry import morphable_model
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.stage1.network import GeometryGenerator
from personatalk.stage2.renderer import Renderer
from personatalk.utils import modules, serialization

KIND, VERSION = "test-network", 3
CONFIG = {"size": 4, "names": ["a", "b"], "inner": {"rate": 0.5}}


def arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "weight": random.standard_normal((3, 4)).astype(np.float32),
        "index": np.arange(5),
        "turned": random.standard_normal((4, 6)).T,  # not contiguous
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "a.safetensors"
    serialization.save_arrays(path, arrays(), kind=KIND, version=VERSION, config=CONFIG)
    return path


def test_equal_contents_are_equal_files(path: Path) -> None:
    config = {**CONFIG, "said": 'ä "quoted" \\ \u2028 line\nend'}
    files = set()
    for _ in range(12):
        serialization.save_arrays(path, arrays(), kind=KIND, version=VERSION, config=config)
        files.add(path.read_bytes())
    assert len(files) == 1
    assert serialization.load_arrays(path, kind=KIND, version=VERSION)[1] == config


def refused(path: Path, pattern: str, kind: str = KIND, version: int = VERSION) -> None:
    with pytest.raises(WeightsError, match=pattern) as caught:
        serialization.load_arrays(path, kind=kind, version=version)
    one_line(caught.value, path)


def one_line(error: PersonaTalkError, path: Path) -> None:
    assert "\n" not in str(error)
    assert str(error).startswith(str(path))


def test_round_trip(path: Path) -> None:
    read, config = serialization.load_arrays(path, kind=KIND, version=VERSION)
    assert config == CONFIG
    assert set(read) == set(arrays())
    for name, wanted in arrays().items():
        if wanted.dtype.kind == "f":
            assert read[name].dtype == np.float16
            np.testing.assert_allclose(read[name], wanted, rtol=1e-3, atol=1e-6)
        else:
            assert read[name].dtype == wanted.dtype
            np.testing.assert_array_equal(read[name], wanted)


def test_the_header_says_what_it_is(path: Path) -> None:
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    assert metadata["personatalk.kind"] == KIND
    assert metadata["personatalk.version"] == str(VERSION)
    assert json.loads(metadata["personatalk.config"]) == CONFIG


def test_missing(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere.safetensors", "no such weights file")
    refused(tmp_path, "no such weights file")


@pytest.mark.parametrize("content", [b"", b"x", b"no weights at all " * 100, b"\xff" * 64, b"PK\x03\x04" + bytes(99)])
def test_garbage(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    refused(path, "not a readable weights file")


@pytest.mark.parametrize("keep", [4, 60, 0.5, 0.98, -1])
def test_truncated(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if 0 < keep < 1 else int(keep)])
    refused(path, "not a readable weights file")


def test_of_another_kind(path: Path) -> None:
    refused(path, "holds test-network, but renderer was wanted", kind="renderer")


@pytest.mark.parametrize("version", [2, 4, 33])
def test_of_another_version(path: Path, version: int) -> None:
    refused(path, f"version {VERSION}, but this PersonaTalk reads version {version}", version=version)


def test_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file(arrays() | {"turned": np.zeros(1)}, path, metadata=metadata)
        refused(path, "nothing of PersonaTalk")


@pytest.mark.parametrize("config", [None, "{", "[1, 2]", "3"])
def test_a_bad_configuration(tmp_path: Path, config: str | None) -> None:
    path = tmp_path / "a.safetensors"
    metadata = {"personatalk.kind": KIND, "personatalk.version": str(VERSION)}
    if config is not None:
        metadata["personatalk.config"] = config
    save_file({"a": np.zeros(2)}, path, metadata=metadata)
    refused(path, "not a readable weights file|configuration is not a table")


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("form", ["pickle", "torch"])
@pytest.mark.parametrize("load", [MorphableModel.load, GeometryGenerator.load, Renderer.load])
def test_nothing_is_unpickled(tmp_path: Path, form: str, load: Callable[[Path], object]) -> None:
    path, mark = tmp_path / "a.safetensors", tmp_path / "mark"
    if form == "pickle":
        path.write_bytes(pickle.dumps(Trap(mark)))
    else:
        torch.save(Trap(mark), path)
    with pytest.raises(WeightsError) as caught:
        load(path)
    one_line(caught.value, path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Trap(mark)))
    assert mark.exists(), "the trap does not work: the test is void"


def module() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))


def test_fill_module(tmp_path: Path) -> None:
    network = module()
    modules.save_module(tmp_path / "a", network, kind=KIND, version=VERSION, config={})
    read, _ = serialization.load_arrays(tmp_path / "a", kind=KIND, version=VERSION)
    other = modules.fill_module(module().train(), read, tmp_path / "a")
    assert not other.training
    for name, tensor in other.state_dict().items():
        wanted = network.state_dict()[name]
        assert tensor.dtype == wanted.dtype, name
        assert torch.equal(tensor, wanted.half().to(wanted.dtype)), name


@pytest.mark.parametrize("damage", ["missing", "extra", "shape"])
def test_tensors_must_fit(tmp_path: Path, damage: str) -> None:
    state = {name: tensor.numpy() for name, tensor in module().state_dict().items()}
    if damage == "missing":
        del state["0.bias"]
    elif damage == "extra":
        state["2.weight"] = np.zeros(3, np.float32)
    else:
        state["0.weight"] = np.zeros((4, 5), np.float32)
    with pytest.raises(WeightsError, match="do not fit") as caught:
        modules.fill_module(module(), state, tmp_path / "a")
    one_line(caught.value, tmp_path / "a")


def small_generator() -> GeometryGenerator:
    backbone = {"kind": "whisper", "width": 16, "heads": 2, "layers": 1}
    return GeometryGenerator(20, 24, backbone, dim=16, heads=2, layers=1, reach=3)


NETWORKS: list[tuple[Callable[[], Any], Any]] = [
    (small_generator, GeometryGenerator),
    (lambda: Renderer(channels=8, width=8, size=32), Renderer),
    (MorphableModel.load, morphable_model),
]


def rewritten(path: Path, kind: Any, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Change a file's tensors and configuration, and write it anew with the right header."""
    read, config = serialization.load_arrays(path, kind=kind.KIND, version=kind.VERSION)
    change(read, config)
    serialization.save_arrays(path, read, kind=kind.KIND, version=kind.VERSION, config=config)


@pytest.mark.parametrize("make, kind", NETWORKS, ids=["stage1", "stage2", "morphable"])
@pytest.mark.parametrize("damage", ["missing", "extra", "version"])
def test_networks_are_read_strictly(
    tmp_path: Path, make: Callable[[], Any], kind: Any, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, path = make(), tmp_path / "a.safetensors"
    network.save(path)
    type(network).load(path)
    if damage == "missing":
        rewritten(path, kind, lambda tensors, config: tensors.pop(sorted(tensors)[0]))  # type: ignore[arg-type,return-value]
    elif damage == "extra":
        rewritten(path, kind, lambda tensors, config: tensors.update(more=np.zeros(2, np.float32)))
    else:
        monkeypatch.setattr(kind, "VERSION", kind.VERSION + 1)
    with pytest.raises(WeightsError) as caught:
        type(network).load(path)
    one_line(caught.value, path)


def test_one_network_is_not_taken_for_another(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    Renderer(channels=8, width=8, size=32).save(path)
    for load in (GeometryGenerator.load, MorphableModel.load):
        with pytest.raises(WeightsError, match="holds renderer") as caught:
            load(path)
        one_line(caught.value, path)


@pytest.mark.parametrize("make, kind", NETWORKS[:2], ids=["stage1", "stage2"])
@pytest.mark.parametrize("change", ["unknown", "missing", "text", "negative", "other"])
def test_a_configuration_that_is_not_the_networks(
    tmp_path: Path, make: Callable[[], Any], kind: Any, change: str
) -> None:
    network, path = make(), tmp_path / "a.safetensors"
    network.save(path)
    size = "dim" if kind is GeometryGenerator else "channels"

    def spoil(tensors: dict[str, Any], config: dict[str, Any]) -> None:
        if change == "missing":
            config.clear()
            config["dim"] = 5
        else:
            spoilt = {"unknown": {"colour": 3}, "text": {size: "many"}, "negative": {size: -8}, "other": {size: 24}}
            config.update(spoilt[change])

    rewritten(path, kind, spoil)
    with pytest.raises(WeightsError) as caught:
        type(network).load(path)
    one_line(caught.value, path)


def test_a_configuration_of_a_backbone_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    small_generator().save(path)
    for wrong in (
        {"kind": "whisper", "width": "large"},
        {"kind": "whisper", "heads": 3, "width": 8, "layers": 1},
        {"width": 8},
        7,
    ):
        rewritten(path, GeometryGenerator, lambda tensors, config, wrong=wrong: config.update(backbone=wrong))  # type: ignore[misc]
        with pytest.raises(WeightsError) as caught:
            GeometryGenerator.load(path)
        one_line(caught.value, path)


def test_the_packages_own_weights_are_found() -> None:
    assert serialization.packaged("morphable.safetensors").is_file()
    assert MorphableModel.load().num_vertices == 468
