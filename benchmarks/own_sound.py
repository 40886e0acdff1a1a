"""What would it gain to learn from a speaker's own speech? Measured in geometry, on data sets.

    python benchmarks/own_sound.py DATASET ... [--stage1 FILE] [--seconds 5 10 20 40 60]

The data sets are those of `personatalk data prepare`. A linear map from features of the sound to what stage 1 leaves of
the mouth's opening is fitted in closed form, with stage 1 as the prior, to the first seconds of all clips of a speaker,
and tried on the rest; then to the last seconds. Only what it is fitted to chooses the ridge, by leaving out one stretch
after the other, and whether there is a map at all. Printed are correlations of the opening with the real one, means of
stretches of 2.5 s at their best lags.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from personatalk.audio.encoder import CONTEXT_FEATURES, AudioEncoder
from personatalk.geometry.morphable_model import MorphableModel
from personatalk.stage1.agreement import correlations
from personatalk.stage1.inference import speaking_style
from personatalk.stage1.network import GeometryGenerator
from personatalk.training.data.shards import read_datasets
from personatalk.utils.arrays import Array
from personatalk.utils.correlation import without_lag

# Frames of a stretch, and of the shortest one.
STRETCH, SHORTEST = 63, 40
# Ridges that are tried, over the mean variance of the inputs summed over their number; without end: no map.
RIDGES = (3.0, 10.0, 30.0, 100.0, np.inf)
# Frames by which a mouth may be late.
MAX_LAG = 7
# Stretches that are tried at least.
FEWEST = 2


@dataclass(frozen=True)
class Stretch:
    """Some frames of a speaker.

    Attributes:
        inputs: Features of the sound around each frame, (T, N).
        generic: Opening that stage 1 gives, (T,).
        real: The real one, (T,).
    """

    inputs: Array
    generic: Array
    real: Array

    def centred(self, lag: int) -> tuple[Array, Array, Array]:
        """Return all three about their means, with a lag of the real mouth undone."""
        inputs, real = without_lag(self.inputs, self.real, lag)
        generic, _ = without_lag(self.generic, self.real, lag)
        return inputs - inputs.mean(axis=0), generic - generic.mean(), real - real.mean()


@dataclass(frozen=True)
class OwnSound:
    """What is added to stage 1: opening = scale * generic + inputs @ weights."""

    scale: float
    weights: Array

    @classmethod
    def fit(cls, stretches: Sequence[Stretch], ridge: float) -> OwnSound:
        """Fit to stretches, at the lag at which stage 1 agrees best with them."""
        lag = int(np.mean([correlations(s.generic, s.real, MAX_LAG) for s in stretches], axis=0).argmax()) - MAX_LAG
        inputs, generic, real = (np.concatenate(p) for p in zip(*(s.centred(lag) for s in stretches), strict=True))
        scale = max(0.1, float(generic @ real / (generic @ generic + 1e-9)))
        if np.isinf(ridge):
            return cls(scale, np.zeros(inputs.shape[1], np.float32))
        kernel = inputs @ inputs.T
        kernel[np.diag_indices(len(kernel))] += ridge * np.trace(kernel) / len(kernel)
        return cls(scale, inputs.T @ np.linalg.solve(kernel, real - scale * generic))

    @classmethod
    def chosen(cls, stretches: Sequence[Stretch]) -> OwnSound:
        """Fit with the ridge under which stretches that are left out agree best."""
        scores = []
        for ridge in RIDGES:
            parts = ((cls.fit([*stretches[:i], *stretches[i + 1 :]], ridge), s) for i, s in enumerate(stretches))
            scores.append(np.mean([own.r(stretch) for own, stretch in parts]))
        return cls.fit(stretches, RIDGES[int(np.argmax(scores))])

    def r(self, stretch: Stretch) -> float:
        """Return the correlation with the real opening, at the best lag."""
        inputs, generic, _ = stretch.centred(0)
        return float(correlations(self.scale * generic + inputs @ self.weights, stretch.real, MAX_LAG).max())


def halves(stretches: list[Stretch], seconds: float) -> Iterator[tuple[list[Stretch], list[Stretch]]]:
    """Yield what is learnt from and what it is tried on, from either end; nothing if there is not enough."""
    count = round(seconds * 25 / STRETCH)
    if len(stretches) >= count + FEWEST:
        for order in (stretches, stretches[::-1]):
            yield order[:count], order[count:]


def read_speakers(
    datasets: Sequence[Path], network: GeometryGenerator, model: MorphableModel
) -> dict[str, list[Stretch]]:
    """Read the stretches of each speaker, in order."""
    speakers: dict[str, list[Stretch]] = defaultdict(list)
    for entry in read_datasets(datasets, ["train", "val"], with_audio=True):
        clip = entry.load(crops=False)
        first, beta = clip.beta_at_clock()
        if len(beta) < SHORTEST:
            continue
        shape = model.shape(clip.alpha)
        style = torch.from_numpy(speaking_style(network, model, beta))
        with torch.inference_mode():
            states = network.audio.states(torch.from_numpy(clip.samples())[None])
            template = torch.from_numpy(shape - model.mean)[None]
            said = network.decode_features(network.audio.features(states), style, template)[0].numpy()
            inputs = around_frames(network.audio, states)
        last = min(first + len(beta), len(said), len(inputs))
        generic = model.mouth_opening(model.without_overlap(shape + said[first:last]))
        real = model.mouth_opening(shape + model.offsets(beta[: last - first]))
        for at in range(0, len(real) - SHORTEST + 1, STRETCH):
            part = slice(at, at + STRETCH)
            speakers[clip.speaker].append(Stretch(inputs[first:last][part], generic[part], real[part]))
    return speakers


def around_frames(audio: AudioEncoder, states: torch.Tensor) -> Array:
    """Return the features around each frame that the linear map of stage 1 sees, (T, N)."""
    mixed = audio.mixed(states, audio.first_mix)[0]
    edges = torch.nn.functional.pad(mixed, (0, 0, CONTEXT_FEATURES, CONTEXT_FEATURES - 1))
    found: Array = edges.unfold(0, 2 * CONTEXT_FEATURES, 1)[::2].flatten(1).numpy()
    return found


def measure(speakers: dict[str, list[Stretch]], seconds: float) -> list[dict[str, Any]]:
    """Return rows by speaker and end."""
    rows = []
    for speaker, stretches in speakers.items():
        for learnt, tried in halves(stretches, seconds):
            found = {f"ridge {ridge:g}": OwnSound.fit(learnt, ridge) for ridge in RIDGES}
            found["chosen"] = OwnSound.chosen(learnt)
            r = {name: float(np.mean([own.r(s) for s in tried])) for name, own in found.items()}
            rows.append({"speaker": speaker, "seconds": seconds, **r})
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--stage1", type=Path)
    parser.add_argument("--seconds", type=float, nargs="+", default=[5.0, 10.0, 20.0, 40.0, 60.0])
    parser.add_argument("-o", "--output", type=Path, help="JSON file of all rows")
    given = parser.parse_args()
    speakers = read_speakers(given.datasets, GeometryGenerator.load(given.stage1), MorphableModel.load())
    rows = []
    for seconds in given.seconds:
        found = measure(speakers, seconds)
        rows += found
        generic = [row["ridge inf"] for row in found]
        print(f"{seconds:g} s: {len(found)} halves, r of stage 1 {np.mean(generic or [np.nan]):.3f}", flush=True)
        for name in found[0] if found else ():
            if name not in ("speaker", "seconds", "ridge inf"):
                gains = [row[name] - row["ridge inf"] for row in found]
                middle, least = np.median(gains), min(gains)
                print(f"  {name}: gain {np.mean(gains):.3f}, median {middle:.3f}, least {least:.3f}", flush=True)
    if given.output is not None:
        given.output.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
