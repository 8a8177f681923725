"""What is known of pairs: records and their history, plans, rehearsals, proofs, environments."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from registry.db.base import Base, Document, RowId, one_of
from registry.domain.issues import Severity
from registry.domain.status import Evidence, Status

PROOF_OUTCOMES = ("passed", "failed", "error")
REHEARSAL_OUTCOMES = ("landed", "faults", "raises", "unknown")


class PlanRow(Base):
    """Steps by the digest of what they load."""

    __tablename__ = "plans"

    digest: Mapped[str] = mapped_column(primary_key=True)
    adapter_digest: Mapped[str]
    base_digest: Mapped[str]
    document: Mapped[Any] = mapped_column(Document)
    created_at: Mapped[datetime]


class RecordRow(Base):
    """One record of a pair as found at one place: narrow, so that lists and counts read little.

    Content never changes once written. What does change is its standing: `current` (not
    superseded), `listed` (the one of its place that lists show), `private` (either repository is),
    `shown_status` (stale once a branch that it was asked for by has other content) and
    `confirmed_at` (when the same was last found).
    """

    __tablename__ = "records"
    __table_args__ = (
        sa.Index(
            "uq_records_current",
            "adapter_repository_id",
            "subfolder",
            "adapter_content",
            "base_source",
            "base_repo_id",
            "base_content",
            unique=True,
            sqlite_where=sa.text("current"),
            postgresql_where=sa.text("current"),
        ),
        # The pair, wherever it was found.
        sa.Index(None, "adapter_content", "subfolder", "base_content"),
        sa.Index(None, "base_repository_id", "base_content"),
        # What lists sort by. A search reads names in the order of times, and no row for them.
        sa.Index(None, "listed", "private", "scanned_at", "id", "search_text"),
        sa.Index(None, "listed", "private", "search_text", "id"),
        sa.Index(None, "listed", "private", "shown_status", "scanned_at", "id"),
        sa.Index(None, "listed", "private", "peft_type", "scanned_at", "id"),
        # With what a base's own page counts.
        sa.Index(
            "ix_records_bases",
            "listed",
            "private",
            "base_repo_id",
            "scanned_at",
            "id",
            "base_source",
            "shown_status",
        ),
        # The history of an adapter, superseded records too.
        sa.Index(None, "adapter_repository_id", "id"),
        # What facets are counted by, in the order that they are grouped in, with all that can be
        # asked beside: the counts of any filter read no row.
        sa.Index(
            "ix_records_facets",
            "listed",
            "private",
            "base_repo_id",
            "shown_status",
            "peft_type",
            "issue_codes",
            "author",
            "search_text",
        ),
        sa.Index(
            "ix_records_authors",
            "listed",
            "private",
            "author",
            "scanned_at",
            "id",
            "shown_status",
            "base_repo_id",
            "peft_type",
            "issue_codes",
            "search_text",
        ),
        one_of("status", Status),
        one_of("shown_status", Status),
        one_of("evidence", Evidence),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    adapter_repository_id: Mapped[int] = mapped_column(sa.ForeignKey("repositories.id"))
    adapter_revision: Mapped[str]
    adapter_commit: Mapped[str]
    subfolder: Mapped[str]
    adapter_content: Mapped[str]
    # Text beside the reference, because '' (no base known) must be part of the unique key.
    base_source: Mapped[str]
    base_repo_id: Mapped[str]
    base_repository_id: Mapped[int | None] = mapped_column(sa.ForeignKey("repositories.id"))
    base_revision: Mapped[str]
    base_commit: Mapped[str]
    base_content: Mapped[str]
    # True for the base that the adapter's config declares, and where it declares none.
    declared: Mapped[bool]
    status: Mapped[str]
    evidence: Mapped[str]
    peft_type: Mapped[str]
    author: Mapped[str]
    # The codes of its issues, each once and between spaces: " a b ". Empty where it has none.
    issue_codes: Mapped[str] = mapped_column(server_default="")
    # Lower case: what a person's search is compared with and names are sorted by.
    search_text: Mapped[str]
    plan_digest: Mapped[str | None] = mapped_column(sa.ForeignKey("plans.digest"), index=True)
    planner_version: Mapped[int]
    content_digest: Mapped[str]
    scanned_at: Mapped[datetime]
    confirmed_at: Mapped[datetime]
    current: Mapped[bool]
    listed: Mapped[bool]
    private: Mapped[bool]
    shown_status: Mapped[str]
    superseded_by: Mapped[int | None] = mapped_column(sa.ForeignKey("records.id"), index=True)


class RecordBodyRow(Base):
    """The record as it is printed, apart from `records` so that counting never reads it."""

    __tablename__ = "record_bodies"

    record_id: Mapped[int] = mapped_column(
        sa.ForeignKey("records.id", ondelete="CASCADE"), primary_key=True
    )
    document: Mapped[Any] = mapped_column(Document)


class RecordIssueRow(Base):
    """The issues of listed records, with what they are counted by repeated beside them."""

    __tablename__ = "record_issues"
    __table_args__ = (
        sa.Index(None, "listed", "private", "code", "scanned_at", "record_id"),
        one_of("severity", Severity),
        one_of("status", Status),
        {"sqlite_with_rowid": False},
    )

    record_id: Mapped[int] = mapped_column(
        sa.ForeignKey("records.id", ondelete="CASCADE"), primary_key=True
    )
    code: Mapped[str] = mapped_column(primary_key=True)
    severity: Mapped[str]
    status: Mapped[str]
    base_repo_id: Mapped[str]
    scanned_at: Mapped[datetime]
    listed: Mapped[bool]
    private: Mapped[bool]


class RehearsalRow(Base):
    """One run of the real PEFT without weights; raw sets, so that a later rule can be tried."""

    __tablename__ = "rehearsals"
    __table_args__ = (
        sa.Index(None, "adapter_digest", "subfolder", "base_digest"),
        one_of("outcome", REHEARSAL_OUTCOMES),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    adapter_digest: Mapped[str]
    subfolder: Mapped[str]
    base_digest: Mapped[str]
    # '' for the naive load, which follows no plan.
    plan_digest: Mapped[str]
    outcome: Mapped[str]
    missing: Mapped[Any] = mapped_column(Document)
    unexpected: Mapped[Any] = mapped_column(Document)
    overwritten: Mapped[Any] = mapped_column(Document)
    error: Mapped[str | None]
    warnings: Mapped[Any] = mapped_column(Document)
    versions: Mapped[Any] = mapped_column(Document)
    finished_at: Mapped[datetime]


class EnvironmentRow(Base):
    """The versions that a proof holds for. A retired one makes its proofs' records stale."""

    __tablename__ = "environments"

    digest: Mapped[str] = mapped_column(primary_key=True)
    document: Mapped[Any] = mapped_column(Document)
    first_seen_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]
    retired_reason: Mapped[str | None]


class ProofRow(Base):
    """One run of a plan with real weights. Append-only, keyed by what was run, not from where."""

    __tablename__ = "proofs"
    __table_args__ = (
        sa.Index(None, "adapter_digest", "subfolder", "base_digest", "finished_at"),
        one_of("outcome", PROOF_OUTCOMES),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    adapter_digest: Mapped[str]
    subfolder: Mapped[str]
    base_digest: Mapped[str]
    plan_digest: Mapped[str]
    environment_digest: Mapped[str] = mapped_column(
        sa.ForeignKey("environments.digest"), index=True
    )
    device: Mapped[str]
    outcome: Mapped[str]
    # Where the bytes came from: {"adapter": {repo_id, commit_sha}, "base": {…}}.
    found_at: Mapped[Any] = mapped_column(Document)
    document: Mapped[Any] = mapped_column(Document)
    finished_at: Mapped[datetime]
