"""Channels to one: their mean, or the loudest of them where they cancel each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ..utils.arrays import Array

# Seconds that are judged at once, and of the fade where the judgement changes.
STRETCH, FADE = 0.25, 0.01

# The mean cancels if it has less than this share of the power that the loudest channel alone would leave in it.
CANCELLED = 0.5

# A channel is as good as the loudest, if that has less than so many times its power: of these the first one stands for
# all, whatever a lossy codec made of them, and as long as it can.
LOUDER = 2.0


def downmix(blocks: Iterable[Array], rate: int) -> Iterator[Array]:
    """Yield one channel (N,) for blocks (N, C) that follow each other.

    Stereo with one side inverted is silent in the mean; there one channel stands for all.

    Args:
        blocks: Samples of all channels.
        rate: Samples per second.
    """
    before: int | None = None
    for number, stretch in enumerate(_stretches(blocks, max(1, round(STRETCH * rate)))):
        chosen = _choose(stretch, before)
        heard = _mixed(stretch, chosen)
        if number and chosen != before:
            length = min(len(heard), round(FADE * rate))
            fade = np.linspace(0, 1, length, dtype=np.float32)
            heard[:length] = fade * heard[:length] + (1 - fade) * _mixed(stretch[:length], before)
        before = chosen
        yield heard


def _stretches(blocks: Iterable[Array], length: int) -> Iterator[Array]:
    """Yield the same samples in blocks of one length; the last one is shorter."""
    held: list[Array] = []
    count = 0
    for block in blocks:
        held.append(block)
        count += len(block)
        if count >= length:
            joined = np.concatenate(held)
            whole = count - count % length
            yield from np.split(joined[:whole], range(length, whole, length))
            held, count = [joined[whole:]], count - whole
    if count:
        yield np.concatenate(held)


def _choose(stretch: Array, before: int | None) -> int | None:
    """Return the channel that stands for all, None where the mean does."""
    power = np.einsum("nc,nc->c", stretch, stretch)
    mean = stretch.mean(axis=1)
    if mean @ mean >= CANCELLED * power.max() / len(power) ** 2:
        return None
    loud = np.flatnonzero(LOUDER * power > power.max())
    return before if before in loud else int(loud[0])


def _mixed(stretch: Array, channel: int | None) -> Array:
    return stretch.mean(axis=1) if channel is None else stretch[:, channel].copy()
