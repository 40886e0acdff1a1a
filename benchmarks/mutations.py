"""Damage to files, as chance and malice do it; the same for the same random generator."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

OWNED = "owned-by-a-file"
"""A file of this name appears in the working directory if a payload is run."""
NUMBERS = [
    "0",
    "-1",
    "1",
    "-0.0",
    "1e308",
    "-1e308",
    "1e-320",
    "NaN",
    "Infinity",
    "-Infinity",
    "2147483648",
    "4294967296",
]
NUMBERS += ["9223372036854775808", "18446744073709551616", "99999999999999999999999999", "0.5", "1e999", "9" * 5000]
NAMES = [
    "../escape",
    "../../escape/x",
    "/",
    "",
    ".",
    "..",
    "nul\0byte",
    "x" * 300,
    "y/" * 3000,
    "a\nb",
    "\u202eabc",
    "~",
]
NAMES += ["-o", "file:///etc/passwd", "|touch owned-by-a-file", "http://127.0.0.1:9/x", "con", " ", "é" * 200, "\udcff"]
VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1 << 31,
    1 << 63,
    10**30,
    1e308,
    float("nan"),
    float("inf"),
    0.5,
    "",
    "x",
]
VALUES += [[], {}, [[]], [None], {"x": None}, [1] * 1000, *NAMES]
BYTES = [0x00, 0x01, 0x7F, 0x80, 0xFF, 0x0A, 0x22, 0x2C]
INTEGERS = [
    0,
    1,
    2,
    0x7F,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 40,
    (1 << 63) - 1,
    (1 << 64) - 1,
]
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)
INSERTS = [
    f"!!python/object/apply:os.system ['touch {OWNED}']",
    f"steps: !!python/object/apply:os.system ['touch {OWNED}']\n",
]
INSERTS += [
    "[" * 20000,
    "{" * 20000,
    '{"a":' * 20000,
    "\0",
    "\ufeff",
    "\r",
    "\n\n",
    '"',
    ",",
    ",,,,",
    ":",
    "- ",
    "\t",
    "'",
]
INSERTS += [
    "\\ud800",
    "A" * 200000,
    "# x\n",
    "%",
    "&a ",
    "*a",
    BOMB,
    BOMB + "steps: *j\n",
    "!!binary x",
    "? ",
    "00:00:00",
]


class _Payload:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, (f"touch {OWNED}",)


PICKLE = pickle.dumps(_Payload())


def mutated(data: bytes, name: str, random: Random) -> bytes:
    """A file's content with some damage, of a kind that suits its name."""
    suffix = Path(name).suffix
    for _ in range(random.choice([1, 1, 1, 2, 3, 6])):
        kinds: list[Callable[[bytes, Random], bytes]] = [*BINARY]
        if suffix in (".json", ".csv", ".yaml", ".srt", ".txt"):
            kinds = [*TEXT] * 2 + [random.choice(BINARY)] + ([tree] * 12 if suffix == ".json" else [])
        elif suffix == ".safetensors":
            kinds += [header] * 2 * len(BINARY)
        data = random.choice(kinds)(data, random)
    return data


# ---------------------------------------------------------------------------------------------- bytes


def _span(data: bytes, random: Random) -> tuple[int, int]:
    """A block; half of them lie near the beginning, where formats keep their numbers."""
    start = random.randrange(max(1, len(data) if random.random() < 0.5 else min(len(data), 512)))
    return start, start + random.choice([1, 2, 4, 8, 64, random.randrange(1, max(2, len(data) // 4 + 1))])


def flip(data: bytes, random: Random) -> bytes:
    """Turn single bits over."""
    out = bytearray(data)
    for _ in range(random.choice([1, 2, 8, 64]) if out else 0):
        out[min(_span(data, random)[0], len(out) - 1)] ^= 1 << random.randrange(8)
    return bytes(out)


def truncate(data: bytes, random: Random) -> bytes:
    """Cut the end off."""
    return data[: random.choice([0, random.randrange(len(data) + 1), min(16, len(data)), max(0, len(data) - 1)])]


def delete(data: bytes, random: Random) -> bytes:
    """Take a block out."""
    start, stop = _span(data, random)
    return data[:start] + data[stop:]


def double(data: bytes, random: Random) -> bytes:
    """Write a block twice."""
    start, stop = _span(data, random)
    return data[:stop] + data[start:]


def insert(data: bytes, random: Random) -> bytes:
    """Put random bytes in."""
    start, stop = _span(data, random)
    return data[:start] + random.randbytes(min(stop - start, 4096)) + data[start:]


def blank(data: bytes, random: Random) -> bytes:
    """Set a block to one value."""
    start, stop = _span(data, random)
    stop = min(stop, len(data))
    return data[:start] + bytes([random.choice(BYTES)]) * (stop - start) + data[stop:]


def oversize(data: bytes, random: Random) -> bytes:
    """Put an edge value where a length may stand."""
    start, size = _span(data, random)[0], random.choice([2, 4, 8])
    value = (random.choice(INTEGERS) & ((1 << 8 * size) - 1)).to_bytes(size, random.choice(["little", "big"]))
    return data[:start] + value + data[start + size :]


def payload(data: bytes, random: Random) -> bytes:
    """A pickle that runs a command, alone or in the middle."""
    start, stop = _span(data, random)
    return random.choice([PICKLE, data[:start] + PICKLE + data[stop:], PICKLE + data])


BINARY = [flip, truncate, delete, double, insert, blank, oversize, payload]


# ---------------------------------------------------------------------------------------------- text


def _pieces(text: str, random: Random) -> tuple[str, str, str]:
    start, stop = _span(text.encode("utf8", "surrogatepass"), random)
    return text[:start], text[start:stop], text[stop:]


def _as_text(change: Callable[[str, Random], str]) -> Callable[[bytes, Random], bytes]:
    def on_bytes(data: bytes, random: Random) -> bytes:
        return change(data.decode("utf8", "surrogateescape"), random).encode("utf8", "surrogatepass")

    return on_bytes


def _word(text: str, random: Random) -> str:
    """Replace a word, number or cell."""
    import re

    found = list(re.finditer(random.choice([r"-?\d[\d.eE+-]*", r"[^\s,:\"{}\[\]]+", r'"[^"]*"', r"[^,\n]*"]), text))
    if not found:
        return text
    chosen = random.choice(found)
    value = random.choice(random.choice([NUMBERS, NAMES, INSERTS]))
    if chosen.group().startswith('"') and random.random() < 0.8:
        value = json.dumps(value)
    return text[: chosen.start()] + value + text[chosen.end() :]


def _line(text: str, random: Random) -> str:
    """Delete, double or move a line."""
    lines = text.splitlines(keepends=True) or [""]
    place = random.randrange(len(lines))
    taken = lines.pop(place)
    for _ in range(random.choice([0, 1, 2, 2])):
        lines.insert(random.randrange(len(lines) + 1), taken)
    return "".join(lines)


def _inserted(text: str, random: Random) -> str:
    """Insert what means something to a parser."""
    before, middle, after = _pieces(text, random)
    return before + random.choice([middle, ""]) + random.choice(random.choice([INSERTS, NAMES, NUMBERS])) + after


TEXT = [_as_text(change) for change in (_word, _word, _line, _inserted)]


def tree(data: bytes, random: Random) -> bytes:
    """Replace, delete or rename a node of a JSON file, whose syntax stays right."""
    try:
        root = json.loads(data)
    except (ValueError, RecursionError):
        return data
    places: list[tuple[Any, Any]] = []
    _collect(root, places)
    if not places or random.random() < 0.02:
        return json.dumps(random.choice(VALUES)).encode()
    node, key = random.choice(places)
    if isinstance(node, dict) and random.random() < 0.3:
        taken = node.pop(key)
        if random.random() < 0.5:
            node[random.choice(NAMES)] = taken
    else:
        node[key] = random.choice(VALUES)
    return json.dumps(root).encode()


def _collect(node: Any, places: list[tuple[Any, Any]]) -> None:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        places.append((node, key))
        _collect(child, places)


def header(data: bytes, random: Random) -> bytes:
    """Change the JSON header of a safetensors file, and the configuration in it; its length stays right."""
    try:
        (size,) = struct.unpack("<Q", data[:8])
        table = json.loads(data[8 : 8 + size])
        if random.random() < 0.6 and "__metadata__" in table:
            name = random.choice(sorted(table["__metadata__"]))
            change = tree if name.endswith("config") and random.random() < 0.7 else random.choice(TEXT)
            changed = change(table["__metadata__"][name].encode(), random)
            table["__metadata__"][name] = changed.decode("utf8", "surrogateescape")
            new = json.dumps(table).encode()
        else:
            new = (tree if random.random() < 0.8 else random.choice(TEXT))(data[8 : 8 + size], random)
    except (struct.error, ValueError, RecursionError, LookupError, AttributeError, TypeError):
        return data
    return struct.pack("<Q", len(new)) + new + data[8 + size :]
