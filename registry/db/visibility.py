"""Who may see a repository: what the Hub says of it, and what the operator granted."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.db.models import RepositoryAliasRow, RepositoryRow
from registry.db.repositories import repository_names, save_access
from registry.domain.refs import Source


def find_hidden(
    connection: sa.Connection, repo_ids: frozenset[str], visible: frozenset[str]
) -> frozenset[str]:
    """Which of these are private repositories that none of the grants names, by any id."""
    if not repo_ids or "*" in visible:
        return frozenset()
    named = sa.select(RepositoryRow.repo_id, RepositoryRow.repo_id.label("asked")).where(
        RepositoryRow.repo_id.in_(sorted(repo_ids)), RepositoryRow.private
    )
    moved = (
        sa.select(RepositoryRow.repo_id, RepositoryAliasRow.alias.label("asked"))
        .join(RepositoryAliasRow, RepositoryAliasRow.repository_id == RepositoryRow.id)
        .where(RepositoryAliasRow.alias.in_(sorted(repo_ids)), RepositoryRow.private)
    )
    rows = connection.execute(sa.union_all(named, moved))
    return frozenset(asked for repo_id, asked in rows if not is_granted(repo_id, visible))


def is_granted(repo_id: str, visible: frozenset[str]) -> bool:
    """Whether a grant names this repository: itself, its namespace with `/*`, or `*`."""
    namespace = repo_id.partition("/")[0]
    return bool(visible & {"*", repo_id, f"{namespace}/*"})


def note_access(
    session: Session,
    repo_id: str,
    *,
    access: str,
    private: bool,
    gated: bool,
    checked_at: datetime,
) -> None:
    """What the Hub says of a repository; nothing is written where it said so before."""
    noted: dict[str, tuple[str, bool, bool]] = session.info.setdefault("access", {})
    said = (access, private, gated)
    if noted.get(repo_id) == said:
        return
    known = session.connection().execute(_ACCESS, {"repo_id": repo_id}).first()
    if known is None or tuple(known) != said:
        save_access(
            session,
            Source.HUB,
            repo_id,
            access=access,
            private=private,
            gated=gated,
            checked_at=checked_at,
        )
    noted[repo_id] = said


_ACCESS = sa.select(RepositoryRow.access, RepositoryRow.private, RepositoryRow.gated).where(
    RepositoryRow.source == Source.HUB.value, RepositoryRow.repo_id == sa.bindparam("repo_id")
)


def hide(session: Session, repo_id: str, *, access: str, checked_at: datetime) -> None:
    """Take a repository and whatever is recorded of it out of public view, under any id that it
    goes by. The next scan that reads it says what it really is."""
    connection = session.connection()
    names = session.scalars(repository_names(repo_id)).all()
    for name in dict.fromkeys((repo_id, *names)):
        if access == "unknown" and _is_private(connection, name):
            continue
        note_access(session, name, access=access, private=True, gated=False, checked_at=checked_at)


def _is_private(connection: sa.Connection, repo_id: str) -> bool:
    found = sa.select(RepositoryRow.id).where(
        RepositoryRow.source == Source.HUB.value,
        RepositoryRow.repo_id == repo_id,
        RepositoryRow.private,
    )
    return connection.execute(found).first() is not None
