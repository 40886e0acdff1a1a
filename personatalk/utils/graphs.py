"""Trained networks as dubbing runs them: the ONNX graphs of a weights file.

Beside a weights file `NAME.safetensors`, `personatalk export` writes a file `NAME.GRAPH.onnx` for each part that runs
on its own. These hold no weights: they point into the weights file, from which training starts as well, so that there
is one copy of the numbers. Each says which weights file it belongs to, and no other is accepted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import WeightsError
from .engines import Engine, Table, open_engine
from .files import sha256
from .serialization import read_header


class Graphs:
    """The graphs of one weights file.

    Args:
        weights: The weights file.
        names: Names of the graphs.
        kind: What the weights must be for.
        version: Version of the layout that they must have.
        device: Name of a device; see `devices.choose_device`.
        parallel: Whether many threads run them at once; see `engines.open_engine`.

    Attributes:
        config: The weights file's configuration.
        digest: SHA-256 of the weights file.

    Raises:
        WeightsError: A file is missing, damaged, of another kind or version, or of other weights.
        PersonaTalkError: The device is not there.
    """

    def __init__(
        self, weights: Path | str, names: Sequence[str], *, kind: str, version: int, device: str, parallel: bool
    ) -> None:
        self.weights = Path(weights)
        self.config: dict[str, Any] = read_header(weights, kind=kind, version=version)
        self.digest = sha256(weights)
        self._device, self._parallel = device, parallel
        self._engines: dict[str, Engine] = {}
        for name in names:
            self.open(name)

    def open(self, name: str) -> None:
        """Open one more graph; errors as of the class."""
        path = graph_path(self.weights, name)
        again = f"make it: personatalk export {self.weights}"
        if not path.is_file():
            raise WeightsError(f"{path}: there is no such graph of {self.weights.name}; {again}")
        engine = open_engine(path, self._device, self._parallel)
        if engine.metadata.get("weights") != self.digest:
            raise WeightsError(f"{path}: was made from other weights than {self.weights.name} holds; {again}")
        self._engines[name] = engine

    def run(self, name: str, **inputs: Table) -> list[Table]:
        """Return the outputs of a graph."""
        return self._engines[name].run(inputs)

    def constants(self, name: str) -> dict[str, Any]:
        """Return the numbers that belong to a graph and are not part of it."""
        found: dict[str, Any] = json.loads(self._engines[name].metadata["constants"])
        return found


def graph_path(weights: Path | str, name: str) -> Path:
    """Return the path of a graph of a weights file."""
    return Path(weights).with_suffix(f".{name}.onnx")
