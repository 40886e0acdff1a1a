"""Does the style encoder know its people? AUC of one speaker's windows against two speakers', with its interval.

    python benchmarks/style.py DATASET [--split val] [--style FILE]

Windows share no frame. The interval is over speakers drawn with replacement.
"""

from __future__ import annotations

import argparse

import numpy as np

from personatalk.stage1.style_similarity import StyleSimilarityEncoder, auc, same_speaker
from personatalk.training.data.shards import read_datasets
from personatalk.training.style import clips_by_speaker


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="+")
    parser.add_argument("--split", default="val")
    parser.add_argument("--style")
    given = parser.parse_args()
    encoder = StyleSimilarityEncoder.load(given.style)
    styles: dict[str, list[np.ndarray]] = {}
    for speaker, rows in clips_by_speaker(read_datasets(given.dataset, [given.split])).items():
        for row in rows:
            beta = row.load(crops=False).beta_at_clock()[1]
            parts = np.array_split(beta, max(1, round(len(beta) / encoder.LENGTH)))
            styles.setdefault(speaker, []).extend(encoder.embed(part) for part in parts)

    def measured(names: list[str]) -> tuple[float, float, float]:
        labels = [f"{n} {i}" for i, n in enumerate(names) for _ in styles[n]]
        same, different = same_speaker(np.stack([s for n in names for s in styles[n]]), labels)
        return auc(same, different), float(same.mean()), float(different.mean())

    names, random = sorted(styles), np.random.default_rng(0)
    value, same, different = measured(names)
    drawn = []
    for _ in range(1000):
        # A speaker drawn twice would be compared with himself as with another: once is enough.
        drawn.append(measured(sorted({names[i] for i in random.integers(len(names), size=len(names))}))[0])
    low, high = np.quantile(drawn, [0.025, 0.975])
    print(f"{len(names)} speakers, {sum(map(len, styles.values()))} windows")
    print(f"AUC {value:.3f} [{low:.3f}, {high:.3f}]; cosine of one speaker {same:.2f}, of two {different:.2f}")


if __name__ == "__main__":
    main()
