"""Plans, records and their issues, rehearsals, environments, proofs.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "environments",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retired_reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_environments")),
    )

    op.create_table(
        "plans",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("adapter_digest", sa.Text(), nullable=False),
        sa.Column("base_digest", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_plans")),
    )

    op.create_table(
        "rehearsals",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("adapter_digest", sa.Text(), nullable=False),
        sa.Column("subfolder", sa.Text(), nullable=False),
        sa.Column("base_digest", sa.Text(), nullable=False),
        sa.Column("plan_digest", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("missing", sa.Text(), nullable=False),
        sa.Column("unexpected", sa.Text(), nullable=False),
        sa.Column("overwritten", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("warnings", sa.Text(), nullable=False),
        sa.Column("versions", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('landed', 'faults', 'raises', 'unknown')",
            name=op.f("ck_rehearsals_outcome"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rehearsals")),
    )
    op.create_index(
        op.f("ix_rehearsals_adapter_digest_subfolder_base_digest"),
        "rehearsals",
        ["adapter_digest", "subfolder", "base_digest"],
    )

    op.create_table(
        "proofs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("adapter_digest", sa.Text(), nullable=False),
        sa.Column("subfolder", sa.Text(), nullable=False),
        sa.Column("base_digest", sa.Text(), nullable=False),
        sa.Column("plan_digest", sa.Text(), nullable=False),
        sa.Column("environment_digest", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("found_at", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('passed', 'failed', 'error')", name=op.f("ck_proofs_outcome")
        ),
        sa.ForeignKeyConstraint(
            ["environment_digest"],
            ["environments.digest"],
            name=op.f("fk_proofs_environment_digest"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proofs")),
    )
    op.create_index(
        op.f("ix_proofs_adapter_digest_subfolder_base_digest_finished_at"),
        "proofs",
        ["adapter_digest", "subfolder", "base_digest", "finished_at"],
    )
    op.create_index(op.f("ix_proofs_environment_digest"), "proofs", ["environment_digest"])

    op.create_table(
        "records",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "adapter_repository_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column("adapter_revision", sa.Text(), nullable=False),
        sa.Column("adapter_commit", sa.Text(), nullable=False),
        sa.Column("subfolder", sa.Text(), nullable=False),
        sa.Column("adapter_content", sa.Text(), nullable=False),
        sa.Column("base_source", sa.Text(), nullable=False),
        sa.Column("base_repo_id", sa.Text(), nullable=False),
        sa.Column(
            "base_repository_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
        ),
        sa.Column("base_revision", sa.Text(), nullable=False),
        sa.Column("base_commit", sa.Text(), nullable=False),
        sa.Column("base_content", sa.Text(), nullable=False),
        sa.Column("declared", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("peft_type", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("search_text", sa.Text(), nullable=False),
        sa.Column("plan_digest", sa.Text(), nullable=True),
        sa.Column("planner_version", sa.BigInteger(), nullable=False),
        sa.Column("content_digest", sa.Text(), nullable=False),
        sa.Column("scanned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("listed", sa.Boolean(), nullable=False),
        sa.Column("private", sa.Boolean(), nullable=False),
        sa.Column("shown_status", sa.Text(), nullable=False),
        sa.Column(
            "superseded_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.CheckConstraint(
            "evidence IN ('none', 'static', 'rehearsed', 'proven')",
            name=op.f("ck_records_evidence"),
        ),
        sa.CheckConstraint(
            "shown_status IN ('queued', 'planned', 'rehearsed', 'compatible', "
            "'incompatible', 'unsupported', 'blocked', 'failed', 'stale')",
            name=op.f("ck_records_shown_status"),
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'planned', 'rehearsed', 'compatible', "
            "'incompatible', 'unsupported', 'blocked', 'failed', 'stale')",
            name=op.f("ck_records_status"),
        ),
        sa.ForeignKeyConstraint(
            ["adapter_repository_id"],
            ["repositories.id"],
            name=op.f("fk_records_adapter_repository_id"),
        ),
        sa.ForeignKeyConstraint(
            ["base_repository_id"], ["repositories.id"], name=op.f("fk_records_base_repository_id")
        ),
        sa.ForeignKeyConstraint(
            ["plan_digest"], ["plans.digest"], name=op.f("fk_records_plan_digest")
        ),
        sa.ForeignKeyConstraint(
            ["superseded_by"], ["records.id"], name=op.f("fk_records_superseded_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_records")),
    )
    op.create_index(
        op.f("ix_records_adapter_content_subfolder_base_content"),
        "records",
        ["adapter_content", "subfolder", "base_content"],
    )
    op.create_index(
        op.f("ix_records_base_repository_id_base_content"),
        "records",
        ["base_repository_id", "base_content"],
    )
    op.create_index(
        op.f("ix_records_listed_private_author_scanned_at_id"),
        "records",
        ["listed", "private", "author", "scanned_at", "id"],
    )
    op.create_index(
        op.f("ix_records_listed_private_base_repo_id_scanned_at_id"),
        "records",
        ["listed", "private", "base_repo_id", "scanned_at", "id"],
    )
    op.create_index(
        op.f("ix_records_listed_private_peft_type_scanned_at_id"),
        "records",
        ["listed", "private", "peft_type", "scanned_at", "id"],
    )
    op.create_index(
        op.f("ix_records_listed_private_scanned_at_id"),
        "records",
        ["listed", "private", "scanned_at", "id"],
    )
    op.create_index(
        op.f("ix_records_listed_private_search_text_id"),
        "records",
        ["listed", "private", "search_text", "id"],
    )
    op.create_index(
        op.f("ix_records_listed_private_shown_status_scanned_at_id"),
        "records",
        ["listed", "private", "shown_status", "scanned_at", "id"],
    )
    op.create_index(op.f("ix_records_plan_digest"), "records", ["plan_digest"])
    op.create_index(op.f("ix_records_superseded_by"), "records", ["superseded_by"])
    op.create_index(
        "uq_records_current",
        "records",
        [
            "adapter_repository_id",
            "subfolder",
            "adapter_content",
            "base_source",
            "base_repo_id",
            "base_content",
        ],
        unique=True,
        sqlite_where=sa.text("current"),
        postgresql_where=sa.text("current"),
    )

    op.create_table(
        "record_bodies",
        sa.Column(
            "record_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("document", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["record_id"],
            ["records.id"],
            name=op.f("fk_record_bodies_record_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("record_id", name=op.f("pk_record_bodies")),
    )

    op.create_table(
        "record_issues",
        sa.Column(
            "record_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("base_repo_id", sa.Text(), nullable=False),
        sa.Column("scanned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("listed", sa.Boolean(), nullable=False),
        sa.Column("private", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "severity IN ('error', 'warning', 'info', 'advice')",
            name=op.f("ck_record_issues_severity"),
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'planned', 'rehearsed', 'compatible', "
            "'incompatible', 'unsupported', 'blocked', 'failed', 'stale')",
            name=op.f("ck_record_issues_status"),
        ),
        sa.ForeignKeyConstraint(
            ["record_id"],
            ["records.id"],
            name=op.f("fk_record_issues_record_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("record_id", "code", name=op.f("pk_record_issues")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_record_issues_listed_private_code_scanned_at_record_id"),
        "record_issues",
        ["listed", "private", "code", "scanned_at", "record_id"],
    )


def downgrade() -> None:
    op.drop_table("record_issues")
    op.drop_table("record_bodies")
    op.drop_table("records")
    op.drop_table("proofs")
    op.drop_table("rehearsals")
    op.drop_table("plans")
    op.drop_table("environments")
