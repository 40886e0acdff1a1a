"""The context of one run, which its steps share."""

from __future__ import annotations

from dataclasses import dataclass

from ..media.reader import VideoReader
from ..media.segments import JobFolder
from ..media.still import StillVideo
from ..utils.progress import Progress
from .options import DubOptions
from .report import Report
from .weights import Models


@dataclass(frozen=True)
class RunContext:
    """The context of one run.

    Attributes:
        reader: The source.
        models: The trained parts.
        folder: Where finished parts are kept until the output is written.
        options: The user's choices.
        report: Record of what is done.
        on_progress: Told about the progress.
        still: The source, where it is made of a still image.
    """

    reader: VideoReader
    models: Models
    folder: JobFolder
    options: DubOptions
    report: Report
    on_progress: Progress
    still: StillVideo | None = None
