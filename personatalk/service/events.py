"""Server-sent events: the state of a job whenever it changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from .jobs import ENDED
from .views import JobView

# Seconds between two looks at a job, and between two comments that keep a connection open.
PERIOD, KEEP_ALIVE = 0.3, 15.0


async def job_events(look: Callable[[], JobView | None]) -> AsyncIterator[str]:
    """Yield a job's events: `job` with the job as JSON whenever it has changed, until it is over, or `gone`.

    Args:
        look: Returns the job; None once it is deleted.
    """
    last, spoken = "", time.monotonic()
    while True:
        job = await asyncio.to_thread(look)
        if job is None:
            yield "event: gone\ndata: {}\n\n"
            return
        text = job.model_dump_json()
        if text != last:
            last, spoken = text, time.monotonic()
            yield f"event: job\ndata: {text}\n\n"
        elif time.monotonic() - spoken > KEEP_ALIVE:
            spoken = time.monotonic()
            yield ": still here\n\n"
        if job.state in ENDED:
            return
        await asyncio.sleep(PERIOD)
