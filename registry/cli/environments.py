"""`loadplan doctor --environments` and `--retire-environment`: the versions of proofs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from registry.cli.enqueuing import opened_jobs
from registry.cli.exits import Exit
from registry.cli.opening import opened_database
from registry.cli.terminal import clean, print_json, print_message
from registry.domain.refs import Reference
from registry.errors import InvalidRequest

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from registry.config import Settings
    from registry.db.proofs import Environment
    from registry.db.session import Database
    from registry.domain.record import Record
    from registry.jobs import Jobs

_SHOWN_ID = 12


def list_environments(settings: Settings, *, as_json: bool) -> Exit:
    """Every environment that proofs were run in, the newest first, with its passed proofs."""
    from registry.db import proofs

    with opened_database(settings) as database, database.reading() as connection:
        found = proofs.load_environments(connection)
        passed = proofs.count_passed(connection)
    rows = [_document(each, passed.get(each.digest, 0)) for each in found]
    if as_json:
        print_json(rows)
        return Exit.MEETS
    for row in rows:
        versions = " · ".join(f"{name} {value}" for name, value in row["versions"].items() if value)
        typer.echo(f"{row['id'][:_SHOWN_ID]}  {row['passed']} passed  {clean(versions)}")
        if row["retired_at"]:
            typer.echo(f"{'':{_SHOWN_ID}}  retired {row['retired_at']}: {clean(row['reason'])}")
    if not rows:
        print_message("note", "No proof was recorded yet, so there is no environment.")
    return Exit.MEETS


def retire(settings: Settings, wanted: str, reason: str, *, as_json: bool) -> Exit:
    """Take an environment out of force: what is proven only there becomes stale. On PostgreSQL the
    proofs that are needed anew are queued in the same transaction; on SQLite they are named.

    Raises InvalidRequest where `wanted` begins the id of none, of several or of a retired one.
    """
    with opened_database(settings) as database, opened_jobs(database) as jobs:
        environment = _find(database, wanted)
        stale, asked = database.write(
            lambda session: _retire(session, jobs, environment.digest, reason)
        )
    if as_json:
        references = [str(_reference(record)) for record in stale]
        print_json({"id": _id(environment), "stale": references, "queued": asked})
        return Exit.MEETS
    typer.echo(f"{_id(environment)[:_SHOWN_ID]} is retired; {len(stale)} became stale")
    for record in stale:
        typer.echo(f"  {clean(str(_reference(record)))}")
    if asked:
        print_message("note", f"{asked} proofs are queued; a runner with other versions does them.")
    elif stale:
        fix = f"With other versions installed: loadplan prove {_reference(stale[0])}"
        print_message("note", "Nothing proves them again by itself on SQLite.", fix)
    return Exit.MEETS


def _retire(session: Session, jobs: Jobs, digest: str, reason: str) -> tuple[list[Record], int]:
    from registry.asking import ask_proof
    from registry.db.records import find_pair
    from registry.domain.record import Status
    from registry.jobs import Priority
    from registry.proving import retire_environment

    now = datetime.now(UTC)
    connection = session.connection()
    stale, asked = [], 0
    for pair in retire_environment(session, digest, retired_at=now, reason=reason):
        stored = find_pair(connection, pair.adapter_digest, pair.subfolder, pair.base_digest)
        if stored is None or stored.record.status is not Status.STALE:
            continue
        record = stored.record
        stale.append(record)
        if connection.dialect.name == "postgresql":
            reference, base = _reference(record), _base(record)
            ask_proof(session, jobs, reference, base, pair, priority=Priority.SWEEP)
            asked += 1
    return stale, asked


def _find(database: Database, wanted: str) -> Environment:
    from registry.db import proofs

    prefix = wanted.removeprefix("sha256:").lower()
    with database.reading() as connection:
        known = proofs.load_environments(connection)
    found = [each for each in known if _id(each).startswith(prefix)] if prefix else []
    if len(found) != 1:
        how = "Several environments have ids" if found else "No environment has an id"
        raise InvalidRequest(
            f"{how} beginning with {wanted!r}; `loadplan doctor --environments` lists them."
        )
    if found[0].retired_at is not None:
        raise InvalidRequest(f"The environment was retired at {found[0].retired_at.isoformat()}.")
    return found[0]


def _document(environment: Environment, passed: int) -> dict[str, Any]:
    retired = environment.retired_at
    return {
        "id": _id(environment),
        "versions": dict(environment.versions),
        "first_seen_at": environment.first_seen_at.isoformat(),
        "passed": passed,
        "retired_at": None if retired is None else retired.isoformat(),
        "reason": environment.retired_reason,
    }


def _id(environment: Environment) -> str:
    return environment.digest.removeprefix("sha256:")


def _reference(record: Record) -> Reference:
    adapter = record.adapter
    return Reference(adapter.repo_id, adapter.revision, adapter.subfolder, adapter.source)


def _base(record: Record) -> Reference | None:
    base = record.base
    if base is None or base.repo_id == record.facts.declared_base:
        return None
    return Reference(base.repo_id, base.revision)
