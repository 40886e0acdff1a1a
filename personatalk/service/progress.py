"""Progress of a job, told by the process that works on it through a file in the job's folder."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..utils import processes
from ..utils.files import atomic_write

# Name of the file, and seconds between two writings of it.
FILE, PERIOD = "progress.json", 0.25

# Calls of a stage that tell nothing of its speed: what a run before this one has done, and a step that loads much.
UNUSUAL = 2


@dataclass
class StageProgress:
    """Progress of one stage.

    Attributes:
        name: Of the stage.
        done: Steps that are done.
        total: Steps in all; 0: unknown.
        seconds: That it took so far.
        left: Seconds that it will take yet, as far as can be told; None where it cannot.
    """

    name: str
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    left: float | None = None


@dataclass
class JobProgress:
    """Progress of a job: its stages, the last of which is being worked on."""

    stages: list[StageProgress] = field(default_factory=list)


class ProgressFile:
    """Writes the progress of a job; what `utils.progress.Progress` is.

    Args:
        folder: The job's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._progress = JobProgress()
        self._began = self._written = 0.0
        # From where on the speed is measured: time and steps, and calls of the stage.
        self._since, self._first, self._calls = 0.0, 0, 0

    def __call__(self, stage: str, steps: int, total: int) -> None:
        """Take note of steps that are done, unless the process is asked to end.

        Raises:
            KeyboardInterrupt: It is.
        """
        processes.interrupt.check()
        now = time.monotonic()
        stages = self._progress.stages
        if not stages or stages[-1].name != stage:
            stages.append(StageProgress(stage))
            self._began, self._written, self._calls = now, 0.0, 0
        last = stages[-1]
        last.done, last.total, last.seconds = last.done + steps, total, round(now - self._began, 2)
        self._calls += 1
        if self._calls <= UNUSUAL:
            self._since, self._first = now, last.done
        new = last.done - self._first
        last.left = round((now - self._since) / new * max(0, total - last.done), 1) if total and new > 0 else None
        if now - self._written >= PERIOD or last.done == total:
            self._written = now
            with atomic_write(self._path) as draft:
                draft.write_text(json.dumps(asdict(self._progress)))


def read_progress(folder: Path) -> JobProgress:
    """Return the progress of the job in a folder, as far as it was told."""
    try:
        stages = json.loads((folder / FILE).read_bytes())["stages"]
        return JobProgress([StageProgress(**stage) for stage in stages])
    except (OSError, ValueError, KeyError, TypeError):
        return JobProgress()
