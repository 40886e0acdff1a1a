"""Networks of tests, saved and exported as the dubbing runs them."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from personatalk.stage1.network import GeometryGenerator
from personatalk.stage1.runtime import GeometryRuntime
from personatalk.stage2.renderer import Renderer
from personatalk.stage2.runtime import RendererRuntime
from personatalk.utils.export import ExportedModule


def exported(network: ExportedModule, folder: Path | None = None) -> Path:
    """Save a network with its graphs in a folder, or one that lasts as long as the tests, and return its path."""
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="personatalk-test-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "network.safetensors"
    network.save(path)
    type(network).export(path)
    return path


def renderer_runtime(network: Renderer, *, sparse: bool = True) -> RendererRuntime:
    """Return a renderer, ready to render in float32."""
    return RendererRuntime(exported(network), "cpu", sparse=sparse)


def geometry_runtime(network: GeometryGenerator) -> GeometryRuntime:
    """Return a geometry generator, ready to run in float32."""
    return GeometryRuntime(exported(network), "cpu")
