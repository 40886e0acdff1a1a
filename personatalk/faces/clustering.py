"""Clustering of tracklets by identity: agglomerative, with average linkage and cannot-link constraints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..utils.arrays import Array
from .boxes import box_distance, box_size
from .tracklets import Tracklet

# Factor on the distance between two embeddings where the motion of one tracklet leads to the other.
CONTINUATION = 0.8
# Most frames between the two.
CONTINUATION_GAP = 50
# Most change of the logarithm of the face's size between the two.
CONTINUATION_GROWTH = 0.35
# Share by which an ambiguous tracklet must be nearer to one person than to any other.
AMBIGUITY_MARGIN = 0.1

Pairs = set[tuple[int, int]]


def cluster_tracklets(tracklets: list[Tracklet], together: Pairs, threshold: float) -> list[list[int]]:
    """Group tracklets so that each group shows one person.

    The nearest two groups are joined again and again, as long as they are nearer than the threshold and no frame shows
    both. Ambiguous tracklets join last, and only where there is one person whom they clearly show.

    Args:
        tracklets: All tracklets of a video, in order of their first frames.
        together: Pairs of tracklet numbers, the smaller first, that one frame shows.
        threshold: Distance of two embeddings beyond which they are of two people.

    Returns:
        Tracklet numbers of each group.
    """
    sure = [n for n, tracklet in enumerate(tracklets) if not tracklet.ambiguous]
    groups = [[n] for n in sure]
    distances = _distances([tracklets[n] for n in sure])
    row = {n: i for i, n in enumerate(sure)}
    for a, b in together:
        if a in row and b in row:
            distances[row[a], row[b]] = distances[row[b], row[a]] = np.inf
    weight = np.array([tracklets[n].weight for n in sure])
    while len(groups) and np.min(distances) < threshold:
        a, b = sorted(int(i) for i in np.unravel_index(np.argmin(distances), distances.shape))
        merged = (weight[a] * distances[a] + weight[b] * distances[b]) / (weight[a] + weight[b])
        distances[a], distances[:, a], weight[a] = merged, merged, weight[a] + weight[b]
        distances[a, a] = distances[b] = distances[:, b] = np.inf
        groups[a], groups[b] = groups[a] + groups[b], []
    groups = [group for group in groups if group]
    _add_ambiguous(tracklets, together, groups, threshold)
    return groups


def mean_embedding(tracklets: Sequence[Tracklet]) -> Array:
    """Return the mean embedding of tracklets of one person, each with its weight, (D,)."""
    mean: Array = np.average([t.embedding() for t in tracklets], axis=0, weights=[t.weight for t in tracklets])
    return mean


def _distances(tracklets: list[Tracklet]) -> Array:
    """Distances between the embeddings of tracklets, (N, N), infinite on the diagonal."""
    if not tracklets:
        return np.zeros((0, 0), np.float32)
    means = np.stack([tracklet.embedding() for tracklet in tracklets]).astype(np.float32)
    squares = (means**2).sum(axis=1)
    distances = np.sqrt(np.maximum(0, squares[:, None] + squares - 2 * means @ means.T)).astype(np.float32)
    np.fill_diagonal(distances, np.inf)
    for i, one in enumerate(tracklets):
        for j in range(i + 1, len(tracklets)):
            if tracklets[j].shot != one.shot:
                break
            if _continues(one, tracklets[j]):
                distances[i, j] = distances[j, i] = CONTINUATION * distances[i, j]
    return distances


def _continues(one: Tracklet, other: Tracklet) -> bool:
    """Return whether the motion of one tracklet leads to the beginning of another, and back."""
    gap = other.frames[0] - one.frames[-1]
    if not 0 < gap <= CONTINUATION_GAP:
        return False
    onward = box_distance(one.predict_box(other.frames[0]), other.boxes[0])
    back = box_distance(other.predict_box(one.frames[-1], last=False), one.boxes[-1])
    growth = abs(np.log(box_size(one.boxes[-1]) / box_size(other.boxes[0])))
    return max(onward, back) < 1 and growth < CONTINUATION_GROWTH


def _add_ambiguous(tracklets: list[Tracklet], together: Pairs, groups: list[list[int]], threshold: float) -> None:
    """Add ambiguous tracklets to the groups of the people whom they clearly show; others are left out."""
    means = [mean_embedding([tracklets[n] for n in group]) for group in groups]
    owner = {n: i for i, group in enumerate(groups) for n in group}
    beside: dict[int, set[int]] = {}
    for a, b in together:
        beside.setdefault(a, set()).add(b)
        beside.setdefault(b, set()).add(a)
    for number, tracklet in enumerate(tracklets):
        if not tracklet.ambiguous or not groups:
            continue
        taken = {owner[n] for n in beside.get(number, ()) if n in owner}
        order = sorted((float(np.linalg.norm(mean - tracklet.embedding())), i) for i, mean in enumerate(means))
        (nearest, group), others = order[0], [distance for distance, _ in order[1:]]
        limit = min([threshold, *((1 - AMBIGUITY_MARGIN) * distance for distance in others)])
        if nearest < limit and group not in taken:
            owner[number] = group
            groups[group].append(number)
