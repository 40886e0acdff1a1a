"""Sparse attention: softmax attention over the few keys that can matter, on a processor.

A query takes its texture from some dozens of the thousands of cells of all references: from those that show the same
place of the face. Its score for a key has a learned part and a Gaussian one,

    q . k - |a - b|^2 / 2,

where q and k are learned vectors, and a and b the place codes of the two cells, scaled so that the standard deviation
of the Gaussian is 1. A key that is much farther away than the nearest one has a negligible share, unless its learned
part makes up for it; `KeyIndex.margins` says by how much that can be.

Keys are therefore sorted into square buckets by their place on a plane, and searched around the query Q:

    . . . . . . .      1. Measure the keys in the buckets next to the query (1), and note the least squared distance.
    . 2 2 2 2 2 .      2. No key farther away than sqrt(least + 2 margin) matters. Where buckets within that distance
    . 2 1 1 1 2 .         were left out, widen the search to them (2), and measure again.
    . 2 1 Q 1 2 .      3. Take the softmax over the keys within that distance.
    . 2 1 1 1 2 .
    . 2 2 2 2 2 .      Each query begins with the reach that the query before it needed: cells that follow one another
    . . . . . . .      are neighbours, and need about the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..utils.arrays import Array, IntArray
from ..utils.compilation import compiled
from .place_code import BACKGROUND, CODE_SIZE, FACE, MOUTH

# Side of a bucket in standard deviations of the Gaussian.
BUCKET = 3.0
# Difference of the Gaussian parts of two scores up to which a key is kept in any case. What the learned part may make
# up for is added to it; see `KeyIndex.margins`.
LEAST_MARGIN = 4.0
# How many standard deviations of the keys' learned parts are reckoned with. One would show where the head is turned
# otherwise than in the references, or where the mouth is shut and theirs are open.
SPREADS = 2.0
# Keys with less than this share of the best one's are left out.
LEAST_SHARE = 1e-4
# Factor by which a squared distance on the plane of the buckets may exceed that of the place codes. It is at most 3,
# and more than 1 only where cells of two kinds meet.
STRETCH = 1.5
# Largest number of a place code that is sorted; those of the package's weights stay within a quarter of it.
FARTHEST = 1e3
# The bits of an infinite number in float32.
INFINITE = np.int32(0x7F800000)
# What the compiler may assume of numbers; not that none is infinite, as distances begin there.
FAST_MATH = {"reassoc", "contract", "arcp", "nsz"}


@dataclass(frozen=True)
class KeyIndex:
    """Keys and values in the order of the buckets that they are sorted into.

    Attributes:
        left: Left end of the plane of the buckets.
        top: Its upper end.
        columns: Buckets beside each other.
        rows: Buckets above each other.
        starts: The first key of each bucket, row by row, and the end, (columns * rows + 1,).
        places: Place codes of the keys, (9, K).
        keys: Their learned part, (K, D).
        values: Their values, (K, C).
        spread: Standard deviation of the learned part.
    """

    left: float
    top: float
    columns: int
    rows: int
    starts: IntArray
    places: Array
    keys: Array
    values: Array
    spread: float

    @classmethod
    def of(cls, keys: Sequence[Array], places: Sequence[Array], values: Sequence[Array]) -> KeyIndex | None:
        """Sort the keys of some references; None where that cannot be.

        There must be some, and all numbers finite and of a sane size.

        Args:
            keys: Learned parts of the keys, (K_i, D) each.
            places: Place codes of the keys in standard deviations, (K_i, 9).
            values: Values of the keys, (K_i, C).
        """
        together = np.concatenate(places)
        if not len(together) or not _sane(together) or not all(np.isfinite(part).all() for part in keys):
            return None
        left, top, columns, rows, starts, ranks = _sorted(together)
        ordered = np.ascontiguousarray(_scattered([together], ranks).T)
        learned, answers = _scattered(keys, ranks), _scattered(values, ranks)
        mean = learned.mean(axis=0)
        spread = np.sqrt(max(0.0, float(np.vdot(learned, learned)) / len(learned) - float(mean @ mean)))
        return cls(left, top, columns, rows, starts, ordered, learned, answers, float(spread))

    def margins(self, learned: Array) -> Array:
        """Return by how much the Gaussian part of a key's score may be worse than the nearest key's, (Q,).

        The learned parts of two keys' scores mostly differ by less than the length of the query times some standard
        deviations of the keys.

        Args:
            learned: Learned part of the queries, (Q, D).
        """
        return (LEAST_MARGIN + SPREADS * np.linalg.norm(learned, axis=1) * self.spread).astype(np.float32)


def supports(learned: Array, places: Array) -> bool:
    """Return whether queries can be searched for: all numbers are finite and of a sane size."""
    return _sane(places) and bool(np.isfinite(learned).all())


def sparse_attend(learned: Array, places: Array, index: KeyIndex) -> Array:
    """Attend without the keys whose share is negligible. `supports` must be true of the queries.

    Args:
        learned: Learned part of the queries, (Q, D).
        places: Place codes of the queries in standard deviations, (Q, 9).
        index: The keys and values.

    Returns:
        The attended values, float32 (Q, C).
    """
    out = np.zeros((len(learned), index.values.shape[1]), np.float32)
    plane = (index.left, index.top, index.columns, index.rows)
    _attend(learned, places, plane, index.starts, index.places, index.keys, index.values, index.margins(learned), out)
    return out


def warm_up() -> None:
    """Compile `sparse_attend`, or load the compiled code of an earlier run."""
    some, places = np.zeros((1, 2), np.float32), np.zeros((1, CODE_SIZE), np.float32)
    index = KeyIndex.of([some], [places], [some])
    assert index is not None
    sparse_attend(some, places, index)


def _scattered(parts: Sequence[Array], ranks: IntArray) -> Array:
    """Return the rows of all parts in the order of their ranks."""
    out, start = np.empty((len(ranks), parts[0].shape[1]), np.float32), 0
    for part in parts:
        out[ranks[start : start + len(part)]] = part
        start += len(part)
    return out


def _sane(places: Array) -> bool:
    return bool(np.abs(places).max(initial=0) < FARTHEST)  # False for NaN


@compiled(inline="always", fastmath=FAST_MATH)
def _flat(place: Array) -> tuple[float, float]:
    """Return the place on the plane of the buckets: the first two numbers of whichever group is filled."""
    x = place[FACE] + place[MOUTH] + place[BACKGROUND]
    y = place[FACE + 1] + place[MOUTH + 1] + place[BACKGROUND + 1]
    return x, y


@compiled(fastmath=FAST_MATH)
def _sorted(places: Array) -> tuple[float, float, int, int, IntArray, IntArray]:
    """Sort keys into buckets.

    Returns:
        Left and top of the plane, its columns and rows, the first key of each bucket and the end, and the rank of each
        key in the order of the buckets.
    """
    count = places.shape[0]
    left, right, top, bottom = np.inf, -np.inf, np.inf, -np.inf
    for j in range(count):
        x, y = _flat(places[j])
        left, right, top, bottom = min(left, x), max(right, x), min(top, y), max(bottom, y)
    columns, rows = int((right - left) / BUCKET) + 1, int((bottom - top) / BUCKET) + 1
    bucket, starts = np.empty(count, np.int64), np.zeros(columns * rows + 1, np.int64)
    for j in range(count):
        x, y = _flat(places[j])
        bucket[j] = int((y - top) / BUCKET) * columns + int((x - left) / BUCKET)
        starts[bucket[j] + 1] += 1
    starts = np.cumsum(starts)
    following, ranks = starts.copy(), np.empty(count, np.int64)
    for j in range(count):
        ranks[j] = following[bucket[j]]
        following[bucket[j]] += 1
    return left, top, columns, rows, starts, ranks


@compiled(inline="always", fastmath=FAST_MATH)
def _square(number: np.float32) -> np.float32:
    return number * number  # a power would not be vectorised


@compiled(inline="always", fastmath=FAST_MATH)
def _measure(place: Array, keys: Array, first: int, stop: int, distance: Array, bits: IntArray) -> np.int32:
    """Write the squared distances of a place to those of keys into `distance`, and return the least one's bits.

    Written so that the compiler vectorises over the keys: it must know that rows lie in memory in one piece, and takes
    the minimum of whole numbers only; the bits of positive numbers have their order.

    Args:
        place: A place code, (9,).
        keys: Place codes of all keys, (9, K).
        first: The first key that is measured.
        stop: The key after the last.
        distance: Gets the distances in the places of their keys, (K,).
        bits: The memory of the distances as whole numbers, (K,).
    """
    out, order, least = distance[first:stop], bits[first:stop], INFINITE
    out[:] = 0
    for j in range(0, CODE_SIZE, 3):
        a, b, c = keys[j][first:stop], keys[j + 1][first:stop], keys[j + 2][first:stop]
        x, y, z = place[j], place[j + 1], place[j + 2]
        for k in range(len(out)):
            out[k] += _square(a[k] - x) + _square(b[k] - y) + _square(c[k] - z)
    for k in range(len(order)):
        least = min(least, order[k])
    return least


@compiled(inline="always", fastmath=FAST_MATH)
def _choose(
    learned: Array, keys: Array, first: int, distance: Array, most: float, chosen: IntArray, scores: Array
) -> int:
    """Write numbers and scores of the keys within a squared distance into `chosen` and `scores`; return the count."""
    found = 0
    for k in range(len(distance)):
        if distance[k] <= most:
            score = np.float32(-0.5) * distance[k]
            for d in range(len(learned)):
                score += learned[d] * keys[first + k, d]
            chosen[found], scores[found] = first + k, score
            found += 1
    return found


@compiled(inline="always", fastmath=FAST_MATH)
def _mix(scores: Array, chosen: IntArray, values: Array, out: Array) -> None:
    """Write the mean of the chosen values, weighted by the softmax of their scores, into `out`."""
    highest, total = scores.max(), np.float32(0)
    least = highest + np.log(LEAST_SHARE)
    for m in range(len(scores)):
        if scores[m] > least:
            weight, number = np.exp(scores[m] - highest), chosen[m]
            total += weight
            for c in range(values.shape[1]):
                out[c] += weight * values[number, c]
    for c in range(values.shape[1]):
        out[c] /= total


@compiled(fastmath=FAST_MATH)
def _attend(
    learned: Array,
    places: Array,
    plane: tuple[float, float, int, int],
    starts: IntArray,
    ordered: Array,
    keys: Array,
    values: Array,
    margin: Array,
    out: Array,
) -> None:
    left, top, columns, rows = plane
    count = len(keys)
    distance, scores = np.empty(count, np.float32), np.empty(count, np.float32)
    bits, least_bits = distance.view(np.int32), np.empty(1, np.int32)
    least = least_bits.view(np.float32)
    chosen, needed = np.empty(count, np.int64), 1
    for q in range(len(learned)):
        x, y = _flat(places[q])
        column, row = int(np.floor((x - left) / BUCKET)), int(np.floor((y - top) / BUCKET))
        most, reach = np.float32(0), 0
        # Of keys farther than the buckets that were looked at reach, nothing is known yet.
        while reach < needed:
            reach, least_bits[0] = needed, INFINITE
            above, below = min(max(0, row - reach), rows), max(0, min(rows, row + reach + 1))
            before, after = min(max(0, column - reach), columns), max(0, min(columns, column + reach + 1))
            for r in range(above, below):
                first, stop = starts[r * columns + before], starts[r * columns + after]
                least_bits[0] = min(least_bits[0], _measure(places[q], ordered, first, stop, distance, bits))
            most = least[0] + 2 * margin[q]
            needed = max(1, int(min(np.sqrt(STRETCH * most) / BUCKET + 1, 2 * reach)))
            if (above, below, before, after) == (0, rows, 0, columns):
                break
        found = 0
        for r in range(above, below):
            first, stop = starts[r * columns + before], starts[r * columns + after]
            found += _choose(learned[q], keys, first, distance[first:stop], most, chosen[found:], scores[found:])
        _mix(scores[:found], chosen, values, out[q])
