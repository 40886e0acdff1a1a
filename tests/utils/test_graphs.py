"""ONNX graphs beside weights files: what belongs together, what is refused, and what runs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers.exported import exported

from personatalk.cli.main import main
from personatalk.errors import PersonaTalkError, WeightsError
from personatalk.stage1.runtime import GeometryRuntime
from personatalk.stage2.renderer import Renderer
from personatalk.stage2.runtime import DECODE, QUERY, REFERENCE, RendererRuntime
from personatalk.utils import devices
from personatalk.utils.graphs import graph_path
from personatalk.utils.serialization import packaged

LARGEST_GRAPH = 200_000


def small(seed: int = 0) -> Renderer:
    torch.manual_seed(seed)
    return Renderer(channels=8, width=8, size=32)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(small(), tmp_path_factory.mktemp("made"))


@pytest.fixture
def weights(made: Path, tmp_path: Path) -> Path:
    """A small renderer with its graphs, to be changed."""
    shutil.copytree(made.parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / made.name


def test_the_packages_graphs_belong_to_its_weights() -> None:
    RendererRuntime(device="cpu")
    GeometryRuntime(device="cpu")
    for path in packaged("").glob("*.*.onnx"):
        assert path.stat().st_size < LARGEST_GRAPH, f"{path.name} holds numbers of its own"


def test_graphs_tell_what_they_are(weights: Path) -> None:
    known = {
        entry.key: entry.value
        for entry in onnx.load(graph_path(weights, QUERY), load_external_data=False).metadata_props
    }
    assert known["personatalk.kind"] == "renderer"
    assert json.loads(known["personatalk.config"]) == small().config
    assert known["personatalk.licence"].startswith("LicenseRef-PersonaTalk")
    assert set(json.loads(known["personatalk.constants"])) == {"lip", "face"}


def other_weights(weights: Path) -> None:
    small(seed=1).save(weights)


def other_place(weights: Path) -> None:
    graph_path(weights, DECODE).unlink()


def cut_off(weights: Path) -> None:
    path = graph_path(weights, REFERENCE)
    path.write_bytes(path.read_bytes()[:200])


def no_graph(weights: Path) -> None:
    graph_path(weights, REFERENCE).write_text("not a graph")


@pytest.mark.parametrize("device", sorted(devices.available_devices() & {"cpu", "openvino"}))
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (other_weights, "other weights.*personatalk export"),
        (other_place, "no such graph.*personatalk export"),
        (cut_off, "cannot be run"),
        (no_graph, "cannot be run"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    weights: Path, damage: Callable[[Path], None], message: str, device: str
) -> None:
    RendererRuntime(weights, device)
    damage(weights)
    with pytest.raises(WeightsError, match=message) as caught:
        RendererRuntime(weights, device)
    assert "\n" not in str(caught.value)


def test_a_device_that_is_not_there_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "available_devices", lambda: frozenset({"cpu"}))
    assert devices.choose_device("auto") == devices.choose_device("cpu") == "cpu"
    for missing in ("cuda", "openvino", "directml"):
        with pytest.raises(PersonaTalkError, match=rf"device {missing}: not here.*pip install 'personatalk\["):
            devices.choose_device(missing)
    monkeypatch.setattr(devices, "available_devices", lambda: frozenset({"cpu", "openvino", "cuda"}))
    assert devices.choose_device("auto") == devices.float32_device("auto") == "cuda"
    assert devices.choose_device("openvino") == "openvino" and devices.float32_device("openvino") == "cpu"


def test_devices_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices"]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = {line.split()[0]: line for line in lines if not line.startswith(" ")}
    assert list(named) == list(devices.DESCRIPTIONS)
    assert "here" in named["cpu"] and sum("(auto)" in line for line in lines) == 1
    assert any("pip install" in line for line in lines)


@pytest.mark.slow
def test_the_export_writes_graphs_and_names_the_licence(
    weights: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other_weights(weights)
    assert main(["export", str(weights), "--licence", "CC0-1.0"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    RendererRuntime(weights, "cpu")
    known = {
        entry.key: entry.value
        for entry in onnx.load(graph_path(weights, DECODE), load_external_data=False).metadata_props
    }
    assert known["personatalk.licence"] == "CC0-1.0"


def test_only_networks_are_exported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("none")
    wrong = {
        packaged("morphable.safetensors"): "holds morphable-model",
        tmp_path / "text.safetensors": "not a readable",
    }
    for path, message in wrong.items():
        assert main(["export", str(path)]) == 12
        assert message in capsys.readouterr().err


def test_the_decoders_graph_is_the_module(weights: Path) -> None:
    network = Renderer.load(weights)
    latent, geometry = torch.randn(8, 5, 6), torch.rand(8, 20, 24)
    with torch.inference_mode():
        wanted = network.decode(latent[None], geometry[None])[0].clamp(0, 1).permute(1, 2, 0).numpy()
    runtime = RendererRuntime(weights, "cpu")
    (got,) = runtime.graphs.run(DECODE, latent=latent.flatten(1).T.contiguous().numpy(), geometry=geometry.numpy())
    assert wanted.std() > 0.01
    np.testing.assert_allclose(got / 255, wanted, atol=0.5 / 255 + 1e-4)


@pytest.mark.slow
@pytest.mark.skipif("openvino" not in devices.available_devices(), reason="no OpenVINO")
def test_opening_a_network_starts_no_process_and_tells_nobody() -> None:
    program = """
import multiprocessing, os, sys
starts = []
os.register_at_fork(before=lambda: starts.append(1))
from personatalk.stage2.runtime import RendererRuntime
RendererRuntime(device="openvino")
assert "openvino" in sys.modules and "openvino_telemetry" not in sys.modules
assert not starts and not multiprocessing.active_children()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


@pytest.mark.slow
def test_onnx_runtime_tells_nobody(tmp_path: Path) -> None:
    """Its wheels would keep a number of the machine in the cache folder, and report to their makers."""
    program = "from personatalk.utils.onnx import open_packaged; open_packaged('face_detector_short.onnx')"
    places = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")}
    known = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120, env={**known, **places})
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
