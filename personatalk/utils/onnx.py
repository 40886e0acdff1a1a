"""ONNX networks in onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import WeightsError


def open_onnx(path: Path | str, inputs: int) -> Any:
    """Open an ONNX network and check its number of inputs.

    Raises:
        WeightsError: onnxruntime is not installed, or the file is no such network.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise WeightsError("ONNX networks need onnxruntime; install: pip install 'personatalk[identity]'") from error
    if not Path(path).is_file():
        raise WeightsError(f"{path}: no such network")
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own, which it does not export
        raise WeightsError(f"{path}: not a readable ONNX network ({str(error).splitlines()[0]})") from error
    if len(session.get_inputs()) != inputs:
        raise WeightsError(f"{path}: has {len(session.get_inputs())} inputs, but {inputs} are wanted; another network?")
    return session


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
