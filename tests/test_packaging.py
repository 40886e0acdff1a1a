"""The metadata of the package: what is imported is declared, and what is declared is used."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement

from personatalk.audio.encoder import AudioEncoder, load_backbone
from personatalk.cli.main import main
from personatalk.errors import PersonaTalkError
from personatalk.evaluation.syncnet import mfcc
from personatalk.pipeline.weights import load_face_model
from personatalk.utils.processes import map_on_ray

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]

# Names under which distributions are imported, where the two differ.
IMPORT_NAMES = {
    "c2pa-python": "c2pa",
    "ai-edge-litert": "ai_edge_litert",
    "onnxruntime-directml": "onnxruntime",
    "onnxruntime-gpu": "onnxruntime",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
}
# Extras of those who change the package.
DEVELOPMENT = {"compare", "convert", "dev", "docs"}
# Declared, and used without an import of ours: by Lightning Fabric's logger, and by FastAPI.
USED_BY_OTHERS = {"tensorboard", "python_multipart"}


def declared(requirements: list[str]) -> set[str]:
    """Import names of requirements, those of the extras that they name included."""
    names: set[str] = set()
    for requirement in map(Requirement, requirements):
        if requirement.name == PROJECT["name"]:
            names.update(*(declared(EXTRAS[extra]) for extra in requirement.extras))
        else:
            name = requirement.name.lower()
            names.add(IMPORT_NAMES.get(name, name.replace("-", "_")))
    return names


def all_declared() -> set[str]:
    """Import names of all that the package needs, those of developers left out."""
    extras = (declared(EXTRAS[name]) for name in EXTRAS if name not in DEVELOPMENT)
    return declared(PROJECT["dependencies"]).union(*extras)


def imported(path: Path) -> set[str]:
    """Top-level names of the absolute imports in a file, those for type checkers alone left out."""
    names: set[str] = set()
    pending: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module is not None:
            names.add(node.module.split(".")[0])
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            pending.extend(ast.iter_child_nodes(node))
    return names - set(sys.stdlib_module_names) - {PROJECT["name"]}


def package_imports() -> set[str]:
    """Top-level names of all imports of the package."""
    return set().union(*(imported(path) for path in (ROOT / "personatalk").rglob("*.py")))


@pytest.mark.slow
def test_what_the_package_imports_is_declared() -> None:
    assert package_imports() <= all_declared()


@pytest.mark.slow
def test_what_is_declared_is_imported() -> None:
    assert all_declared() - USED_BY_OTHERS <= package_imports()


@pytest.mark.slow
def test_what_the_tests_and_examples_import_is_declared() -> None:
    folders = ("tests", "benchmarks", "scripts", "examples")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    own = {path.stem for path in files} | {path.parent.name for path in files}
    # "packaging" comes with pytest; "tomli" stands in for the standard library's tomllib in Python 3.10.
    known = declared(PROJECT["dependencies"]).union(*(declared(EXTRAS[name]) for name in DEVELOPMENT))
    known |= {"packaging", "tomli"}
    assert set().union(*map(imported, files)) - own <= known


@pytest.mark.slow
def test_a_dub_needs_no_extra(tmp_path: Path) -> None:
    absent = declared([f"personatalk[{','.join(sorted(EXTRAS.keys() - DEVELOPMENT))}]"])
    absent -= declared(PROJECT["dependencies"])
    assert {"torch", "transformers"} <= absent
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent!r}:
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
from personatalk.cli.main import main
code = main(["dub", "--sample", "-o", {str(tmp_path / "out.mp4")!r}, "--quiet"])
assert not {absent!r} & set(sys.modules)
sys.exit(code)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    assert (tmp_path / "out.mp4").stat().st_size > 1000


def test_every_dependency_has_wheels_for_every_system_and_python() -> None:
    table: dict[str, dict[str, str]] = json.loads((ROOT / "tests" / "data" / "wheels.json").read_text("utf-8"))
    pythons = [c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", c)]
    systems = ("linux-x86_64", "linux-arm64", "macos-arm64", "windows-x86_64")
    assert set(table) == {f"{system}, Python {python}" for system in systems for python in pythons}
    for place, wheels in table.items():
        for dependency in map(Requirement, PROJECT["dependencies"]):
            machine = "x86_64" if "x86_64" in place else "arm64"
            there = {"python_version": place.split()[-1], "platform_machine": machine}
            if dependency.marker is None or dependency.marker.evaluate(there):
                assert dependency.name in wheels, f"{dependency.name}: no wheel on {place}"
                assert wheels[dependency.name] in dependency.specifier


def test_the_versions_agree() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    first = re.search(r"^## (\d+\.\d+\.\d+)", changes, re.MULTILINE)
    assert first is not None and first.group(1) == PROJECT["version"]
    assert f"version: {PROJECT['version']}" in (ROOT / "CITATION.cff").read_text("utf-8")


def test_the_metadata_tell_code_and_weights_apart() -> None:
    assert PROJECT["license"] == "MIT AND LicenseRef-PersonaTalk-Weights-Research-Only"
    for name in PROJECT["license-files"]:
        assert (ROOT / name).is_file()


@pytest.mark.parametrize(
    ("module", "extra", "use"),
    [
        ("transformers", "train", lambda: AudioEncoder(8, 4, {"kind": "hubert", "hidden_size": 24})),
        ("transformers", "train", lambda: load_backbone("folder")),
        ("python_speech_features", "eval", lambda: mfcc(np.zeros(16000, np.float32))),
        ("scipy.io", "basel", lambda: load_face_model("model.mat")),
        ("ray", "ray", lambda: list(map_on_ray(str, [], "local", lambda item, error: ""))),
    ],
)
def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, module: str, extra: str, use: Callable[[], object]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    # A test before this one may have read a Basel Face Model.
    monkeypatch.delitem(sys.modules, "personatalk.geometry.basel", raising=False)
    with pytest.raises(PersonaTalkError, match=rf"pip install 'personatalk\[{extra}\]'"):
        use()


@pytest.mark.parametrize("module", ["lightning_fabric", "tensorboard", "webdataset", "yaml"])
def test_training_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["train", "stage1", "DATA", "-o", "RUN"]) == 1
    assert f"{module}; install: pip install 'personatalk[train]'" in capsys.readouterr().err
