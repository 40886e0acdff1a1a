"""The command `personatalk batch`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..pipeline.options import DubOptions, WeightPaths
from ..utils.options import with_options
from .dub import HEADINGS, add_dub_options
from .options import Commands, Groups, add_command, add_quiet, at_least

if TYPE_CHECKING:
    from ..pipeline.batch import JobOutcome
    from ..pipeline.batch_list import BatchJob
    from ..pipeline.batch_status import JobStatus


def add_batch(commands: Commands) -> None:
    """Add `personatalk batch`."""
    batch = add_command(
        commands,
        "batch",
        "dub a list of videos",
        "Dub what the lines of JOBS name, and write what became of each. One that fails does not stop the others. Run"
        " again, it does what is not done yet. Exit code 1 if any failed.",
        ["personatalk batch jobs.csv --workers 4", "personatalk batch jobs.csv --ray local --length pingpong"],
    )
    groups = Groups(batch, "batch", *HEADINGS)
    work = groups["batch"]
    work.add_argument("jobs", type=Path, metavar="JOBS.csv", help="columns video, speech, output; see docs/batch.md")
    work.add_argument(
        "--retries",
        type=at_least(0),
        default=1,
        metavar="N",
        help="more attempts after a crash or a bug (default: 1)",
    )
    work.add_argument("--workers", type=at_least(1), metavar="N", help="processes (default: 1; --ray local: all cores)")
    work.add_argument("--ray", metavar="ADDRESS", help="run on this Ray cluster instead; 'local' for a new one here")
    add_dub_options(groups)
    output = groups["output"]
    output.add_argument("-o", "--output", type=Path, metavar="STATUS.csv", help="default: JOBS.status.csv beside JOBS")
    add_quiet(output, "only the summary")
    batch.set_defaults(run=batch_command)


def batch_command(given: argparse.Namespace) -> int:
    """Run `personatalk batch`."""
    from ..pipeline import batch
    from ..pipeline.batch_list import check_jobs, read_jobs
    from ..pipeline.batch_status import DONE, FAILED, SKIPPED

    status = given.output or given.jobs.with_suffix(".status.csv")
    jobs = read_jobs(given.jobs, with_options(DubOptions(), vars(given)))
    check_jobs(given.jobs, jobs, status)
    weights = with_options(WeightPaths(), vars(given))
    on_ray = given.ray is not None
    weights.check(on_ray)  # what is wrong is told once, not by every job
    table = batch.run_batch(
        jobs,
        status,
        weights=weights,
        executor=batch.on_ray(given.ray, given.workers) if on_ray else batch.on_processes(given.workers or 1),
        retries=given.retries,
        on_outcome=None if given.quiet else show_outcome,
    )
    counts = {state: sum(row.status == state for row in table) for state in (DONE, SKIPPED, FAILED)}
    print(f"{status}: " + ", ".join(f"{count} {state}" for state, count in counts.items()))
    return 1 if counts[FAILED] else 0


def show_outcome(job: BatchJob, status: JobStatus, outcome: JobOutcome) -> None:
    """Print what one attempt at a job came to."""
    if outcome.trace:
        print(outcome.trace, file=sys.stderr)
    word = f"{status.status}, tried again later" if status.status == "waiting" else status.status
    print(f"{job.output}: {word} ({outcome.seconds:.1f} s) {status.error}".rstrip(), flush=True)
