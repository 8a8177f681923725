"""A repository that goes by another id from now on."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.db.models import RecordIssueRow, RecordRow, RepositoryRow
from registry.db.repositories import save_alias
from registry.domain.refs import Source


def move(session: Session, repo_id: str, moved_to: str) -> None:
    """The repository goes by another id from now on; the old one leads there. Where the new id is
    recorded already, the old one's records are left out of lists."""
    rows = session.execute(
        sa.select(RepositoryRow.repo_id, RepositoryRow.id).where(
            RepositoryRow.source == Source.HUB.value,
            RepositoryRow.repo_id.in_([repo_id, moved_to]),
        )
    )
    known = {row.repo_id: row.id for row in rows}
    if repo_id not in known:
        save_alias(session, Source.HUB, repo_id, moved_to)
        return
    if moved_to in known:
        _unlist(session, known[repo_id])
    else:
        _rename(session, known[repo_id], repo_id, moved_to)
        session.info.pop("repositories", None)
    save_alias(session, Source.HUB, repo_id, moved_to)


def _rename(session: Session, row_id: int, repo_id: str, moved_to: str) -> None:
    author = moved_to.partition("/")[0] if "/" in moved_to else ""
    session.execute(
        sa.update(RepositoryRow)
        .where(RepositoryRow.id == row_id)
        .values(repo_id=moved_to, author=author)
    )
    words = {"author": author, "search_text": _renamed_search_text(repo_id, moved_to)}
    session.execute(
        sa.update(RecordRow).where(RecordRow.adapter_repository_id == row_id).values(words),
        execution_options={"synchronize_session": False},
    )
    on_it = sa.select(RecordRow.id).where(RecordRow.base_repository_id == row_id)
    session.execute(
        sa.update(RecordIssueRow)
        .where(RecordIssueRow.record_id.in_(on_it))
        .values(base_repo_id=moved_to),
        execution_options={"synchronize_session": False},
    )
    session.execute(
        sa.update(RecordRow)
        .where(RecordRow.base_repository_id == row_id)
        .values(base_repo_id=moved_to, search_text=_renamed_search_text(repo_id, moved_to)),
        execution_options={"synchronize_session": False},
    )


def _renamed_search_text(old: str, new: str) -> sa.ColumnElement[str]:
    return sa.func.replace(RecordRow.search_text, old.lower(), new.lower())


def _unlist(session: Session, row_id: int) -> None:
    listed = sa.select(RecordRow.id).where(RecordRow.adapter_repository_id == row_id)
    session.execute(
        sa.update(RecordIssueRow).where(RecordIssueRow.record_id.in_(listed)).values(listed=False),
        execution_options={"synchronize_session": False},
    )
    session.execute(
        sa.update(RecordRow).where(RecordRow.adapter_repository_id == row_id).values(listed=False),
        execution_options={"synchronize_session": False},
    )
