"""What else is known of one adapter: the commits it was found at, the bases it was judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from registry.db.models import CheckpointRow, RecordRow, RefRow
from registry.db.records.finding import StoredRecord, select_stored, stored
from registry.db.repositories import known, repository_ids
from registry.domain.refs import Source


@dataclass(frozen=True)
class SeenCommit:
    """A commit of a repository. `names`: the branches and tags that are at it; `content`: its
    digest, None while unread; `seen_at` None where it was only ever asked for by itself."""

    commit_sha: str
    content: str | None
    names: tuple[str, ...]
    seen_at: datetime | None


def list_commits(
    connection: sa.Connection,
    source: Source,
    repo_id: str,
    *,
    kind: str = "adapter",
    subfolder: str | None = None,
    limit: int = 50,
) -> Sequence[SeenCommit]:
    """Commits at which this folder was read, the last found first."""
    rows = connection.execute(
        sa.select(CheckpointRow.commit_key, CheckpointRow.content_key, RefRow.name, RefRow.seen_at)
        .join(
            RefRow,
            (RefRow.repository_id == CheckpointRow.repository_id)
            & (RefRow.commit_key == CheckpointRow.commit_key),
            isouter=True,
        )
        .where(
            CheckpointRow.repository_id.in_(repository_ids(source, repo_id)),
            CheckpointRow.kind == kind,
            CheckpointRow.subfolder == (subfolder or ""),
        )
        .order_by(CheckpointRow.id.desc(), RefRow.seen_at.desc())
        .limit(4 * limit)
    )
    commits: dict[str, SeenCommit] = {}
    found = rows.all()
    # A branch names the commit that it was last seen at, not those that it has left.
    now = {
        row.name: row.commit_key
        for row in sorted((row for row in found if row.name), key=lambda row: row.seen_at)
    }
    for commit_key, content_key, name, seen_at in found:
        sha = known(commit_key)
        if sha is None:
            continue
        before = commits.get(sha)
        names = (before.names if before else ()) + (
            (name,) if name and now[name] == commit_key else ()
        )
        when = seen_at if before is None or before.seen_at is None else before.seen_at
        commits[sha] = SeenCommit(sha, known(content_key), tuple(dict.fromkeys(names)), when)
    return list(commits.values())[:limit]


def list_on_bases(
    connection: sa.Connection, source: Source, repo_id: str, *, subfolder: str | None = None
) -> list[StoredRecord]:
    """The listed records of an adapter's folder: on its declared base, then on others."""
    rows = connection.execute(
        select_stored()
        .where(
            RecordRow.adapter_repository_id.in_(repository_ids(source, repo_id)),
            RecordRow.subfolder == (subfolder or ""),
            # Not "listed = 1": SQLite would go by an index that leads with it, to every record.
            RecordRow.listed.is_not(sa.false()),
        )
        .order_by(RecordRow.declared.desc(), RecordRow.base_repo_id)
        .limit(50)
    )
    return [stored(row) for row in rows]
