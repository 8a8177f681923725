"""Settings, database and reader of a command that works on its own, opened once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from registry.domain.refs import Reference, parse_reference

if TYPE_CHECKING:
    from registry.config import Settings
    from registry.db.session import Database
    from registry.hub import Reader
    from registry.sandbox import Isolation
    from registry.scanning import Scanner

REFERENCE_HELP = "namespace/name[@revision][:subfolder], or a folder as ./folder."
BASE_HELP = "The base to load it on, where the adapter names none or another is meant."
JSON_HELP = "Print one JSON document on stdout."


def load_settings() -> Settings:
    """From the environment. Raises SettingInvalid."""
    from registry.config import load_settings as read

    return read()


@contextmanager
def opened_database(settings: Settings) -> Iterator[Database]:
    """SQLite is migrated when opened; PostgreSQL only by `loadplan migrate`.

    Raises DatabaseNotMigrated, DatabaseUnavailable, SettingInvalid.
    """
    from migrations.upgrade import upgrade
    from registry.db.session import check_migrated, open_database

    database = open_database(settings.database_url)
    try:
        if database.dialect == "sqlite":
            upgrade(settings.database_url)
        else:
            check_migrated(database)
        yield database
    finally:
        database.close()


@asynccontextmanager
async def opened_reader(settings: Settings, database: Database) -> AsyncIterator[Reader]:
    """Reads the Hub and local folders alike; tokenizers are looked up in the database first."""
    from registry.db.checkpoints import StoredTokenizers
    from registry.hub import Patience, open_reader

    token = settings.hf_token.get_secret_value() if settings.hf_token else None
    async with open_reader(
        settings.hf_endpoint,
        token,
        tokenizers=StoredTokenizers(database),
        # A person waits: a Hub that is not there is said after seconds, not after a minute.
        patience=Patience(attempts=4),
    ) as reader:
        yield reader


def isolation_of(settings: Settings) -> Isolation:
    """How children that read untrusted files are kept in. Patterns, pickles and rehearsals run
    under limits without bubblewrap too; proofs do not. Raises SandboxMissing off Linux."""
    from registry.sandbox import Isolation, choose_isolation

    return Isolation.PROCESS if settings.sandbox == "process" else choose_isolation()


def parse_base(text: str | None) -> Reference | None:
    return None if text is None else parse_reference(text, allow_local=True)


def scanner_for(settings: Settings, reader: Reader, database: Database) -> Scanner:
    """A scanner whose pattern matching runs in children of the isolation that the settings say."""
    from functools import partial

    from registry.hub.patterns import match_modules
    from registry.sandbox import Isolation
    from registry.scanning import Scanner

    # None: the strongest at hand, found out only for a config that has a pattern.
    isolation = Isolation.PROCESS if settings.sandbox == "process" else None
    return Scanner(reader, database, match=partial(match_modules, isolation=isolation))
