"""What a monitor reads: counts and durations of jobs, as Prometheus text."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from mzsr.service.store import FINAL, Job, Store

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Counters:
    """The metrics of one server; nothing of them is global."""

    def __init__(self, store: Store, workers: int, limit: int) -> None:
        """Begin at nought; what waits and runs is read from the store whenever somebody asks."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._ended = Counter("mzsr_jobs", "Jobs that ended, by how.", ["state"], registry=self._registry)
        for state in FINAL:
            self._ended.labels(state)
        self._seconds = Histogram(
            "mzsr_job_seconds", "Seconds that jobs took which were done.", registry=self._registry,
            buckets=(0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600),
        )  # fmt: skip
        self.refused = Counter("mzsr_refused", "Requests that were refused, by status.", ["status"],
                               registry=self._registry)  # fmt: skip
        self.received = Counter("mzsr_received_bytes", "Bytes of pictures that were taken in.", registry=self._registry)
        Gauge("mzsr_workers", "Worker processes.", registry=self._registry).set(workers)
        Gauge("mzsr_queue_limit", "Jobs that may wait.", registry=self._registry).set(limit)
        self._registry.register(_Kept(store.counts))

    def ended(self, job: Job) -> None:
        """Count a job that ended."""
        self._ended.labels(job.state).inc()
        if job.state == "done" and job.started is not None and job.finished is not None:
            self._seconds.observe(job.finished - job.started)

    def text(self) -> bytes:
        """Return all of it."""
        return generate_latest(self._registry)


class _Kept(Collector):
    """How many jobs the store holds in each state, counted when it is asked."""

    def __init__(self, counts: Callable[[], dict[str, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[GaugeMetricFamily]:
        counts = self._counts()
        family = GaugeMetricFamily("mzsr_jobs_kept", "Jobs that are kept, by state.", labels=["state"])
        for state in ("queued", "running", *FINAL):
            family.add_metric([state], counts.get(state, 0))
        yield family
