"""What was read of adapters and bases: saved by commit, found by commit or by content.

A commit of the same content repeats one narrow row and shares layout, tokenizer and config.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.db.configs import (
    save_adapter_config,
    save_adapter_configs,
    save_base_config,
    storable_integer,
)
from registry.db.documents import from_document, to_document
from registry.db.layouts import find_layouts, load_layout, save_layout
from registry.db.models import (
    AdapterConfigRow,
    BaseConfigRow,
    BaseTreeRow,
    CheckpointRow,
    RepositoryRow,
)
from registry.db.repositories import (
    commit_key,
    content_key,
    ensure_repository,
    known,
    mark_refs_moved,
    repository_ids,
    save_ref,
)
from registry.db.tokenizers import StoredTokenizers, load_tokenizer, save_tokenizer
from registry.db.upsert import find_or_insert, insert, save_row
from registry.domain.adapter_config import AdapterConfig
from registry.domain.base_model import BaseConfig
from registry.domain.facts import AdapterFacts, BaseFacts, WeightsFacts
from registry.domain.refs import CheckpointRef, Digest, Source
from registry.domain.tensors import Layout

__all__ = [
    "StoredTokenizers",
    "ensure_checkpoint",
    "insert_adapters",
    "list_recorded_bases",
    "load_adapter",
    "load_adapter_at",
    "load_base",
    "load_base_at",
    "load_tokenizer",
    "save_adapter",
    "save_base",
    "save_base_tree",
    "save_ref",
    "save_tokenizer",
]

# Members of the facts that have rows or columns of their own.
_APART = frozenset({"ref", "config", "tokenizer", "tree", "private", "gated"})


# --- saving ------------------------------------------------------------------------------------


def save_adapter(session: Session, facts: AdapterFacts) -> None:
    """What was read of an adapter at its commit. Safe to repeat; later reading wins."""
    config_id = None if facts.config is None else save_adapter_config(session, facts.config)
    _save_checkpoint(session, "adapter", facts, {"adapter_config_id": config_id})


def insert_adapters(session: Session, found: Sequence[tuple[int, AdapterFacts]]) -> None:
    """What was read of adapters in repositories, by id, that this transaction has made: there is
    nothing of them yet, and nobody else can add to them before it ends."""
    if not found:
        return
    layouts = [facts.weights.layout for _, facts in found if facts.weights is not None]
    find_layouts(session, [layout for layout in layouts if layout is not None])
    configs = save_adapter_configs(session, [facts.config for _, facts in found])
    connection = session.connection()
    rows = [
        {
            **_key(repository_id, "adapter", facts.ref),
            **_values(session, facts),
            "adapter_config_id": config_id,
        }
        for (repository_id, facts), config_id in zip(found, configs, strict=True)
    ]
    connection.execute(insert(connection, CheckpointRow), rows)


def save_base(session: Session, facts: BaseFacts) -> None:
    """What was read of a base at its commit. Its tree is saved by `save_base_tree` alone, which
    knows the version of transformers that built it."""
    config_id = None if facts.config is None else save_base_config(session, facts.config)
    _save_checkpoint(session, "base", facts, {"base_config_id": config_id})


def save_base_tree(
    session: Session,
    base_digest: Digest,
    transformers_version: str,
    layout: Layout,
    *,
    recorded_at: datetime | None = None,
) -> None:
    """The parameter tree that this version of transformers builds for a base."""
    save_row(
        session,
        BaseTreeRow,
        {"base_digest": base_digest, "transformers_version": transformers_version},
        {
            "layout_id": save_layout(session, layout),
            "recorded_at": recorded_at or datetime.now(UTC),
        },
    )


def ensure_checkpoint(session: Session, kind: str, ref: CheckpointRef) -> int:
    """The repository's id; the commit's content is noted where nothing was read of it yet."""
    repository_id = ensure_repository(session, ref.source, ref.repo_id)
    key = _key(repository_id, kind, ref)
    saved: dict[tuple[Any, ...], object] = session.info.setdefault("checkpoints", {})
    if tuple(key.values()) not in saved:
        _, is_new = find_or_insert(session, CheckpointRow, key, {"content_key": content_key(ref)})
        saved[tuple(key.values())] = None
        if is_new:
            mark_refs_moved(session, repository_id, kind, commit_key(ref))
    return repository_id


def _key(repository_id: int, kind: str, ref: CheckpointRef) -> dict[str, Any]:
    return {
        "repository_id": repository_id,
        "kind": kind,
        "commit_key": commit_key(ref),
        "subfolder": (ref.subfolder or "") if kind == "adapter" else "",
    }


def _save_checkpoint(
    session: Session, kind: str, facts: AdapterFacts | BaseFacts, config: Mapping[str, int | None]
) -> None:
    repository_id = ensure_repository(session, facts.ref.source, facts.ref.repo_id)
    key = _key(repository_id, kind, facts.ref)
    saved: dict[tuple[Any, ...], object] = session.info.setdefault("checkpoints", {})
    if saved.get(tuple(key.values())) is facts:
        # A batch of adapters brings their one base along with each.
        return
    values = {**config, **_values(session, facts)}
    before = session.connection().execute(_CONTENT_AT, key).scalar()
    save_row(session, CheckpointRow, key, values)
    saved[tuple(key.values())] = facts
    if before != values["content_key"]:
        mark_refs_moved(session, repository_id, kind, commit_key(facts.ref))


def _values(session: Session, facts: AdapterFacts | BaseFacts) -> dict[str, Any]:
    """A checkpoint's columns but its key and its config. Tokenizer and layout are saved first."""
    weights, tokenizer = facts.weights, facts.tokenizer
    if tokenizer is not None:
        save_tokenizer(session, tokenizer)
    layout = None if weights is None else weights.layout
    documented = {
        name: member
        for name, member in to_document(_without_layout(facts)).items()
        if name not in _APART
    }
    return {
        "content_key": content_key(facts.ref),
        "weights_format": None if weights is None else weights.format.value,
        "weights_bytes": None if weights is None else storable_integer(weights.size_bytes),
        "layout_id": None if layout is None else save_layout(session, layout),
        "tokenizer_id": None if tokenizer is None else tokenizer.content_id,
        "facts": documented,
    }


_CONTENT_AT = sa.select(CheckpointRow.content_key).where(
    CheckpointRow.repository_id == sa.bindparam("repository_id"),
    CheckpointRow.kind == sa.bindparam("kind"),
    CheckpointRow.commit_key == sa.bindparam("commit_key"),
    CheckpointRow.subfolder == sa.bindparam("subfolder"),
)


def _without_layout(facts: AdapterFacts | BaseFacts) -> AdapterFacts | BaseFacts:
    """Only what goes into the document: no tensors, no config, no tokenizer."""
    weights = None if facts.weights is None else replace(facts.weights, layout=None)
    if isinstance(facts, BaseFacts):
        return replace(facts, weights=weights, config=None, tokenizer=None, tree=None)
    return replace(facts, weights=weights, config=None, tokenizer=None)


# --- loading -----------------------------------------------------------------------------------


def load_adapter(
    connection: sa.Connection, digest: Digest, subfolder: str | None = None
) -> AdapterFacts | None:
    """The facts of this content, at the commit where it was recorded last."""
    row = connection.execute(_by_content("adapter", digest, subfolder)).first()
    return None if row is None else _adapter_facts(connection, row)


def load_adapter_at(
    connection: sa.Connection,
    source: Source,
    repo_id: str,
    commit_sha: str,
    subfolder: str | None = None,
) -> AdapterFacts | None:
    """The facts that were read at this commit."""
    found = _by_commit("adapter", source, repo_id, commit_sha, subfolder)
    row = connection.execute(found).first()
    return None if row is None else _adapter_facts(connection, row)


def load_base(
    connection: sa.Connection, digest: Digest, transformers_version: str | None = None
) -> BaseFacts | None:
    """The facts of this content with the tree that was built last, or by this version."""
    row = connection.execute(_by_content("base", digest, None)).first()
    return None if row is None else _base_facts(connection, row, transformers_version)


def load_base_at(
    connection: sa.Connection,
    source: Source,
    repo_id: str,
    commit_sha: str,
    transformers_version: str | None = None,
) -> BaseFacts | None:
    """The facts that were read at this commit, with a tree as `load_base` has it."""
    row = connection.execute(_by_commit("base", source, repo_id, commit_sha, None)).first()
    return None if row is None else _base_facts(connection, row, transformers_version)


def list_recorded_bases(connection: sa.Connection, *, limit: int) -> list[BaseFacts]:
    """Bases of distinct content, the last recorded first. Private ones are not among them."""
    newest = (
        sa.select(sa.func.max(CheckpointRow.id))
        .join(RepositoryRow, RepositoryRow.id == CheckpointRow.repository_id)
        .where(
            CheckpointRow.kind == "base",
            CheckpointRow.facts.is_not(None),
            RepositoryRow.private.is_(sa.false()),
        )
        .group_by(CheckpointRow.content_key)
    )
    rows = connection.execute(
        _stored("base")
        .where(CheckpointRow.id.in_(newest))
        .order_by(CheckpointRow.id.desc())
        .limit(limit)
    ).all()
    return [_base_facts(connection, row, None) for row in rows]


def _stored(kind: str) -> sa.Select[Any]:
    config = AdapterConfigRow if kind == "adapter" else BaseConfigRow
    config_id = (
        CheckpointRow.adapter_config_id if kind == "adapter" else CheckpointRow.base_config_id
    )
    return (
        sa.select(
            RepositoryRow.source,
            RepositoryRow.repo_id,
            CheckpointRow.commit_key,
            CheckpointRow.content_key,
            CheckpointRow.subfolder,
            CheckpointRow.layout_id,
            CheckpointRow.tokenizer_id,
            CheckpointRow.facts,
            config.document.label("config"),
        )
        .join(RepositoryRow, RepositoryRow.id == CheckpointRow.repository_id)
        .join(config, config.id == config_id, isouter=True)
        .where(CheckpointRow.kind == kind, CheckpointRow.facts.is_not(None))
    )


def _by_content(kind: str, digest: str, subfolder: str | None) -> sa.Select[Any]:
    return (
        _stored(kind)
        .where(CheckpointRow.content_key == digest, CheckpointRow.subfolder == (subfolder or ""))
        .order_by(CheckpointRow.id.desc())
        .limit(1)
    )


def _by_commit(
    kind: str, source: Source, repo_id: str, commit_sha: str, subfolder: str | None
) -> sa.Select[Any]:
    return _stored(kind).where(
        CheckpointRow.repository_id.in_(repository_ids(source, repo_id)),
        CheckpointRow.commit_key == commit_sha,
        CheckpointRow.subfolder == (subfolder or ""),
    )


def _adapter_facts(connection: sa.Connection, row: sa.Row[Any]) -> AdapterFacts:
    stored = from_document(AdapterFacts, {**_shared(row), **row.facts})
    config = None if row.config is None else from_document(AdapterConfig, row.config)
    return replace(stored, config=config, **_looked_up(connection, row, stored.weights))


def _base_facts(
    connection: sa.Connection, row: sa.Row[Any], transformers_version: str | None
) -> BaseFacts:
    stored = from_document(BaseFacts, {**_shared(row), **row.facts})
    config = None if row.config is None else from_document(BaseConfig, row.config)
    tree_id = connection.execute(_tree(row.content_key, transformers_version)).scalar()
    return replace(
        stored,
        config=config,
        tree=None if tree_id is None else load_layout(connection, tree_id),
        **_looked_up(connection, row, stored.weights),
    )


def _shared(row: sa.Row[Any]) -> dict[str, Any]:
    commit = known(row.commit_key)
    ref = {
        "source": row.source,
        "repo_id": row.repo_id,
        "revision": commit,
        "commit_sha": commit,
        "digest": known(row.content_key),
        "subfolder": row.subfolder or None,
    }
    return {"ref": ref, "config": None, "tokenizer": None}


def _looked_up(
    connection: sa.Connection, row: sa.Row[Any], weights: WeightsFacts | None
) -> dict[str, Any]:
    """The parts that checkpoints share."""
    if weights is not None and row.layout_id is not None:
        weights = replace(weights, layout=load_layout(connection, row.layout_id))
    tokenizer = None if row.tokenizer_id is None else load_tokenizer(connection, row.tokenizer_id)
    return {"weights": weights, "tokenizer": tokenizer}


def _tree(base_digest: str, transformers_version: str | None) -> sa.Select[int]:
    tree = sa.select(BaseTreeRow.layout_id).where(BaseTreeRow.base_digest == base_digest)
    if transformers_version is not None:
        return tree.where(BaseTreeRow.transformers_version == transformers_version)
    return tree.order_by(BaseTreeRow.recorded_at.desc()).limit(1)
