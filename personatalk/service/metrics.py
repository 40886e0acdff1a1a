"""Figures for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric

from ..version import __version__

if TYPE_CHECKING:
    from .service import Service

# Content type of the figures.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Collector:
    """Reads the figures when they are asked for, so that a server that starts again goes on counting."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def collect(self) -> Iterable[Metric]:
        """Return the figures."""
        jobs = GaugeMetricFamily("personatalk_jobs", "Jobs that are kept", labels=["kind", "state"])
        for (kind, state), count in self.service.store.counts().items():
            jobs.add_metric([kind, state], count)
        yield jobs
        seconds = GaugeMetricFamily(
            "personatalk_job_seconds", "Time that the jobs that are kept and done took", labels=["kind"]
        )
        for kind, total in self.service.store.seconds().items():
            seconds.add_metric([kind], total)
        yield seconds
        yield GaugeMetricFamily("personatalk_disk_bytes", "Bytes that all jobs take", self.service.folders.used())
        limit = 1e9 * self.service.options.limits.disk_gb
        yield GaugeMetricFamily("personatalk_disk_limit_bytes", "Bytes that all jobs may take", limit)
        yield InfoMetricFamily("personatalk", "The program", {"version": __version__})


class Metrics:
    """The figures of a service.

    Args:
        service: The service.
    """

    def __init__(self, service: Service) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(service))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Return all figures as Prometheus reads them."""
        return generate_latest(self._registry)
