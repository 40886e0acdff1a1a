"""L-BFGS (Nocedal and Wright 2006, algorithms 7.4 and 7.5): finds the minimum of a smooth function of many variables.

SciPy's takes longer to import than a fit takes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
# A function, with its gradient.
Function = Callable[[Numbers], tuple[float, Numbers]]

# Steps that are remembered, and the most that are taken.
HISTORY, ITERATIONS = 12, 60
# Share of the value by which a step must lower it, or it was the last one.
LEAST_GAIN = 2e-9
# Wolfe's conditions: share of the expected descent that a step must bring, and of the slope that it may leave.
DESCENT, SLOPE = 1e-4, 0.9
# Most values of the function along one direction.
TRIALS = 20


@dataclass(frozen=True)
class _Point:
    """A place, with the function's value and gradient there."""

    place: Numbers
    value: float
    gradient: Numbers


def minimise(function: Function, start: Numbers) -> Numbers:
    """Return where a function is least, as far as `ITERATIONS` steps from a start lead.

    Args:
        function: Returns value and gradient, (N,), at a place (N,).
        start: (N,).
    """
    now = _Point(start, *function(start))
    history: deque[tuple[Numbers, Numbers]] = deque(maxlen=HISTORY)
    for _ in range(ITERATIONS):
        direction = -_newton(now.gradient, history)
        # Nothing is known of the scale before the first step.
        length = 1.0 if history else min(1.0, 1 / max(float(np.linalg.norm(direction)), 1e-12))
        following = _step(function, now, direction, length)
        if following is None:
            break
        gain, step, change = now.value - following.value, following.place - now.place, following.gradient - now.gradient
        if step @ change > 1e-12 * (change @ change):
            history.append((step, change))
        now = following
        if gain <= LEAST_GAIN * max(abs(now.value), 1.0):
            break
    return now.place


def _newton(gradient: Numbers, history: deque[tuple[Numbers, Numbers]]) -> Numbers:
    """Return the inverse of the Hessian, as the steps so far tell it, times a gradient."""
    out, shares = gradient.copy(), []
    for step, change in reversed(history):
        shares.append((step @ out) / (step @ change))
        out -= shares[-1] * change
    if history:
        step, change = history[-1]
        out *= (step @ change) / (change @ change)
    for step, change in history:
        out += (shares.pop() - (change @ out) / (step @ change)) * step
    return out


def _step(function: Function, now: _Point, direction: Numbers, length: float) -> _Point | None:
    """Return a lower point along a direction that fulfils Wolfe's conditions; None where no lower one is found.

    Args:
        function: The function.
        now: Where the step begins.
        direction: Its direction.
        length: The length that is tried first.
    """
    slope, best = float(now.gradient @ direction), None
    short, long = (0.0, now.value, slope), np.inf  # of lengths that are too short and too long
    for _ in range(TRIALS):
        place = now.place + length * direction
        point = _Point(place, *function(place))
        tried = (length, point.value, float(point.gradient @ direction))
        if not point.value <= now.value + DESCENT * length * slope:  # also where it is no number
            long, guess = length, _lowest(short, tried)
        else:
            best = point
            if tried[2] >= SLOPE * slope:
                break
            guess, short = _level(short, tried), tried
        low, high = (short[0], long) if np.isfinite(long) else (1.1 * short[0], 4 * short[0])
        margin = 0.1 * (high - low)
        length = float(np.clip(guess, low + margin, high - margin)) if np.isfinite(guess) else (low + high) / 2
    return best


# Length, value and slope.
_Trial = tuple[float, float, float]


def _lowest(near: _Trial, far: _Trial) -> float:
    """Return where the parabola is lowest that has a trial's value and slope and another's value."""
    span = far[0] - near[0]
    bent = far[1] - near[1] - near[2] * span
    return near[0] - near[2] * span**2 / (2 * bent) if bent > 0 else np.nan


def _level(near: _Trial, far: _Trial) -> float:
    """Return where the slope is 0 if it goes on as between two trials."""
    return far[0] + (far[0] - near[0]) * far[2] / (near[2] - far[2]) if far[2] > near[2] else np.nan
