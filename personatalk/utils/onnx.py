"""ONNX networks in onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import WeightsError
from .files import PACKAGED
from .imports import onnx_runtime


def open_onnx(path: Path | str, inputs: int, threads: int = 0) -> Any:
    """Open an ONNX network and check its number of inputs.

    Args:
        path: The network's file.
        inputs: Inputs that it must have.
        threads: Threads that one call uses; 0 for as many as there are cores.

    Raises:
        WeightsError: The file is no such network.
    """
    onnxruntime = onnx_runtime()  # here, since it takes a while to load
    if not Path(path).is_file():
        raise WeightsError(f"{path}: no such network")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own, which it does not export
        raise WeightsError(f"{path}: not a readable ONNX network ({str(error).splitlines()[0]})") from error
    if len(session.get_inputs()) != inputs:
        raise WeightsError(f"{path}: has {len(session.get_inputs())} inputs, but {inputs} are wanted; another network?")
    return session


def open_packaged(name: str) -> Any:
    """Open a network of one input among the package's weights; it is small, and runs on one thread.

    Raises:
        WeightsError: The file is missing or damaged.
    """
    return open_onnx(PACKAGED / name, inputs=1, threads=1)


def trial_run(path: Path | str, ask: Callable[[], object]) -> None:
    """Call a network once, since one that fails on its own kind of input is another network.

    Args:
        path: The network's file, for the message.
        ask: Makes the call.

    Raises:
        WeightsError: The call failed.
    """
    try:
        ask()
    except Exception as error:  # each engine has its own classes
        raise WeightsError(f"{path}: does not answer as wanted ({str(error).strip().splitlines()[0]})") from error
