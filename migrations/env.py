"""How Alembic runs: one connection with guards, our tables only, each migration a transaction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import MigrationScript
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from migrations.connection import migration_connection
from registry.config import load_settings
from registry.db import models  # fills the metadata
from registry.db.base import Base

assert models.__all__


def include_name(name: str | None, type_: str, _parents: object) -> bool:
    """Skip what is not ours: on SQLite the job engine's tables lie beside the registry's."""
    return type_ != "table" or name in Base.metadata.tables


def render_item(type_: str, item: Any, _autogen: AutogenContext) -> str | Literal[False]:
    """Column types by what they are in the database: a migration imports nothing of ours."""
    if type_ == "type" and isinstance(item, sa.types.TypeDecorator):
        return f"sa.{item.impl!r}"
    return False


def number_revision(
    migration: MigrationContext,
    _revision: str | Iterable[str | None] | Iterable[str],
    scripts: list[MigrationScript],
) -> None:
    """Ids count up, 0001, 0002, …, so that code can tell a later database from an earlier one."""
    assert migration.config is not None
    head = ScriptDirectory.from_config(migration.config).get_current_head()
    scripts[0].rev_id = f"{int(head or 0) + 1:04d}"


def run(connection: sa.Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_name=include_name,
        render_item=render_item,
        process_revision_directives=number_revision,
        render_as_batch=True,
        compare_type=True,
        transaction_per_migration=True,
        # Alembic takes SQLite for unable to roll back a table; with explicit BEGIN it is able.
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with migration_connection(load_settings().database_url) as own:
        run(own)
