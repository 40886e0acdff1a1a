"""Stage 1 as the dubbing uses it: ONNX graphs on a device of one's choice, without PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..audio.ears import GRAPH, PACKAGED_BACKBONE, heard, open_packaged_backbone
from ..errors import WeightsError
from ..geometry.morphable_model import MorphableModel
from ..utils.arrays import Array
from ..utils.devices import float32_device
from ..utils.graphs import Graphs
from ..utils.serialization import packaged, read_array

# Kind and version of the weights file.
KIND, VERSION = "geometry-generator", 4
# Names of the graphs.
STYLE, MOTION = "style", "motion"


class GeometryRuntime:
    """Stage 1, ready to run; an `inference.SpeechNetwork`.

    Args:
        path: Weights of the geometry generator; None for the package's own.
        device: Name of a device; see `devices.choose_device`.

    Attributes:
        digest: Tells the weights from others.

    Raises:
        PersonaTalkError: See `Graphs`.
    """

    def __init__(self, path: Path | str | None = None, device: str = "auto") -> None:
        path = packaged("stage1.safetensors") if path is None else path
        device = float32_device(device)
        self._graphs = Graphs(path, [STYLE, MOTION], kind=KIND, version=VERSION, device=device, parallel=False)
        self._backbone = self._graphs.config["backbone"]
        self._ears, self.digest = self._graphs, self._graphs.digest
        if self._backbone == PACKAGED_BACKBONE:
            self._ears = open_packaged_backbone(device)
            self.digest += self._ears.digest
        else:
            self._graphs.open(GRAPH)

    def check_fits(self, model: MorphableModel) -> None:
        """See `check_fits`."""
        check_fits(model, read_array(self._graphs.weights, "expression"))

    def style_of(self, offsets: Array) -> Array:
        """See `inference.SpeechNetwork.style_of`."""
        return self._graphs.run(STYLE, offsets=offsets[None])[0]

    def displacements(self, samples: Array, style: Array, template: Array) -> Array:
        """See `inference.SpeechNetwork.displacements`."""
        (states,) = self._ears.run(GRAPH, heard=heard(self._backbone, samples[None]))
        return self._graphs.run(MOTION, states=states, style=style, template=template[None])[0][0]


def check_fits(model: MorphableModel, expression: Array) -> None:
    """Check that stage 1 was trained on the mesh and the expressions of a morphable model.

    Args:
        model: The morphable model.
        expression: The expressions that stage 1 was trained on, (V, 3, E).

    Raises:
        WeightsError: It was trained on another model.
    """
    if len(expression) != model.num_vertices:
        raise WeightsError(
            f"these stage 1 weights are for a mesh of {len(expression)} vertices, but the morphable model has"
            f" {model.num_vertices}; train stage 1 on it"
        )
    same = expression.shape == model.expression.shape
    if not same or not np.allclose(expression, model.expression, rtol=0.01, atol=1e-4):
        raise WeightsError("these stage 1 weights are for another morphable model; train stage 1 on this one")
