"""The thread that throws old jobs away and sends what the webhook is due."""

from __future__ import annotations

import logging
import threading
import time

from .folders import JobFolders
from .jobs import JobStore
from .webhook import Webhook

# Seconds between two rounds.
PERIOD = 1.0

log = logging.getLogger("personatalk.service")


class Housekeeping(threading.Thread):
    """Throws away what is old, and sends what is due.

    Args:
        store: The jobs.
        folders: Their folders.
        keep_seconds: Seconds after which a finished job is thrown away.
        webhook: Told of jobs that ended; None for nobody.
    """

    def __init__(self, store: JobStore, folders: JobFolders, keep_seconds: float, webhook: Webhook | None) -> None:
        super().__init__(name="housekeeping", daemon=True)
        self.store, self.folders, self.keep_seconds, self.webhook = store, folders, keep_seconds, webhook
        self._stopped = threading.Event()

    def run(self) -> None:
        """Run until `stop` is called."""
        while not self._stopped.wait(PERIOD):
            try:
                self.tidy(time.time() - self.keep_seconds)
                if self.webhook is not None:
                    self.webhook.deliver(self.store)
            except Exception:
                log.exception("housekeeping")

    def tidy(self, before: float) -> None:
        """Delete jobs that are marked to be, or were over before a time."""
        for job in self.store.disposable(before):
            self.folders.remove(job.id)
            self.store.remove(job.id)

    def stop(self) -> None:
        """End soon."""
        self._stopped.set()
        if self.is_alive():
            self.join()
