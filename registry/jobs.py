"""Jobs: what the engine will run, written down in the caller's transaction.

A job is one workflow of the engine for one operation. The first job of an operation has the
operation's id; a later one (the next stage, another try) has the id with a suffix, because an id
that the engine has finished is never run again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, EnqueueOptions, WorkflowSerializationFormat
from sqlalchemy.orm import Session

APPLICATION = "loadplan"
# Each of its migrations would be a line of ours otherwise.
logging.getLogger("dbos").setLevel(logging.WARNING)
# Never changed: rows of another version would wait for ever.
APPLICATION_VERSION = "1"
# The engine's tables on PostgreSQL; on SQLite they lie beside the registry's.
SCHEMA = "dbos"
# JSON in the database, no pickles.
PORTABLE = WorkflowSerializationFormat.PORTABLE

_OPEN = ["ENQUEUED", "DELAYED", "PENDING"]
_OVER = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]


class Queue(StrEnum):
    """Who does what: network, CPU, device. The name of the workflow is the name of the queue."""

    SCAN = "scan"
    REHEARSE = "rehearse"
    PROVE = "prove"


class Priority(IntEnum):
    """Smaller is sooner."""

    PERSON = 1
    EVENT = 5
    SWEEP = 8
    CRAWL = 10


@dataclass(frozen=True)
class Job:
    """A stage of an operation. `spent` is how many attempts earlier stages and tries took."""

    queue: Queue
    operation_id: str
    priority: int
    suffix: str = ""
    spent: int = 0
    tries: int = 0
    delay_seconds: float | None = None

    @property
    def id(self) -> str:
        return f"{self.operation_id}.{self.suffix}" if self.suffix else self.operation_id


@dataclass(frozen=True)
class Running:
    """A job that an executor has claimed."""

    id: str
    queue: str
    executor_id: str


class Jobs:
    """The engine's tables as everything but a worker sees them. Safe to share between threads.

    `engine` is the registry's own: a job is enqueued where its operation is written. Errors are
    those of the driver.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._client = DBOSClient(
            system_database_engine=engine,
            dbos_system_schema=SCHEMA,
            application_name=APPLICATION,
            lazy=True,
            retry_connection_errors=False,
        )

    def enqueue(self, session: Session, job: Job) -> None:
        """Committed or rolled back with everything else in the session's transaction.

        A job whose id is known already is not enqueued again.
        """
        options: EnqueueOptions = {
            "workflow_name": job.queue.value,
            "queue_name": job.queue.value,
            "workflow_id": job.id,
            "priority": max(1, job.priority),
            "serialization_type": PORTABLE,
        }
        if job.delay_seconds is not None:
            options["delay_seconds"] = job.delay_seconds
        arguments = (job.operation_id, job.spent, job.tries)
        self._client.enqueue_in_transaction(session, options, *arguments)

    def cancel(self, operation_id: str) -> None:
        """Take the operation's waiting jobs off their queues. One that runs goes on to its next
        write, which is refused."""
        for job_id in self.list_open([operation_id]):
            self._client.cancel_workflow(job_id)

    def list_running(self) -> list[Running]:
        """Jobs that an executor, living or not, has claimed and not ended."""
        found = self._client.list_workflows(
            status="PENDING",
            queue_name=[queue.value for queue in Queue],
            load_input=False,
            load_output=False,
        )
        return [
            Running(each.workflow_id, each.queue_name or "", each.executor_id or "")
            for each in found
        ]

    def list_open(self, operation_ids: Sequence[str]) -> list[str]:
        """Ids of the jobs of these operations that the engine still has to do."""
        if not operation_ids:
            return []
        found = self._client.list_workflows(
            workflow_id_prefix=list(operation_ids),
            status=_OPEN,
            load_input=False,
            load_output=False,
        )
        return [each.workflow_id for each in found]

    def resume(self, job: Running) -> None:
        """Put a job whose executor is gone back on its queue. Whoever held it is fenced off."""
        self._client.resume_workflow(job.id, queue_name=job.queue)

    def delete_over(self, *, days: float, limit: int) -> int:
        """Forget jobs that ended so long ago; how many."""
        before = datetime.now(UTC) - timedelta(days=days)
        found = self._client.list_workflows(
            status=_OVER,
            end_time=before.isoformat(),
            limit=limit,
            load_input=False,
            load_output=False,
        )
        if found:
            self._client.delete_workflows([each.workflow_id for each in found])
        return len(found)

    def close(self) -> None:
        self._client.destroy()


def prepare(url: str) -> None:
    """Make or migrate the engine's tables. Safe to repeat, and in many processes."""
    DBOS.migrate(url, schema=SCHEMA)


def operations_of(job_ids: Iterable[str]) -> set[str]:
    """The operations that these jobs are for."""
    return {job_id.partition(".")[0] for job_id in job_ids}
