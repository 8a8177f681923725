"""Records hold the codes of their issues, and indexes hold all that facets are counted by, so that
the counts beside a list take two reads of an index, whatever is chosen.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_AT_ONCE = 10_000
_SHOWN = ["listed", "private"]
_BEFORE = {
    "ix_records_listed_private_scanned_at_id": ["scanned_at", "id"],
    "ix_records_listed_private_base_repo_id_scanned_at_id": ["base_repo_id", "scanned_at", "id"],
    "ix_records_listed_private_author_scanned_at_id": ["author", "scanned_at", "id"],
    "ix_records_facets": [
        "base_repo_id",
        "shown_status",
        "peft_type",
        "author",
        "search_text",
        "id",
    ],
}
_AFTER = {
    "ix_records_listed_private_scanned_at_id_search_text": ["scanned_at", "id", "search_text"],
    "ix_records_bases": ["base_repo_id", "scanned_at", "id", "base_source", "shown_status"],
    "ix_records_facets": [
        "base_repo_id",
        "shown_status",
        "peft_type",
        "issue_codes",
        "author",
        "search_text",
    ],
    "ix_records_authors": [
        "author",
        "scanned_at",
        "id",
        "shown_status",
        "base_repo_id",
        "peft_type",
        "issue_codes",
        "search_text",
    ],
}
# PostgreSQL answers from an index alone where a vacuum has passed since the last write, and by its
# own default that comes after a fifth of the rows: counts take three times as long by then.
_VACUUM = ("autovacuum_vacuum_scale_factor", "autovacuum_vacuum_insert_scale_factor")
# As records are saved from now on: sorted, each between spaces. SQLite cannot be asked for an
# order here; it keeps these rows in that of their codes.
_CODES = {
    "sqlite": """
        UPDATE records SET issue_codes = coalesce((
            SELECT ' ' || group_concat(code, ' ') || ' '
            FROM record_issues WHERE record_id = records.id
        ), '')
        WHERE id BETWEEN :first AND :last
    """,
    "postgresql": """
        UPDATE records SET issue_codes = coalesce((
            SELECT ' ' || string_agg(code, ' ' ORDER BY code COLLATE "C") || ' '
            FROM record_issues WHERE record_id = records.id
        ), '')
        WHERE id BETWEEN :first AND :last
    """,
}


def upgrade() -> None:
    op.add_column("records", sa.Column("issue_codes", sa.Text(), nullable=False, server_default=""))
    for name in _BEFORE:
        op.drop_index(name, table_name="records")
    _write_codes(op.get_bind())
    _create(_AFTER)
    _vacuum(op.get_bind(), f"SET ({', '.join(f'{name} = 0.02' for name in _VACUUM)})")


def downgrade() -> None:
    _vacuum(op.get_bind(), f"RESET ({', '.join(_VACUUM)})")
    for name in _AFTER:
        op.drop_index(name, table_name="records")
    op.drop_column("records", "issue_codes")
    _create(_BEFORE)


def _create(indexes: dict[str, list[str]]) -> None:
    for name, columns in indexes.items():
        op.create_index(name, "records", [*_SHOWN, *columns])


def _vacuum(connection: sa.Connection, words: str) -> None:
    if connection.dialect.name == "postgresql":
        op.execute(f"ALTER TABLE records {words}")


def _write_codes(connection: sa.Connection) -> None:
    """Some at a time: no statement of a migration may take long."""
    statement = sa.text(_CODES[connection.dialect.name])
    newest = connection.execute(sa.text("SELECT max(id) FROM records")).scalar() or 0
    for first in range(1, newest + 1, _AT_ONCE):
        connection.execute(statement, {"first": first, "last": first + _AT_ONCE - 1})
