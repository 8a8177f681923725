"""`/status`: what waits, who works, and what last came in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from api.dependencies import DatabaseDep
from api.web import render
from api.web.evidence import say_versions
from api.web.operation_view import STAGE_WORDS
from api.web.session import VisitorDep
from registry.db.open_work import Running, count_ended, last_event_at, list_running, list_sweeps
from registry.db.operations import count_open
from registry.db.records.choices import count_listed
from registry.db.workers import SEEN_LATELY, Worker, find_quota, list_living

router = APIRouter(include_in_schema=False)

_QUEUES: Final = (("scan", "Scan"), ("rehearse", "Rehearse"), ("prove", "Prove"))
# An operation's kind -> the queue that it waits in first.
_QUEUE_OF: Final = {"scan": "scan", "scan-batch": "scan", "crawl": "scan", "prove": "prove"}


@router.get("/status", name="status_page", response_class=HTMLResponse)
def status_page(request: Request, database: DatabaseDep, visitor: VisitorDep) -> HTMLResponse:
    """Counts and times; no name of a private repository can be among them."""
    now = datetime.now(UTC)
    with database.reading() as connection:
        counted = count_open(connection)
        living = list_living(connection, seconds=SEEN_LATELY)
        running = list_running(connection)
        ended = count_ended(connection, since=now - timedelta(days=1))
        last_event = last_event_at(connection)
        sweeps = list_sweeps(connection)
        records = count_listed(connection, visible=visitor.visible)
    queues = [_queue(name, title, counted, living) for name, title in _QUEUES]
    return render.page(
        request,
        "status.html",
        said=_say(queues),
        queues=queues,
        workers=[_worker(worker, running) for worker in living],
        records=records,
        last_event=last_event,
        sweep=sweeps[0] if sweeps else None,
        quotas=find_quota(living, now),
        ended=sorted(ended.items()),
        now=now,
    )


def _queue(
    name: str,
    title: str,
    counted: Sequence[tuple[str, str, int, datetime]],
    living: Sequence[Worker],
) -> dict[str, Any]:
    mine = [entry for entry in counted if _QUEUE_OF.get(entry[0], entry[0]) == name]
    return {
        "name": name,
        "title": title,
        "waiting": sum(count for _, state, count, _ in mine if state == "queued"),
        "running": sum(count for _, state, count, _ in mine if state == "running"),
        "oldest": min((oldest for *_, oldest in mine), default=None),
        "workers": sum(name in worker.queues for worker in living),
    }


def _say(queues: Sequence[Mapping[str, Any]]) -> str:
    stuck = [queue["title"] for queue in queues if queue["waiting"] and not queue["workers"]]
    if stuck:
        return f"Work waits that nobody does: {', '.join(stuck)}."
    waiting = sum(queue["waiting"] + queue["running"] for queue in queues)
    if not waiting:
        return "Nothing waits."
    return f"{waiting:,} operation{'' if waiting == 1 else 's'} open, and somebody is there."


def _worker(worker: Worker, running: Sequence[Running]) -> dict[str, Any]:
    return {
        # The host's own name is the operator's business.
        "name": worker.executor_id.rpartition("-")[2],
        "queues": worker.queues,
        "device": worker.device,
        "work": [
            f"{each.kind}: {STAGE_WORDS.get(each.stage or '', each.stage or 'begun')}"
            for each in running
            if each.executor_id == worker.executor_id
        ],
        "versions": say_versions(worker.versions),
        "last_seen_at": worker.last_seen_at,
    }
