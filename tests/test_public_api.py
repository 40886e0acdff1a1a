"""The public names of the package, their signatures, and what their import costs."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import tiny

import personatalk
from personatalk import Models

SIGNATURES = {
    "dub": "(video, speech, output, *, options=None, models=None, progress=None)",
    "dub_cues": "(video, cues, output, *, options=None, models=None, progress=None)",
    "evaluate": "(pairs, output=None, *, row='generated', networks=None, model=None)",
    "find_people": "(video, *, model=None, identity=None, progress=None)",
    "make_persona": "(videos, models, search=None, progress=None, max_latent_bytes=2000000000.0, folder=None)",
    "run_batch": "(jobs, status, *, weights=None, run=None, executor=None, retries=1, on_outcome=None)",
    "verify": "(video, *, anchors=None, model=None, progress=None)",
}
CLASSES = {"DubOptions", "Models", "Persona", "Provenance", "Report"}


def test_the_public_names_are_these() -> None:
    assert set(dir(personatalk)) == {*SIGNATURES, *CLASSES, "__version__"}
    assert all(inspect.isclass(getattr(personatalk, name)) for name in CLASSES)


@pytest.mark.parametrize(("name", "wanted"), SIGNATURES.items())
def test_the_signatures_are_these(name: str, wanted: str) -> None:
    signature = inspect.signature(getattr(personatalk, name))
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    assert str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty)) == wanted


@pytest.mark.parametrize("statement", ["import personatalk", "from personatalk.cli.main import main; main(['--help'])"])
def test_neither_import_nor_help_waits_for_networks(statement: str) -> None:
    code = (
        "import sys, contextlib\n"
        f"with contextlib.suppress(SystemExit):\n    {statement}\n"
        "print('loaded', *({'torch', 'onnxruntime', 'cv2', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded"


def test_models_are_loaded_by_the_names_of_their_files() -> None:
    assert list(inspect.signature(Models.load).parameters) == ["morphable", "stage1", "stage2", "deep3d", "device"]


@pytest.mark.usefixtures("drawn_faces")
def test_the_people_of_a_video_are_found_by_its_path(tmp_path: Path, tiny_models: Models) -> None:
    faces = [tiny.Face(x=48.0), tiny.Face(x=144.0, green=150)]
    source = tiny.clip_of(tmp_path / "in.mp4", [tiny.draw_faces(faces, width=192)] * 4)
    assert len(personatalk.find_people(source, model=tiny_models.morphable)) == 2
