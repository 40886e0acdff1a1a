"""Agreement of audio and video: how well the mouth that stage 1 hears follows the mouth that is seen, at each shift.

Real clips are often off by several frames: the shift at which both agree best is their offset.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..geometry.morphable_model import MorphableModel
from ..utils.arrays import Array
from ..utils.correlation import lag_correlations
from .inference import SpeechNetwork, generate, speaking_style

# Frames of offset that are searched.
MAX_LAG = 7
# Frames from which on a correlation is taken.
MIN_COMPARED_FRAMES = 12


@dataclass(frozen=True)
class Agreement:
    """The agreement of a generated mouth with the real one.

    Attributes:
        r: Correlation of the mouth openings by lag, (2 L + 1,) for lags of -L to L frames.
        articulation: Spread of the generated opening over the real one's.
        frames: Frames that were compared.
    """

    r: npt.NDArray[np.float64]
    articulation: float
    frames: int

    @property
    def lag(self) -> int:
        """Frames by which the video is late against the audio, at the best correlation."""
        return int(np.argmax(self.r)) - self.max_lag

    @property
    def max_lag(self) -> int:
        """Largest lag L in frames that was searched."""
        return len(self.r) // 2

    @property
    def fine_lag(self) -> float:
        """The lag in fractions of a frame, at the top of the parabola through the best correlation and its neighbours.

        At the ends of the search it is the whole lag.
        """
        if abs(self.lag) == self.max_lag:
            return float(self.lag)
        before, best, after = self.r[self.lag + self.max_lag - 1 : self.lag + self.max_lag + 2]
        bend = before - 2 * best + after
        return self.lag + (float(0.5 * (before - after) / bend) if bend < 0 else 0.0)

    @property
    def best(self) -> float:
        """Correlation at that lag."""
        return float(self.r.max())

    @property
    def noise(self) -> float:
        """Spread of the correlation of two mouths that have nothing in common; neighbouring frames are alike."""
        return 2 / max(1, self.frames) ** 0.5

    @property
    def convincing_lag(self) -> float:
        """The fine lag if it explains clearly more than none does and lies within the search, else 0."""
        clear = self.best - self.unshifted > max(0.05, 2.5 * self.noise)
        return self.fine_lag if clear and abs(self.lag) < self.max_lag else 0.0

    @property
    def unshifted(self) -> float:
        """Correlation at lag 0."""
        return float(self.r[self.max_lag])


def correlations(got: Array, real: Array, max_lag: int = MAX_LAG) -> npt.NDArray[np.float64]:
    """Return the correlation of got[t] with real[t + lag] for every lag, (2 L + 1,); 0 for too few frames."""
    return np.nan_to_num(lag_correlations(got, real, max_lag, MIN_COMPARED_FRAMES, same_frames=True))


def openings(
    network: SpeechNetwork,
    model: MorphableModel,
    samples: npt.NDArray[np.float32],
    first: int,
    beta: Array,
    template: Array,
) -> tuple[Array, Array]:
    """Return the generated and the real mouth opening of a face dubbed with its own audio, each (T,).

    Args:
        network: Stage 1.
        model: The morphable model.
        samples: Audio at 16 kHz, loudness-normalised, (N,).
        first: Number of the first frame; frame j stands for time j / 25.
        beta: Expression from that frame on, (T, E).
        template: The speaker's shape as displacement from the mean face, (V, 3).
    """
    style = speaking_style(network, model, beta)
    offsets = generate(network, samples, first + len(beta), style, template)[first:]
    shape = model.mean + template
    generated = model.without_overlap(shape + offsets)
    return model.mouth_opening(generated), model.mouth_opening(shape + model.offsets(beta))


def agreement(
    network: SpeechNetwork,
    model: MorphableModel,
    samples: npt.NDArray[np.float32],
    first: int,
    beta: Array,
    template: Array,
) -> Agreement:
    """Return how the generated mouth follows the real one at each shift; arguments as of `openings`."""
    return compare_openings(*openings(network, model, samples, first, beta, template))


def compare_openings(got: Array, real: Array, max_lag: int = MAX_LAG) -> Agreement:
    """Return how a generated mouth opening (T,) follows the real one (T,) at each shift of up to `max_lag` frames."""
    return Agreement(correlations(got, real, max_lag), float(got.std() / max(real.std(), 1e-6)), len(real))


def pooled(parts: list[Agreement]) -> Agreement:
    """Return the agreement over several stretches of one recording, each counted by its frames."""
    frames = np.array([p.frames for p in parts], np.float64)
    r = np.average([p.r for p in parts], axis=0, weights=frames)
    return Agreement(r, float(np.average([p.articulation for p in parts], weights=frames)), int(frames.sum()))
