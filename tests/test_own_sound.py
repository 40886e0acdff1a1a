"""`benchmarks/own_sound.py` finds what a speaker's own sound tells, and keeps away where it tells nothing."""

from __future__ import annotations

import numpy as np
import pytest
from own_sound import STRETCH, OwnSound, Stretch, halves


def stretches(told: float, seed: int, lag: int = 0) -> list[Stretch]:
    """Return twelve stretches in which features tell a share of what stage 1 leaves of the opening."""
    random = np.random.default_rng(seed)
    kernel, weights = np.ones(5) / 5, random.standard_normal(40) / 40**0.5

    def smooth(*shape: int) -> np.ndarray:
        noise = random.standard_normal((STRETCH + 24, *shape))
        return np.apply_along_axis(np.convolve, 0, noise, kernel, "same")[10 : 10 + STRETCH + 10].astype(np.float32)

    found = []
    for _ in range(12):
        inputs, generic, rest = smooth(40), smooth(), smooth()
        real = generic + told * inputs @ weights.astype(np.float32) + (1 - told) * rest
        found.append(Stretch(inputs[lag : lag + STRETCH], generic[lag : lag + STRETCH], real[:STRETCH]))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("lag", [0, 3])
def test_what_the_sound_tells_is_learnt(lag: int) -> None:
    learnt, tried = next(halves(stretches(0.9, 0, lag), 20))
    own, none = OwnSound.chosen(learnt), OwnSound.fit(learnt, np.inf)
    assert np.mean([own.r(s) for s in tried]) > np.mean([none.r(s) for s in tried]) + 0.1


@pytest.mark.slow
def test_what_it_does_not_tell_harms_little() -> None:
    losses = []
    for seed in range(3):
        learnt, tried = next(halves(stretches(0, seed), 20))
        own, none = OwnSound.chosen(learnt), OwnSound.fit(learnt, np.inf)
        losses.append(np.mean([none.r(s) - own.r(s) for s in tried]))
    assert np.mean(losses) < 0.01


def test_both_ends_are_tried_and_never_what_was_learnt_from() -> None:
    made = stretches(0.5, 0)
    both = list(halves(made, 20))
    assert len(both) == 2
    for learnt, tried in both:
        assert len(learnt) == 8
        assert not {id(s) for s in learnt} & {id(s) for s in tried}
        assert len(learnt) + len(tried) == len(made)
    assert not list(halves(made, 28))
