"""How well is a language heard of which the training has no speaker? By the linear map of stage 1, on data sets.

    python benchmarks/languages.py TRAIN ... --held-out VAL ... --table manifest.csv --without pl zh es

The data sets are those of `personatalk data prepare`. Fitted in closed form, the map is cheap enough to be found again
for each language without all of its speakers. Printed are correlations of the mouth's opening with the real one, at the
best lag: of the speakers left out, and of the people held out by language.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from own_sound import around_frames

from personatalk.geometry.morphable_model import MorphableModel
from personatalk.stage1.agreement import compare_openings
from personatalk.stage1.network import GeometryGenerator
from personatalk.training.config import Stage1Config
from personatalk.training.data.shards import read_datasets
from personatalk.training.ridge import RidgeRegression
from personatalk.utils.arrays import Array

# Frames of the shortest clip that is compared.
SHORTEST = 40


@dataclass(frozen=True)
class Clip:
    """A clip: its speaker and language, features around each frame (T, N), expressions (T, E), and shape (V, 3)."""

    speaker: str
    language: str
    inputs: Array
    beta: Array
    shape: Array

    def opening(self, model: MorphableModel, beta: Array) -> Array:
        """Return the mouth opening under expressions, (T,)."""
        return model.mouth_opening(model.without_overlap(self.shape + model.offsets(beta)))

    def r(self, model: MorphableModel, linear: Array) -> float:
        """Return the correlation under a linear map (N, E), with the clip's own mean."""
        guessed = self.beta.mean(axis=0) + (self.inputs - self.inputs.mean(axis=0)) @ linear
        return compare_openings(self.opening(model, guessed), self.opening(model, self.beta)).best


def read_clips(
    datasets: Sequence[Path], network: GeometryGenerator, model: MorphableModel, languages: dict[str, str]
) -> Iterator[Clip]:
    """Read the clips one after the other; their features are large."""
    for entry in read_datasets(datasets, ["train", "val"], with_audio=True):
        clip = entry.load(crops=False)
        first, beta = clip.beta_at_clock()
        with torch.inference_mode():
            states = network.audio.states(torch.from_numpy(clip.samples())[None])
            inputs = around_frames(network.audio, states)[first : first + len(beta)]
        language = languages.get(str(clip.about["source"]).rpartition("_")[0], "")
        if len(inputs):  # there are videos whose sound ends before the first face
            yield Clip(clip.speaker, language, inputs, beta[: len(inputs)], model.shape(clip.alpha))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--held-out", nargs="+", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True, help="CSV with the columns file and language")
    parser.add_argument("--without", nargs="+", required=True, help="languages, each left out once")
    given = parser.parse_args()
    with given.table.open(newline="", encoding="utf-8") as file:
        # Of "zh-TW" and "en (Indian)" the language counts.
        languages = {Path(row["file"]).stem: row["language"][:2] for row in csv.DictReader(file)}
    network, model = GeometryGenerator.load(), MorphableModel.load()
    maps = {language: RidgeRegression(Stage1Config().ridge) for language in given.without}
    left_out = list[Clip]()
    for clip in read_clips(given.datasets, network, model, languages):
        spread = float(clip.opening(model, clip.beta).std())
        for language, ridge in maps.items():
            if clip.language != language and spread > 0:
                ridge.add(clip.inputs, clip.beta / spread, spread)
        left_out += [clip] if clip.language in maps else []
    held_out = [c for c in read_clips(given.held_out, network, model, languages) if len(c.beta) >= SHORTEST]
    for language, ridge in maps.items():
        found, linear = defaultdict[str, list[float]](list), ridge.solve()
        for clip in held_out:
            found[f"held out, {clip.language or 'not told'}"].append(clip.r(model, linear))
        for clip in left_out:
            if clip.language == language:
                found[f"left out, {clip.language}, {clip.speaker}"].append(clip.r(model, linear))
        print(f"without {language}:")
        for name, values in found.items():
            print(f"  {name}: {len(values)} clips, r {np.mean(values):.3f}", flush=True)


if __name__ == "__main__":
    main()
