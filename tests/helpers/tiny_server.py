"""A server with tiny networks as a process of its own, which tests may kill.

    python -m helpers.tiny_server DATA PORT SEGMENT_FRAMES PAUSE [TOKENS]

Its workers are processes, too; PAUSE is slept at every step of the progress, so that there is time for a kill.
"""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path
from typing import Any

from personatalk.media import segments
from personatalk.pipeline.batch import JobOutcome
from personatalk.pipeline.options import WeightPaths
from personatalk.service import progress
from personatalk.service.options import ServiceOptions
from personatalk.service.server import serve
from personatalk.service.service import Service
from personatalk.service.tasks import Task, run_task
from personatalk.utils.processes import WorkerProcess


def work(segment_frames: int, pause: float, task: Task) -> JobOutcome:
    """Do a task with tiny networks, slowly."""
    from helpers import tiny  # needs PyTorch, for which the server itself does not wait

    segments.SEGMENT_FRAMES = segment_frames
    told = progress.ProgressFile.__call__

    def slowly(self: progress.ProgressFile, *step: Any) -> None:
        time.sleep(pause)
        told(self, *step)

    progress.ProgressFile.__call__ = slowly  # type: ignore[method-assign]
    try:
        with tiny.in_place(tiny.tiny_models()):
            return run_task(WeightPaths(), task)
    finally:
        progress.ProgressFile.__call__ = told  # type: ignore[method-assign]


def main() -> None:
    """Command line."""
    data, port, segment_frames, pause, *tokens = sys.argv[1:]
    task_work = functools.partial(work, int(segment_frames), float(pause))
    options = ServiceOptions(data=Path(data), port=int(port), tokens=Path(tokens[0]) if tokens else None)
    with Service(options, new_worker=lambda: WorkerProcess(task_work, 1)) as service:
        serve(service, lambda address: print(address, flush=True))


if __name__ == "__main__":
    main()
