"""What was read from where: repositories, commits, layouts, tokenizers, configs.

Nothing in a unique key is nullable. Where a commit or a digest is not known (a gated or missing
repository), the key holds a stand-in that begins with `?`, see `registry.db.checkpoints`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from registry.db.base import Base, Document, RowId, one_of
from registry.domain.refs import Source

CHECKPOINT_KINDS = ("adapter", "base")
ACCESS_STATES = ("unknown", "readable", "gated", "missing", "disabled")


class RepositoryRow(Base):
    """One repository under the id that the source answers with."""

    __tablename__ = "repositories"
    __table_args__ = (
        sa.UniqueConstraint("source", "repo_id"),
        one_of("source", Source),
        one_of("access", ACCESS_STATES),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    source: Mapped[str]
    repo_id: Mapped[str]
    # The part before the slash, '' for a one-segment id: what the author facet counts.
    author: Mapped[str]
    private: Mapped[bool] = mapped_column(default=False)
    gated: Mapped[bool] = mapped_column(default=False)
    access: Mapped[str] = mapped_column(default="unknown")
    checked_at: Mapped[datetime | None]


class RepositoryAliasRow(Base):
    """An id that a repository is also asked for by: moved, renamed, in other letters."""

    __tablename__ = "repository_aliases"
    __table_args__ = (one_of("source", Source),)

    source: Mapped[str] = mapped_column(primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    repository_id: Mapped[int] = mapped_column(
        sa.ForeignKey("repositories.id", ondelete="CASCADE"), index=True
    )


class RefRow(Base):
    """Which commit a branch or tag had when: one row for each move that was noticed."""

    __tablename__ = "refs"
    __table_args__ = (sa.Index(None, "repository_id", "name", "seen_at"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    repository_id: Mapped[int] = mapped_column(sa.ForeignKey("repositories.id", ondelete="CASCADE"))
    name: Mapped[str]
    commit_key: Mapped[str]
    seen_at: Mapped[datetime]


class LayoutRow(Base):
    """The tensors of a header, stored once however many checkpoints share them."""

    __tablename__ = "layouts"
    __table_args__ = (sa.UniqueConstraint("digest"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    digest: Mapped[str]
    tensor_count: Mapped[int]


class LayoutTensorRow(Base):
    """The tensors of a layout whose names differ in layer and expert numbers alone.

    `members` lists the numbers that stand for each `*` in `name` (see `registry.db.name_runs`),
    null where `name` is one tensor's name as it is. A 448-tensor LoRA takes 14 rows of 2 KB in all
    and not 448 of 62 KB.
    """

    __tablename__ = "layout_tensors"
    __table_args__ = ({"sqlite_with_rowid": False},)

    layout_id: Mapped[int] = mapped_column(
        sa.ForeignKey("layouts.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    members: Mapped[Any | None] = mapped_column(Document)
    dtype: Mapped[str]
    shape: Mapped[Any] = mapped_column(Document)


class TokenizerRow(Base):
    """A tokenizer by the content of its files: the same few recur in most adapters."""

    __tablename__ = "tokenizers"

    content_id: Mapped[str] = mapped_column(primary_key=True)
    length: Mapped[int | None]
    largest_id: Mapped[int | None]
    document: Mapped[Any] = mapped_column(Document)


class AdapterConfigRow(Base):
    """adapter_config.json as parsed, once per content. `document` is the whole truth."""

    __tablename__ = "adapter_configs"
    __table_args__ = (sa.UniqueConstraint("digest"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    digest: Mapped[str]
    peft_type: Mapped[str]
    task_type: Mapped[str | None]
    rank: Mapped[int | None]
    lora_alpha: Mapped[float | None] = mapped_column(sa.Double)
    bias: Mapped[str]
    use_dora: Mapped[bool]
    use_rslora: Mapped[bool]
    target_modules: Mapped[Any | None] = mapped_column(Document)
    modules_to_save: Mapped[Any | None] = mapped_column(Document)
    base_model_name_or_path: Mapped[str | None]
    base_revision: Mapped[str | None]
    peft_version: Mapped[str | None]
    document: Mapped[Any] = mapped_column(Document)


class BaseConfigRow(Base):
    """A base's config.json as parsed, once per content. `document` is the whole truth."""

    __tablename__ = "base_configs"
    __table_args__ = (sa.UniqueConstraint("digest"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    digest: Mapped[str]
    model_type: Mapped[str | None]
    vocab_size: Mapped[int | None]
    hidden_size: Mapped[int | None]
    tie_word_embeddings: Mapped[bool | None]
    dtype: Mapped[str | None]
    quantization: Mapped[str | None]
    document: Mapped[Any] = mapped_column(Document)


class CheckpointRow(Base):
    """One adapter folder or base at one commit, and what was read there.

    `facts` is null while only commit and content are known, as for a commit whose content equals
    that of one read before.
    """

    __tablename__ = "checkpoints"
    __table_args__ = (
        sa.UniqueConstraint("repository_id", "kind", "commit_key", "subfolder"),
        sa.Index(None, "content_key", "subfolder"),
        one_of("kind", CHECKPOINT_KINDS),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    repository_id: Mapped[int] = mapped_column(sa.ForeignKey("repositories.id", ondelete="CASCADE"))
    kind: Mapped[str]
    commit_key: Mapped[str]
    subfolder: Mapped[str] = mapped_column(default="")
    content_key: Mapped[str]
    weights_format: Mapped[str | None]
    weights_bytes: Mapped[int | None]
    layout_id: Mapped[int | None] = mapped_column(sa.ForeignKey("layouts.id"), index=True)
    tokenizer_id: Mapped[str | None] = mapped_column(
        sa.ForeignKey("tokenizers.content_id"), index=True
    )
    adapter_config_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("adapter_configs.id"), index=True
    )
    base_config_id: Mapped[int | None] = mapped_column(sa.ForeignKey("base_configs.id"), index=True)
    facts: Mapped[Any | None] = mapped_column(Document)


class BaseTreeRow(Base):
    """A base's parameter tree as one version of transformers builds it."""

    __tablename__ = "base_trees"

    base_digest: Mapped[str] = mapped_column(primary_key=True)
    transformers_version: Mapped[str] = mapped_column(primary_key=True)
    layout_id: Mapped[int] = mapped_column(sa.ForeignKey("layouts.id"), index=True)
    recorded_at: Mapped[datetime]
