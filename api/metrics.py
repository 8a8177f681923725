"""`/metrics`: what the process counts itself, and what the database holds when it is asked.

No label ever holds a repository's name, an id or a path; a route is labelled by its template.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from registry.db import gauges
from registry.db.operations import count_open
from registry.db.session import Database
from registry.db.workers import SEEN_LATELY, Worker, find_quota, list_living
from registry.errors import DatabaseNotMigrated, DatabaseUnavailable


class Requests:
    """Requests by method, route and status, and how long they took."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._count = Counter(
            "loadplan_http_requests",
            "Requests answered",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "loadplan_http_request_seconds",
            "Time to the first byte",
            ["route"],
            registry=registry,
            buckets=(0.005, 0.02, 0.05, 0.15, 0.5, 2, 10),
        )

    def note(self, method: str, route: str | None, status: int, seconds: float) -> None:
        known = route or "none"
        self._count.labels(method, known, str(status)).inc()
        self._seconds.labels(known).observe(seconds)


class Held(Collector):
    """What the database holds. While it is away `loadplan_database_up` is 0 and the rest is left
    out: unknown is not zero."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("loadplan_database_up", "1 while the database answers")

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("loadplan_database_up", "1 while the database answers")
        try:
            families = list(self._families())
        except (DatabaseUnavailable, DatabaseNotMigrated):
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield from families

    def _families(self) -> Iterator[Metric]:
        with self._database.reading() as connection:
            waiting = count_open(connection)
            over = gauges.count_over(connection)
            records = gauges.count_records(connection)
            proofs = gauges.count_proofs(connection)
            taken_over = gauges.count_taken_over(connection)
            times = gauges.list_event_times(connection)
            living = list_living(connection, seconds=SEEN_LATELY)
        jobs = GaugeMetricFamily(
            "loadplan_jobs", "Operations that are kept", labels=["kind", "state"]
        )
        for kind, state, count in [(k, s, n) for k, s, n, _ in waiting] + over:
            jobs.add_metric([kind, state], count)
        yield jobs
        yield _oldest(waiting)
        recovered = GaugeMetricFamily(
            "loadplan_jobs_recovered", "Kept operations that a second worker took up"
        )
        recovered.add_metric([], taken_over)
        yield recovered
        by_status = GaugeMetricFamily("loadplan_records", "Records listed", labels=["status"])
        for status, count in records:
            by_status.add_metric([status], count)
        yield by_status
        outcomes = GaugeMetricFamily("loadplan_proofs", "Proofs run", labels=["outcome", "device"])
        for outcome, device, count in proofs:
            outcomes.add_metric([outcome, device], count)
        yield outcomes
        seconds = [(finished - received).total_seconds() for received, finished in times]
        yield SummaryMetricFamily(
            "loadplan_webhook_to_record_seconds",
            "From the Hub's event to the end of its scan, the last thousand",
            count_value=len(seconds),
            sum_value=sum(seconds),
        )
        yield _quota(living)


def make_registry(database: Database) -> tuple[CollectorRegistry, Requests]:
    """A registry of this application's own, so that two in one process do not meet."""
    registry = CollectorRegistry()
    registry.register(Held(database))
    return registry, Requests(registry)


def _quota(living: Sequence[Worker]) -> Metric:
    """What is unknown has no sample."""
    left = GaugeMetricFamily(
        "loadplan_hub_quota_remaining",
        "Requests that the Hub leaves the workers in this window",
        labels=["bucket"],
    )
    for quota in find_quota(living, datetime.now(UTC)):
        left.add_metric([quota.bucket], quota.remaining)
    return left


def _oldest(waiting: list[tuple[str, str, int, datetime]]) -> Metric:
    now = datetime.now(UTC)
    ages = GaugeMetricFamily(
        "loadplan_oldest_job_age_seconds", "Age of the oldest open operation", labels=["kind"]
    )
    for kind in dict.fromkeys(kind for kind, *_ in waiting):
        oldest = min(created for known, _, _, created in waiting if known == kind)
        ages.add_metric([kind], (now - oldest).total_seconds())
    return ages
