"""Bring a database to the newest migration, from the installed package, without alembic.ini."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from migrations.connection import migration_connection
from registry.db.base import SCHEMA_HEAD
from registry.db.session import current_migration, parse_url, sqlite_path, translated_errors

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["current", "downgrade", "head", "upgrade"]


def upgrade(url: str) -> None:
    """Migrate to the newest migration; at once where it is there, and safe in many processes.

    Raises SettingInvalid, DatabaseUnavailable.
    """
    here = current(url)
    if here is not None and here >= SCHEMA_HEAD:
        return
    # Alembic takes a quarter of a second to import and is needed once per release.
    from alembic import command

    with migration_connection(url) as connection:
        command.upgrade(_config(connection), "head")


def downgrade(url: str, target: str) -> None:
    """Go back to `target`, a migration's id or `base`."""
    from alembic import command

    with migration_connection(url) as connection:
        command.downgrade(_config(connection), target)


def head() -> str:
    """The newest migration of this package."""
    from alembic.script import ScriptDirectory

    newest = ScriptDirectory.from_config(_config(None)).get_current_head()
    assert newest is not None
    return newest


def current(url: str) -> str | None:
    """The migration a database is at, None for an empty one or a file that does not exist yet.

    Raises SettingInvalid, DatabaseUnavailable.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite" and not sqlite_path(parsed).exists():
        return None
    engine = sa.create_engine(parsed, poolclass=sa.NullPool)
    with translated_errors(), engine.connect() as connection:
        return current_migration(connection)


def _config(connection: sa.Connection | None) -> Config:
    from alembic.config import Config

    config = Config()
    # A percent sign in a path would be read as an interpolation.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
