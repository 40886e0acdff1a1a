"""Weight files: one `.safetensors` per network that carries its own kind, version and configuration.

A path alone is enough to build a network; nothing is unpickled; loading is strict.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..errors import WeightsError
from .files import PACKAGED, atomic_write

# Types of tables' numbers in NumPy, by their names in the file.
DTYPES = {"F32": "<f4", "F16": "<f2", "U8": "|u1"}

# Rows of a table that are copied at once.
ROWS_AT_ONCE = 1 << 16


class RowSource(Protocol):
    """A table whose rows are read where they are asked for, as there may be more than fit into memory."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the type of the numbers."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (rows, width)."""
        ...

    def rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows `start` to `stop` - 1: (stop - start, width)."""
        ...


class LazyTensor:
    """A table in a file of `save_arrays`, mapped into memory.

    Args:
        path: The file.
        name: The table's name.

    Raises:
        WeightsError: The file cannot be read, or has no such table.
    """

    def __init__(self, path: Path | str, name: str) -> None:
        try:
            # Mapped into memory, not read.
            file: Any = safe_open(path, framework="np")
            self._slice = file.get_slice(name)
            self.shape = tuple(self._slice.get_shape())
            self.dtype = np.dtype(DTYPES[self._slice.get_dtype()])
        except (SafetensorError, OSError, KeyError) as error:
            raise WeightsError(f"{path}: not a readable weights file ({error}); get or train it again") from error

    def rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows `start` to `stop` - 1: (stop - start, width)."""
        found: npt.NDArray[Any] = self._slice[start:stop]
        return found


def blocks(table: RowSource, block_rows: int = ROWS_AT_ONCE) -> Iterator[npt.NDArray[Any]]:
    """Yield all rows of a table, block by block."""
    for start in range(0, table.shape[0], block_rows):
        yield table.rows(start, min(start + block_rows, table.shape[0]))


def packaged(name: str) -> Path:
    """Return the path of a weights file that is shipped inside the package."""
    return PACKAGED / name


def save_arrays(
    path: Path | str,
    arrays: dict[str, npt.NDArray[Any]],
    *,
    kind: str,
    version: int,
    config: dict[str, Any],
    half: bool = True,
    tables: Mapping[str, RowSource] | None = None,
    block_rows: int = ROWS_AT_ONCE,
) -> None:
    """Write named arrays.

    Args:
        path: File to write; its folder is made if needed.
        arrays: Tensors by name.
        kind: What the file is for, such as "renderer".
        version: Version of this kind's layout; a reader takes no other.
        config: JSON-able sizes that rebuild the network.
        half: Keep floating point arrays as float16, as networks need no more; otherwise all are kept as they are.
        tables: Further arrays, which are copied block by block and read by `LazyTensor`.
        block_rows: Rows of a table that are copied at once.

    Raises:
        OSError: The file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {
        k: np.ascontiguousarray(v.astype(np.float16) if half and v.dtype.kind == "f" else v) for k, v in arrays.items()
    }
    metadata = {"kind": kind, "version": str(version), "config": json.dumps(config)}
    try:
        save_file(kept, path, metadata={f"personatalk.{key}": value for key, value in metadata.items()})
    except SafetensorError as error:  # a full disk comes in its class
        raise OSError(str(error)) from error
    _order_metadata(path)
    if tables:
        _append(path, tables, block_rows)


def _order_metadata(path: Path) -> None:
    """Sort the metadata of a `.safetensors` file, which its library writes in random order.

    Equal contents are then equal files: jobs and graphs know weights by the file's digest.
    """
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        file.seek(8)
        file.write(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(size))


def _append(path: Path, tables: Mapping[str, RowSource], block_rows: int) -> None:
    """Add tables to a `.safetensors` file, which its library would only write from memory."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    with atomic_write(path) as longer, path.open("rb") as file, longer.open("wb") as draft:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        end = path.stat().st_size - 8 - size
        for name, table in tables.items():
            start, end = end, end + table.dtype.itemsize * math.prod(table.shape)
            header[name] = {"dtype": names[table.dtype.str], "shape": list(table.shape), "data_offsets": [start, end]}
        written = json.dumps(header, separators=(",", ":")).encode()
        written += b" " * (-len(written) % 8)
        draft.write(len(written).to_bytes(8, "little") + written)
        shutil.copyfileobj(file, draft)
        for table in tables.values():
            for block in blocks(table, block_rows):
                draft.write(np.ascontiguousarray(block).tobytes())


def load_arrays(
    path: Path | str, *, kind: str, version: int, tables: str | None = None
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Read what `save_arrays` wrote.

    Args:
        path: The file.
        kind: What it must be for.
        version: Version of the layout that it must have.
        tables: Arrays with this in their names are tables, and not read.

    Returns:
        The arrays by name, as they were kept, and the configuration.

    Raises:
        WeightsError: The file is missing, damaged, or of another kind or version.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise WeightsError(f"{path}: no such weights file")
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            _check_header(path, metadata, kind, version)
            names = [name for name in file.keys() if tables is None or tables not in name]  # noqa: SIM118 - not a dict
            arrays = {name: file.get_tensor(name) for name in names}
            config = json.loads(metadata["personatalk.config"])
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise WeightsError(f"{path}: not a readable weights file ({error}); get or train it again") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path}: its configuration is not a table; get or train it again")
    if broken := [name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]:
        raise WeightsError(f"{path}: {broken[0]} holds numbers that are not finite; get or train it again")
    return arrays, config


def read_header(path: Path | str, *, kind: str, version: int) -> dict[str, Any]:
    """Return the configuration of a file that `save_arrays` wrote, without reading its arrays; see `load_arrays`."""
    return load_arrays(path, kind=kind, version=version, tables="")[1]


def read_array(path: Path | str, name: str) -> npt.NDArray[Any]:
    """Return one array of a file that `save_arrays` wrote; numbers of float16 become float32.

    Raises:
        WeightsError: The file cannot be read, or has no such array.
    """
    try:
        with safe_open(path, framework="np") as file:
            array: npt.NDArray[Any] = file.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a readable weights file ({error}); get or train it again") from error
    return array.astype(np.float32) if array.dtype == np.float16 else array


def kind_of(path: Path | str) -> str:
    """Return what a file that `save_arrays` wrote is for.

    Raises:
        WeightsError: It is no such file.
    """
    try:
        with safe_open(path, framework="np") as file:
            return (file.metadata() or {}).get("personatalk.kind", "nothing of PersonaTalk")
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a readable weights file ({error}); get or train it again") from error


def _check_header(path: Path, metadata: dict[str, str], kind: str, version: int) -> None:
    found_kind, found_version = metadata.get("personatalk.kind"), metadata.get("personatalk.version")
    if found_kind != kind:
        raise WeightsError(f"{path}: holds {found_kind or 'nothing of PersonaTalk'}, but {kind} was wanted")
    if found_version != str(version):
        raise WeightsError(
            f"{path}: {kind} weights of version {found_version}, but this PersonaTalk reads version {version};"
            " use the weights that came with it or train anew"
        )
