"""Repositories, refs, layouts, tokenizers, configs, checkpoints, base trees.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "adapter_configs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("peft_type", sa.Text(), nullable=False),
        sa.Column("task_type", sa.Text(), nullable=True),
        sa.Column("rank", sa.BigInteger(), nullable=True),
        sa.Column("lora_alpha", sa.Double(), nullable=True),
        sa.Column("bias", sa.Text(), nullable=False),
        sa.Column("use_dora", sa.Boolean(), nullable=False),
        sa.Column("use_rslora", sa.Boolean(), nullable=False),
        sa.Column("target_modules", sa.Text(), nullable=True),
        sa.Column("modules_to_save", sa.Text(), nullable=True),
        sa.Column("base_model_name_or_path", sa.Text(), nullable=True),
        sa.Column("base_revision", sa.Text(), nullable=True),
        sa.Column("peft_version", sa.Text(), nullable=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_adapter_configs")),
        sa.UniqueConstraint("digest", name=op.f("uq_adapter_configs_digest")),
    )

    op.create_table(
        "base_configs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("model_type", sa.Text(), nullable=True),
        sa.Column("vocab_size", sa.BigInteger(), nullable=True),
        sa.Column("hidden_size", sa.BigInteger(), nullable=True),
        sa.Column("tie_word_embeddings", sa.Boolean(), nullable=True),
        sa.Column("dtype", sa.Text(), nullable=True),
        sa.Column("quantization", sa.Text(), nullable=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_base_configs")),
        sa.UniqueConstraint("digest", name=op.f("uq_base_configs_digest")),
    )

    op.create_table(
        "layouts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("tensor_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_layouts")),
        sa.UniqueConstraint("digest", name=op.f("uq_layouts_digest")),
    )

    op.create_table(
        "repositories",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("repo_id", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("private", sa.Boolean(), nullable=False),
        sa.Column("gated", sa.Boolean(), nullable=False),
        sa.Column("access", sa.Text(), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "access IN ('unknown', 'readable', 'gated', 'missing', 'disabled')",
            name=op.f("ck_repositories_access"),
        ),
        sa.CheckConstraint("source IN ('hub', 'local')", name=op.f("ck_repositories_source")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_repositories")),
        sa.UniqueConstraint("source", "repo_id", name=op.f("uq_repositories_source_repo_id")),
    )

    op.create_table(
        "tokenizers",
        sa.Column("content_id", sa.Text(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=True),
        sa.Column("largest_id", sa.BigInteger(), nullable=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("content_id", name=op.f("pk_tokenizers")),
    )

    op.create_table(
        "base_trees",
        sa.Column("base_digest", sa.Text(), nullable=False),
        sa.Column("transformers_version", sa.Text(), nullable=False),
        sa.Column(
            "layout_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["layout_id"], ["layouts.id"], name=op.f("fk_base_trees_layout_id")
        ),
        sa.PrimaryKeyConstraint("base_digest", "transformers_version", name=op.f("pk_base_trees")),
    )
    op.create_index(op.f("ix_base_trees_layout_id"), "base_trees", ["layout_id"])

    op.create_table(
        "checkpoints",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "repository_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("commit_key", sa.Text(), nullable=False),
        sa.Column("subfolder", sa.Text(), nullable=False),
        sa.Column("content_key", sa.Text(), nullable=False),
        sa.Column("weights_format", sa.Text(), nullable=True),
        sa.Column("weights_bytes", sa.BigInteger(), nullable=True),
        sa.Column("layout_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("tokenizer_id", sa.Text(), nullable=True),
        sa.Column(
            "adapter_config_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column(
            "base_config_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("facts", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('adapter', 'base')", name=op.f("ck_checkpoints_kind")),
        sa.ForeignKeyConstraint(
            ["adapter_config_id"],
            ["adapter_configs.id"],
            name=op.f("fk_checkpoints_adapter_config_id"),
        ),
        sa.ForeignKeyConstraint(
            ["base_config_id"], ["base_configs.id"], name=op.f("fk_checkpoints_base_config_id")
        ),
        sa.ForeignKeyConstraint(
            ["layout_id"], ["layouts.id"], name=op.f("fk_checkpoints_layout_id")
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_checkpoints_repository_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tokenizer_id"], ["tokenizers.content_id"], name=op.f("fk_checkpoints_tokenizer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoints")),
        sa.UniqueConstraint(
            "repository_id",
            "kind",
            "commit_key",
            "subfolder",
            name=op.f("uq_checkpoints_repository_id_kind_commit_key_subfolder"),
        ),
    )
    op.create_index(op.f("ix_checkpoints_adapter_config_id"), "checkpoints", ["adapter_config_id"])
    op.create_index(op.f("ix_checkpoints_base_config_id"), "checkpoints", ["base_config_id"])
    op.create_index(
        op.f("ix_checkpoints_content_key_subfolder"),
        "checkpoints",
        ["content_key", "subfolder"],
    )
    op.create_index(op.f("ix_checkpoints_layout_id"), "checkpoints", ["layout_id"])
    op.create_index(op.f("ix_checkpoints_tokenizer_id"), "checkpoints", ["tokenizer_id"])

    op.create_table(
        "layout_tensors",
        sa.Column(
            "layout_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("members", sa.Text(), nullable=True),
        sa.Column("dtype", sa.Text(), nullable=False),
        sa.Column("shape", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["layout_id"],
            ["layouts.id"],
            name=op.f("fk_layout_tensors_layout_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("layout_id", "position", name=op.f("pk_layout_tensors")),
        sqlite_with_rowid=False,
    )

    op.create_table(
        "refs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "repository_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("commit_key", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_refs_repository_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refs")),
    )
    op.create_index(
        op.f("ix_refs_repository_id_name_seen_at"),
        "refs",
        ["repository_id", "name", "seen_at"],
    )

    op.create_table(
        "repository_aliases",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column(
            "repository_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.CheckConstraint("source IN ('hub', 'local')", name=op.f("ck_repository_aliases_source")),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_repository_aliases_repository_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("source", "alias", name=op.f("pk_repository_aliases")),
    )
    op.create_index(
        op.f("ix_repository_aliases_repository_id"), "repository_aliases", ["repository_id"]
    )


def downgrade() -> None:
    op.drop_table("repository_aliases")
    op.drop_table("refs")
    op.drop_table("layout_tensors")
    op.drop_table("checkpoints")
    op.drop_table("base_trees")
    op.drop_table("tokenizers")
    op.drop_table("repositories")
    op.drop_table("layouts")
    op.drop_table("base_configs")
    op.drop_table("adapter_configs")
