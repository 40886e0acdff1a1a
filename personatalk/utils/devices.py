"""Devices that networks run on: which there are, what is missing, and which one is taken."""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from typing import Literal

from ..errors import PersonaTalkError
from .imports import onnx_runtime

Device = Literal["auto", "cpu", "cuda", "tensorrt", "coreml", "directml", "openvino"]

# Execution provider of ONNX Runtime for each device but OpenVINO, which runs networks itself.
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}
# Runs each device; one line for each, in the order of `Device`.
DESCRIPTIONS = {
    "cpu": "processor, by ONNX Runtime in float32",
    "cuda": "NVIDIA GPU, by ONNX Runtime",
    "tensorrt": "NVIDIA GPU, by ONNX Runtime and TensorRT",
    "coreml": "Apple's GPU and neural engine, by ONNX Runtime",
    "directml": "any GPU under Windows, by ONNX Runtime",
    "openvino": "processor, by OpenVINO in the fastest precision that it has",
}
# Builds of ONNX Runtime exclude each other: the plain one has to go first.
_REPLACE = "pip uninstall onnxruntime; pip install 'personatalk[{}]'"
INSTALL = {
    "cpu": "pip install onnxruntime",
    "cuda": _REPLACE.format("cuda"),
    "tensorrt": _REPLACE.format("cuda"),
    "coreml": "pip install onnxruntime (on a Mac)",
    "directml": _REPLACE.format("directml") + " (on Windows)",
    "openvino": "pip install 'personatalk[openvino]'",
}
# Order in which "auto" looks for a device. CoreML and DirectML were never tried, and are taken only when asked for.
PREFERRED = ("cuda", "openvino", "cpu")


@dataclass(frozen=True)
class DeviceStatus:
    """A device.

    Attributes:
        name: Its name in options.
        description: What it is.
        present: Whether networks can run on it.
        install: Command that may bring it.
    """

    name: str
    description: str
    present: bool
    install: str


@functools.cache
def available_devices() -> frozenset[str]:
    """Return the names of the devices that the installed engines have."""
    found = set()
    if importlib.util.find_spec("onnxruntime") is not None:
        providers = onnx_runtime().get_available_providers()
        found = {name for name, provider in PROVIDERS.items() if provider in providers}
    if importlib.util.find_spec("openvino") is not None:
        found.add("openvino")
    return frozenset(found)


def list_devices() -> list[DeviceStatus]:
    """Return all devices that there could be."""
    there = available_devices()
    return [DeviceStatus(name, text, name in there, INSTALL[name]) for name, text in DESCRIPTIONS.items()]


def choose_device(wish: str) -> str:
    """Return the name of the device to run on.

    Args:
        wish: A `Device`; "auto" takes the first of `PREFERRED` that is there.

    Raises:
        PersonaTalkError: It is not there.
    """
    there = available_devices()
    if wish == "auto":
        return next((name for name in PREFERRED if name in there), "cpu")
    if wish not in there:
        raise PersonaTalkError(
            f"device {wish}: not here ({DESCRIPTIONS[wish]}); install: {INSTALL[wish]};"
            " 'personatalk devices' lists what there is"
        )
    return wish


def float32_device(wish: str) -> str:
    """Return the name of the device for a network that needs float32: all of `choose_device` but OpenVINO.

    There OpenVINO is no faster than ONNX Runtime, and takes twice the time to open and thrice the memory to run.
    """
    name = choose_device(wish)
    return "cpu" if name == "openvino" else name
