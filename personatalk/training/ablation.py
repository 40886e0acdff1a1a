"""Table 4 of the paper at a small scale: trains the networks with and without their parts, and compares.

Stage 1 is judged by how its mouth follows the real one on speakers never seen, stage 2 by its images, with true
geometry. All variants of a stage see the same samples in the same order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import PersonaTalkError
from .config import Stage1Config, Stage2Config
from .config_files import read_config
from .data.shards import write_json
from .engine import fit, make_fabric
from .stage1 import Stage1Task
from .stage2 import Stage2Task

# Stage and changed fields of every row.
VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "stage 1, full": ("stage1", ()),
    "w/o style": ("stage1", ("use_style=false",)),
    "stage 2, full": ("stage2", ()),
    "w/o Face-Attention": ("stage2", ("use_face=false",)),
    "w/o Lip-Attention": ("stage2", ("use_lip=false",)),
    "w/o frame selection": ("stage2", ("use_selection=false",)),
}


def run_folder(runs: Path, name: str) -> Path:
    """Return the folder of a variant's training."""
    return runs / name.replace("/", "").replace(",", "").replace(" ", "_")


def ablation_weights(runs: Path) -> dict[str, tuple[Path, Path]]:
    """Return the weights of stage 1 and stage 2 for every row of Table 4, from the folder that `ablate` wrote.

    Each row takes one stage without a part and the other in full.

    Raises:
        PersonaTalkError: A variant's training has not ended.
    """
    full = {stage: f"stage {stage[-1]}, full" for stage in ("stage1", "stage2")}
    rows = {}
    for name, (stage, switches) in {"full": ("", ()), **VARIANTS}.items():
        if name in full.values():
            continue
        chosen = {**full, **({stage: name} if switches else {})}
        files = [run_folder(runs, chosen[s]) / "best.safetensors" for s in ("stage1", "stage2")]
        for file in files:
            if not file.is_file():
                raise PersonaTalkError(f"{file}: not there; let 'personatalk ablate' end first")
        rows[name] = (files[0], files[1])
    return rows


def ablate(
    datasets: Sequence[str],
    output: Path,
    changes: dict[str, list[str]],
    morphable: Path | None = None,
    accelerator: str = "auto",
    on_row: Callable[[str], None] = print,
) -> dict[str, dict[str, float]]:
    """Train and judge all variants; those that are done already are not trained again.

    Args:
        datasets: Data sets with splits "train" and "val".
        output: Folder of the runs, and of `ablation.json`.
        changes: Fields to change in all runs of "stage1" and "stage2", each "FIELD=VALUE".
        morphable: The morphable model; the package's where None.
        accelerator: As Lightning Fabric takes it.
        on_row: Called with every line of the table.

    Returns:
        Figures by variant.

    Raises:
        PersonaTalkError: A data set, weights file or configuration cannot be read.
    """
    table: dict[str, dict[str, float]] = {}
    for name, (stage, switches) in VARIANTS.items():
        run = run_folder(output, name)
        wanted = [*changes.get(stage, []), f"datasets={json.dumps(list(datasets))}", *switches]
        table[name] = _train(stage, wanted, run, morphable, accelerator)
        write_json(output / "ablation.json", table)
        on_row(f"| {name} | " + " | ".join(f"{k} {v:.3f}" for k, v in table[name].items()) + " |")
    return table


def _train(stage: str, changes: list[str], run: Path, morphable: Path | None, accelerator: str) -> dict[str, float]:
    """Train one variant and return its last figures."""
    if stage == "stage1":
        first = read_config(Stage1Config, changes=changes)
        return fit(Stage1Task.from_config(first, morphable), first, run, make_fabric(first, accelerator, 1))
    second = read_config(Stage2Config, changes=changes)
    return fit(Stage2Task.from_config(second, morphable), second, run, make_fabric(second, accelerator, 1))
