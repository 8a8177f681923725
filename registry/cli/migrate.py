"""`loadplan migrate`: bring the database to the migration that this version needs."""

from __future__ import annotations

from registry.cli.answering import answering
from registry.cli.opening import load_settings
from registry.cli.terminal import print_message


def migrate() -> None:
    """Migrate the database of LOADPLAN_DATABASE_URL. Safe to repeat, and in many processes."""
    with answering():
        settings = load_settings()
        from migrations.upgrade import current, upgrade

        before = current(settings.database_url)
        upgrade(settings.database_url)
        # The engine's tables are not Alembic's: they are made and migrated by the engine.
        from registry.jobs import prepare

        prepare(settings.database_url)
        after = current(settings.database_url)
        if before == after:
            print_message("note", f"The database is at migration {after}; nothing was to be done.")
        else:
            print_message("note", f"Migrated from {before or 'empty'} to {after}.")
