"""The options of `personatalk data prepare`, with their meanings and defaults.

This module loads nothing heavy, so that the command line can list the options at once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...utils.options import check_options, option

# Heading of the criteria in the help.
KEPT = "what is kept"


@dataclass(frozen=True)
class PrepareOptions:
    """The criteria by which clips are kept. All of them are in the manifest of the data set.

    Raises:
        PersonaTalkError: A number is out of its range.
    """

    split: str = option("train", "split that the sources belong to", metavar="NAME", group=KEPT)
    min_seconds: float = option(1.0, "seconds of the shortest clip", metavar="NUMBER", group=KEPT, least=0.1)
    max_seconds: float = option(
        10.0,
        "seconds of the longest clip; longer stretches are divided evenly",
        metavar="NUMBER",
        group=KEPT,
        least=0.1,
    )
    min_eye_distance: float = option(
        32.0,
        "least pixels between the outer corners of the eyes, median over a clip",
        metavar="NUMBER",
        group=KEPT,
        least=0,
    )
    min_speech: float = option(
        0.3,
        "least share of speech in a clip; a video without any audio is kept as mute",
        metavar="NUMBER",
        group=KEPT,
        least=0,
    )
    min_sync: float = option(
        0.15,
        "least correlation of the mouth's opening with stage 1's at the best offset; more is asked of a short"
        " recording, where chance alone agrees; 0 keeps all",
        metavar="NUMBER",
        group=KEPT,
        least=0,
    )
    max_niqe: float = option(0.0, "largest NIQE of a clip's crops; 0 keeps all", metavar="NUMBER", group=KEPT, least=0)
    min_hyperiqa: float = option(40.0, "least score of HyperIQA, with --hyperiqa", metavar="NUMBER", group=KEPT)
    quality_model: Path | None = option(
        None, "NIQE's model of good images", otherwise="the package's", metavar="FILE", group="models"
    )
    hyperiqa: Path | None = option(
        None, "weights of HyperIQA, to be used instead of NIQE", metavar="FILE", group="models"
    )
    morphable: Path | None = option(None, "morphable model", otherwise="the package's", metavar="FILE", group="models")
    stage1: Path | None = option(
        None, "stage 1 weights that judge the offset", otherwise="the package's", metavar="FILE", group="models"
    )

    def __post_init__(self) -> None:
        check_options(self)

    def as_json(self) -> dict[str, Any]:
        """Return the options as values that JSON can hold."""
        return {name: value.as_posix() if isinstance(value, Path) else value for name, value in asdict(self).items()}
