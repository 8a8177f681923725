"""Databases with the engine's tables, a local Hub, and scans done without an engine."""

import asyncio
import io
import sys
from datetime import UTC, datetime

import pytest

from registry import logs
from registry.db import operations, records
from registry.db.models.operations import OPEN_STATES
from registry.domain.hub_events import parse_hub_event
from registry.hub import Patience, open_reader
from registry.jobs import Job, Queue
from registry.watching import receive, settle_events
from tests.engine.conftest import (  # noqa: F401
    database,
    engine_url,
    jobs,
    prepared_postgres,
    prepared_sqlite,
)
from workers.performing import Performer
from workers.scan import ScanBody


def event(
    repo_id, *refs, scope="repo.content", action="update", private=False, tags=("peft",), **more
):
    """A body of the Hub's webhook; `refs` are (ref, new sha) pairs."""
    body = {
        "event": {"action": action, "scope": scope},
        "repo": {
            "type": "model",
            "name": repo_id,
            "id": "621ffdc036468d709f17434d",
            "private": private,
            "url": {"web": f"https://huggingface.co/{repo_id}"},
            "tags": list(tags),
            "owner": {"id": "628b753283ef59b5be89e937"},
        },
        "webhook": {"id": "6390e855e30d9209411de93b", "version": 3},
        **more,
    }
    if refs:
        body["updatedRefs"] = [{"ref": ref, "oldSha": None, "newSha": sha} for ref, sha in refs]
    return body


def push(repo_id, sha, **more):
    return event(repo_id, ("refs/heads/main", sha), **more)


@pytest.fixture
def logged(monkeypatch):
    """Every line that is logged from here on, redacted and formatted as in production."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure()
    return stream


class Watched:
    """A registry that watches the local Hub, with its scans done here one after the other."""

    def __init__(self, database, jobs, hub):  # noqa: F811
        self.database, self.jobs, self.hub = database, jobs, hub

    def tell(self, *bodies):
        return [
            receive(self.database, self.jobs, parse_hub_event(body), received_at=datetime.now(UTC))
            for body in bodies
        ]

    def open_operations(self):
        with self.database.reading() as connection:
            found = operations.list_open(
                connection, created_before=datetime.max.replace(tzinfo=UTC), limit=1000
            )
        assert all(operation.state in OPEN_STATES for operation in found)
        return found

    def run(self, work):
        """`work(reader)` with a reader that does not wait for a failing Hub to recover."""

        async def main():
            patience = Patience(total=2, attempts=1)
            async with open_reader(self.hub.url, self.hub.token, patience=patience) as reader:
                return await work(reader)

        return asyncio.run(main())

    def settle(self):
        return self.run(lambda reader: settle_events(self.database, self.jobs, reader))

    def scan(self):
        """Do the open scans. Rehearsals and proofs that they lead to stay open."""

        async def work(reader):
            async def opened():
                return reader

            async def nobody():
                return False

            body = ScanBody(opened, nobody)
            performer = Performer(self.database, self.jobs, "test", lambda: {"test"})
            for operation in self.open_operations():
                if operation.kind in ("scan", "crawl"):
                    await performer.perform(Job(Queue.SCAN, operation.id, 1), body)

        self.run(work)

    def find(self, repo_id, **more):
        with self.database.reading() as connection:
            found = records.find_record(connection, repo_id=repo_id, **more)
        return None if found is None else found.record

    def listed(self, visible=frozenset(), **wanted):
        with self.database.reading() as connection:
            page = records.list_records(
                connection, records.RecordFilter(visible=visible, **wanted), limit=500
            )
        return [stored.record for stored in page.records]


@pytest.fixture
def watched(database, jobs, hub):  # noqa: F811
    hub.token = None
    return Watched(database, jobs, hub)
