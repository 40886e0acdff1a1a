"""Engines that run one ONNX graph: ONNX Runtime on any device that it has, and OpenVINO on processors."""

from __future__ import annotations

import functools
import json
import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import WeightsError
from .devices import PROVIDERS, choose_device
from .imports import hidden, onnx_runtime
from .quantization import quantise
from .threads import cores

# Beginning of the names of what a graph's metadata says about it.
METADATA_PREFIX = "personatalk."
# Value of the metadata `precision` of a graph that may be computed in less than float32.
REDUCED = "reduced"

Table = npt.NDArray[Any]


class Engine(Protocol):
    """A graph, ready to run from many threads.

    Attributes:
        metadata: What the file says about the graph, without `METADATA_PREFIX`.
    """

    metadata: dict[str, str]

    def run(self, inputs: dict[str, Table]) -> list[Table]:
        """Return the outputs for inputs by name; the thread's next call may overwrite them."""
        ...


def open_engine(path: Path, device: str, parallel: bool) -> Engine:
    """Open a graph.

    Args:
        path: The ONNX file.
        device: Name of a device; see `devices.choose_device`.
        parallel: Whether many threads run it at once, each with one core; otherwise one thread with all cores.

    Raises:
        WeightsError: The file is no readable network.
        PersonaTalkError: The device is not there.
    """
    name = choose_device(device)
    try:
        return OpenVinoEngine(path, parallel) if name == "openvino" else OnnxRuntimeEngine(path, name, parallel)
    except Exception as error:  # each engine has classes of its own
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{path}: cannot be run on {name} ({reason})") from error


class OnnxRuntimeEngine:
    """A graph in ONNX Runtime; arguments as of `open_engine`, with the name of a device that is there."""

    def __init__(self, path: Path, device: str, parallel: bool) -> None:
        onnxruntime = onnx_runtime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1 if parallel else cores()
        # What runs now and then gives its memory back in between.
        options.enable_cpu_mem_arena = options.enable_mem_pattern = parallel
        options.log_severity_level = 3
        wanted = PROVIDERS[device]
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=list(dict.fromkeys([wanted, PROVIDERS["cpu"]]))
        )
        # It goes on with the processor alone where the device's libraries are missing.
        if wanted not in self._session.get_providers():
            raise RuntimeError(f"{wanted} does not start: its driver or libraries are missing")
        known = self._session.get_modelmeta().custom_metadata_map
        self.metadata = {
            key.removeprefix(METADATA_PREFIX): value for key, value in known.items() if key.startswith(METADATA_PREFIX)
        }

    def run(self, inputs: dict[str, Table]) -> list[Table]:
        """See `Engine.run`."""
        outputs: list[Table] = self._session.run(None, inputs)
        return outputs


class OpenVinoEngine:
    """A graph in OpenVINO; arguments as of `open_engine`."""

    def __init__(self, path: Path, parallel: bool) -> None:
        core = _openvino()
        model = core.read_model(str(path))
        known = model.get_rt_info(["framework"]).value if model.has_rt_info(["framework"]) else {}
        self.metadata = {
            key.removeprefix(METADATA_PREFIX): str(value)
            for key, value in known.items()
            if key.startswith(METADATA_PREFIX)
        }
        settings: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": cores(),
            "NUM_STREAMS": cores() if parallel else 1,
        }
        if self.metadata.get("precision") != REDUCED:
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        quantise(model, json.loads(self.metadata.get("ranges", "{}")))
        self._compiled = core.compile_model(model, "CPU", settings)
        self._own = threading.local()

    def run(self, inputs: dict[str, Table]) -> list[Table]:
        """See `Engine.run`."""
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        return list(self._own.request.infer(inputs, share_inputs=True, share_outputs=True).to_tuple())


@functools.cache
def _openvino() -> Any:
    # Its import reports itself to its makers' statistics, by a forked process that can hang and keep standard output
    # open. Where the package for that is not there, it does not.
    with hidden("openvino_telemetry"):
        import openvino
    # The first array that it takes waits for the interpreter while it holds a lock. Two first ones, of two threads,
    # would wait for each other for ever.
    openvino.Tensor(np.zeros(1, np.float32), shared_memory=True)
    return openvino.Core()
