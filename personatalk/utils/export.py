"""Writes the ONNX graphs of a PyTorch network, which point into its weights file."""

from __future__ import annotations

import io
import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..errors import PersonaTalkError
from .engines import METADATA_PREFIX, REDUCED
from .files import atomic_write, sha256
from .graphs import graph_path
from .modules import PackagedModule

# Version of the operators; ONNX Runtime has it since 1.14.
OPSET = 17


@dataclass(frozen=True)
class GraphSpec:
    """A part of a network that becomes a graph.

    Attributes:
        name: Its name, part of the file's.
        part: Computes it. The network is its attribute `network`, so that its weights have the names of the file.
        inputs: An example of each input, by name, in the order of the arguments.
        outputs: Names of the outputs.
        sizes: For each input whose axes may have any length, the names of these lengths by axis.
        reduced: Whether it may be computed in less than float32.
        constants: Numbers that belong to the graph and are not part of it, JSON-able.
        ranges: Least and largest number that convolutions are given, by the names of their modules in the network: they
            may be computed in 8 bits.
    """

    name: str
    part: torch.nn.Module
    inputs: dict[str, torch.Tensor]
    outputs: list[str]
    sizes: dict[str, dict[int, str]] = field(default_factory=dict)
    reduced: bool = False
    constants: dict[str, Any] = field(default_factory=dict)
    ranges: dict[str, list[float]] | None = None


class ExportedModule(PackagedModule):
    """A network that dubbing runs as ONNX graphs.

    Attributes:
        LICENCE: Licence of the package's own weights.
    """

    LICENCE = "LicenseRef-PersonaTalk-Weights-Research-Only"

    def graphs(self) -> list[GraphSpec]:
        """Return the parts that become graphs."""
        raise NotImplementedError

    @classmethod
    def export(cls, weights: Path | str, licence: str | None = None) -> list[Path]:
        """Write the graphs of a weights file beside it.

        Args:
            weights: The weights file.
            licence: Licence that the graphs name; None for that of the package's own weights.

        Returns:
            The files that were written.

        Raises:
            WeightsError: The weights cannot be read.
            OSError: A file cannot be written.
        """
        network = cls.load(weights)
        facts = {
            "kind": cls.KIND,
            "version": str(cls.VERSION),
            "config": json.dumps(network.config),
            "licence": licence or cls.LICENCE,
            "weights": sha256(weights),
        }
        paths = []
        for spec in network.graphs():
            with atomic_write(graph_path(weights, spec.name)) as draft:
                draft.write_bytes(graph_bytes(spec, Path(weights), facts))
            paths.append(graph_path(weights, spec.name))
        return paths


def graph_bytes(spec: GraphSpec, weights: Path, facts: dict[str, str]) -> bytes:
    """Return a graph as the content of an ONNX file.

    Args:
        spec: The part of the network.
        weights: Weights file that holds the network's numbers.
        facts: Metadata of the graph.
    """
    onnx = _import_onnx()
    model = onnx.load_from_string(_traced(spec))
    places, kept = _places(weights), []
    for tensor in model.graph.initializer:
        name = tensor.name.removeprefix("network.")
        if name in places:
            kept.append(_point_into(onnx, tensor, weights.name, *places[name]))
    # Casts come first: nodes stand in the order in which they can be computed.
    nodes = [*kept, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    facts = {**facts, "graph": spec.name, "constants": json.dumps(spec.constants)}
    if spec.reduced:
        facts["precision"] = REDUCED
    if spec.ranges:
        inputs = {node.name: node.input[1].removeprefix("network.") for node in nodes if node.op_type == "Conv"}
        known = {f"{name}.weight": limits for name, limits in spec.ranges.items()}
        facts["ranges"] = json.dumps({node: known[weight] for node, weight in inputs.items() if weight in known})
    onnx.helper.set_model_props(model, {METADATA_PREFIX + key: value for key, value in facts.items()})
    content: bytes = model.SerializeToString()
    return content


def _traced(spec: GraphSpec) -> bytes:
    """Return the graph with its weights inside."""
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the tracer's advice to take the other exporter, which is ten times slower
        torch.onnx.export(
            spec.part.eval(),
            tuple(spec.inputs.values()),
            file,  # type: ignore[arg-type]
            input_names=list(spec.inputs),
            output_names=spec.outputs,
            dynamic_axes=spec.sizes,
            opset_version=OPSET,
            dynamo=False,
            # Weights keep their names and shapes only without.
            do_constant_folding=False,
        )
    return file.getvalue()


def _places(weights: Path) -> dict[str, tuple[int, int, str]]:
    """Return where each tensor of a `.safetensors` file lies: offset and length in bytes, and its type."""
    with weights.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(size))
    header.pop("__metadata__", None)
    start = 8 + size
    return {
        name: (start + entry["data_offsets"][0], entry["data_offsets"][1] - entry["data_offsets"][0], entry["dtype"])
        for name, entry in header.items()
    }


def _point_into(onnx: Any, tensor: Any, file: str, offset: int, length: int, dtype: str) -> Any:
    """Make a tensor of a graph point into the weights file; return the node that brings it to float32."""
    if dtype != "F16":
        raise PersonaTalkError(f"{file}: {tensor.name} is {dtype}, not float16; save the network anew")
    name = tensor.name
    tensor.ClearField("raw_data")
    tensor.name, tensor.data_type = f"{name}.half", onnx.TensorProto.FLOAT16
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", offset), ("length", length)):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
    return onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT)


def _import_onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise PersonaTalkError("the export needs onnx; install: pip install 'personatalk[train]'") from error
    return onnx
