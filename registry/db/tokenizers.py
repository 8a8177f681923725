"""Tokenizers by the content of their files; the cache that the Hub reader asks first."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.db.documents import from_document, to_document
from registry.db.models import TokenizerRow
from registry.db.session import Database
from registry.db.upsert import insert
from registry.domain.tokenizer import TokenizerFacts


def save_tokenizer(session: Session, facts: TokenizerFacts) -> None:
    """Facts that tell a length stay, as content never changes; facts that do not are replaced."""
    seen: set[TokenizerFacts | str] = session.info.setdefault("tokenizers", set())
    if facts.content_id in seen:
        return
    connection = session.connection()
    stored = connection.execute(
        sa.select(TokenizerRow.length, TokenizerRow.content_id).where(
            TokenizerRow.content_id == facts.content_id
        )
    ).first()
    if stored is None or (stored.length is None and facts.length is not None):
        values = {
            "length": facts.length,
            "largest_id": facts.largest_id,
            "document": to_document(facts),
        }
        statement = insert(connection, TokenizerRow).values(content_id=facts.content_id, **values)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["content_id"], set_=values, where=TokenizerRow.length.is_(None)
            )
        )
    seen.add(facts.content_id)


def load_tokenizer(connection: sa.Connection, content_id: str) -> TokenizerFacts | None:
    """The facts of a tokenizer that was read before."""
    document = connection.execute(
        sa.select(TokenizerRow.document).where(TokenizerRow.content_id == content_id)
    ).scalar()
    return None if document is None else from_document(TokenizerFacts, document)


class StoredTokenizers:
    """The reader's tokenizer cache, kept in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, content_id: str) -> TokenizerFacts | None:
        with self._database.reading() as connection:
            return load_tokenizer(connection, content_id)

    def put(self, facts: TokenizerFacts) -> None:
        self._database.write(lambda session: save_tokenizer(session, facts))
