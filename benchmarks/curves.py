"""Draws a figure of several trainings over their steps, from TensorBoard's files.

python benchmarks/curves.py LABEL=RUN ... --figure val/r -o PICTURE.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="LABEL=RUN")
    parser.add_argument("--figure", required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    axes = plt.figure(figsize=(7, 3.6), layout="constrained").gca()
    for word in given.runs:
        label, _, run = word.rpartition("=")
        events = EventAccumulator(run)
        events.Reload()
        points = events.Scalars(given.figure)
        axes.plot([p.step for p in points], [p.value for p in points], marker=".", label=label)
    axes.set(xlabel="steps", ylabel=given.figure)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    plt.savefig(given.output, dpi=110)


if __name__ == "__main__":
    main()
