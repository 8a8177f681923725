"""Indexes for pages: the history of one adapter, and all that facets count, so that neither reads
rows that it does not show.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_FACETS = "ix_records_facets"
_HISTORY = "ix_records_adapter_repository_id_id"


def upgrade() -> None:
    op.create_index(_HISTORY, "records", ["adapter_repository_id", "id"])
    op.create_index(
        _FACETS,
        "records",
        [
            "listed",
            "private",
            "base_repo_id",
            "shown_status",
            "peft_type",
            "author",
            "search_text",
            "id",
        ],
    )


def downgrade() -> None:
    op.drop_index(_FACETS, table_name="records")
    op.drop_index(_HISTORY, table_name="records")
