"""Measures the videos of another system against the real ones, and writes the report.

python examples/measure_another_system.py REAL_FOLDER GENERATED_FOLDER REPORT_FOLDER

Videos are paired by their names. A metric whose network is not there is left out: docs/evaluation.md lists them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import personatalk


def main(arguments: Sequence[str]) -> None:
    """Measure every generated video that has a real one of the same name."""
    real, generated, report = map(Path, arguments)
    pairs = [(path, generated / path.name) for path in sorted(real.iterdir()) if (generated / path.name).is_file()]
    table = personatalk.evaluate(pairs, report, row="another system")
    for metric, cell in table["another system"].items():
        print(f"{metric}: {cell.mean:.3f} [{cell.low:.3f}, {cell.high:.3f}] over {cell.count} videos")


if __name__ == "__main__":
    main(sys.argv[1:])
