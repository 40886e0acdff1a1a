"""The options of `personatalk data prepare`, with their meanings and defaults.

This module loads nothing heavy, so that the command line can list the options at once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...utils.options import check_options, option


@dataclass(frozen=True)
class PrepareOptions:
    """The criteria by which clips are kept. All of them are in the manifest of the data set.

    Raises:
        PersonaTalkError: A number is out of its range.
    """

    split: str = option("train", "split that the sources belong to")
    min_seconds: float = option(1.0, "seconds of the shortest clip", least=0.1)
    max_seconds: float = option(10.0, "seconds of the longest clip; longer stretches are divided evenly", least=0.1)
    min_eye_distance: float = option(
        32.0, "least pixels between the outer corners of the eyes, median over a clip", least=0
    )
    min_speech: float = option(
        0.3, "least share of speech in a clip; a video without any audio is kept as mute", least=0
    )
    min_sync: float = option(
        0.15,
        "least correlation of the mouth's opening with stage 1's at the best offset; more is asked of a short"
        " recording, where chance alone agrees; 0 keeps all",
        least=0,
    )
    max_niqe: float = option(0.0, "largest NIQE of a clip's crops; 0 keeps all", least=0)
    quality_model: Path | None = option(None, "NIQE's model of good images (default: the package's)", metavar="FILE")
    hyperiqa: Path | None = option(None, "weights of HyperIQA, to be used instead of NIQE", metavar="FILE")
    min_hyperiqa: float = option(40.0, "least score of HyperIQA")
    morphable: Path | None = option(None, "morphable model (default: the package's)", metavar="FILE")
    stage1: Path | None = option(None, "stage 1 weights that judge the offset (default: the package's)", metavar="FILE")
    face_model: Path | None = option(
        None, "MediaPipe Tasks face landmarker (default: MediaPipe's face mesh)", metavar="FILE"
    )

    def __post_init__(self) -> None:
        check_options(self)

    def as_json(self) -> dict[str, Any]:
        """Return the options as values that JSON can hold."""
        return {name: value.as_posix() if isinstance(value, Path) else value for name, value in asdict(self).items()}
