"""PyTorch networks in weight files; see `serialization`. Only training and the export need it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from ..errors import WeightsError
from .files import PACKAGED
from .serialization import load_arrays, packaged, save_arrays

# Exceptions that networks raise on a configuration that is not theirs.
_UNBUILDABLE: tuple[type[Exception], ...] = (
    TypeError,
    ValueError,
    RuntimeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    MemoryError,
)

Module = TypeVar("Module", bound=torch.nn.Module)
Packaged = TypeVar("Packaged", bound="PackagedModule")


def save_module(path: Path | str, module: torch.nn.Module, *, kind: str, version: int, config: dict[str, Any]) -> None:
    """Write a network's parameters and buffers (float16) with its configuration."""
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}
    save_arrays(path, arrays, kind=kind, version=version, config=config)


def build(network: Callable[..., Module], config: dict[str, Any], path: Path | str) -> Module:
    """Build a network from a file's configuration.

    Raises:
        WeightsError: The configuration is not one of this network.
    """
    try:
        return network(**config)
    except _UNBUILDABLE as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{path}: its configuration is not one of this network ({reason})") from error


def fill_module(module: Module, arrays: dict[str, npt.NDArray[Any]], path: Path | str) -> Module:
    """Put arrays into a network as float32, strictly, and set it to evaluation.

    Raises:
        WeightsError: A tensor is missing, left over or of another shape.
    """
    state = {
        name: torch.from_numpy(array.astype(np.float32) if array.dtype.kind == "f" else array)
        for name, array in arrays.items()
    }
    return _filled(module, state, path).eval()


def _filled(module: Module, state: dict[str, torch.Tensor], path: Path | str, assign: bool = False) -> Module:
    try:
        module.load_state_dict(state, strict=True, assign=assign)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{path}: tensors do not fit its own configuration: {reason}") from error
    return module


def load_module(network: Callable[..., Module], path: Path | str, *, kind: str, version: int) -> Module:
    """Read what `save_module` wrote, ready for use.

    Args:
        network: Builds it from its configuration.
        path: The file.
        kind: What the file must be for.
        version: Version of the layout that it must have.

    Raises:
        WeightsError: The file is missing, damaged or of another kind or version.
    """
    arrays, config = load_arrays(path, kind=kind, version=version)
    _check_layers(config, len(arrays), path)
    # The package's own files are what they say, and the meta device takes a second to start.
    if Path(path).parent != PACKAGED:
        _check_sizes(network, config, arrays, path)
    return fill_module(build(network, config, path), arrays, path)


class PackagedModule(torch.nn.Module):
    """A network that is kept in one weights file, with what is needed to build it.

    Attributes:
        KIND: What the file says that it holds, such as "renderer".
        VERSION: Version of the layout; files of another are refused.
        FILE: Name of the package's own weights; None where it has none.
        config: Arguments of the constructor, which the file keeps.
    """

    KIND: ClassVar[str]
    VERSION: ClassVar[int]
    FILE: ClassVar[str | None] = None
    config: dict[str, Any]

    def save(self, path: Path | str) -> None:
        """Write the network with its configuration."""
        save_module(path, self, kind=self.KIND, version=self.VERSION, config=self.config)

    @classmethod
    def load(cls: type[Packaged], path: Path | str | None = None) -> Packaged:
        """Read a network, ready for use.

        Args:
            path: The file; None for the package's own.

        Raises:
            WeightsError: The file is missing, damaged or of another kind or version.
        """
        if path is None:
            assert cls.FILE is not None
            path = packaged(cls.FILE)
        return load_module(cls, path, kind=cls.KIND, version=cls.VERSION)


def _check_sizes(
    network: Callable[..., Module], config: dict[str, Any], arrays: dict[str, npt.NDArray[Any]], path: Path | str
) -> None:
    """Build a network without memory: sizes that its tensors do not have could ask for any amount of it."""
    with torch.device("meta"):
        outline = build(network, config, path)
    _filled(outline, {n: torch.empty(a.shape, device="meta") for n, a in arrays.items()}, path, assign=True)


def _check_layers(config: dict[str, Any], most: int, path: Path | str) -> None:
    """Refuse more layers than a file has tensors: building them takes for ever."""
    for name, value in config.items():
        if isinstance(value, dict):
            _check_layers(value, most, path)
        elif name.endswith("layers") and isinstance(value, (int, float)) and value > most:
            raise WeightsError(f"{path}: its configuration has {name} {value}, but the file has {most} tensors")
