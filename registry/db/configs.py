"""Configs of adapters and bases as parsed: stored once per content, the numbers in columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy.orm import Session

from registry.db.base import write_document
from registry.db.documents import to_document
from registry.db.models import AdapterConfigRow, BaseConfigRow
from registry.db.upsert import find_or_insert, find_or_insert_all
from registry.domain.adapter_config import AdapterConfig
from registry.domain.base_model import BaseConfig
from registry.domain.canonical import sha256_digest

_MAX_INTEGER = 2**63 - 1


def save_adapter_config(session: Session, config: AdapterConfig) -> int:
    """The id of the config's row."""
    digest, values = _adapter_values(config)
    ids = _ids(session, AdapterConfigRow)
    if digest not in ids:
        ids[digest], _ = find_or_insert(session, AdapterConfigRow, {"digest": digest}, values)
    return ids[digest]


def save_adapter_configs(
    session: Session, configs: Iterable[AdapterConfig | None]
) -> list[int | None]:
    """The ids of these configs' rows, found and made with one statement each."""
    rows = [None if config is None else _adapter_values(config) for config in configs]
    ids = _ids(session, AdapterConfigRow)
    new = {row[0]: row[1] for row in rows if row is not None and row[0] not in ids}
    ids.update(find_or_insert_all(session, AdapterConfigRow, "digest", new))
    return [None if row is None else ids[row[0]] for row in rows]


def save_base_config(session: Session, config: BaseConfig) -> int:
    """The id of the config's row."""
    document = to_document(config)
    digest = sha256_digest(write_document(document).encode("ascii"))
    ids = _ids(session, BaseConfigRow)
    if digest not in ids:
        values = {
            "model_type": config.model_type,
            "vocab_size": storable_integer(config.vocab_size),
            "hidden_size": storable_integer(config.hidden_size),
            "tie_word_embeddings": config.tie_word_embeddings,
            "dtype": config.dtype,
            "quantization": config.quantization,
            "document": document,
        }
        ids[digest], _ = find_or_insert(session, BaseConfigRow, {"digest": digest}, values)
    return ids[digest]


def storable_integer(value: object) -> int | None:
    """A claimed number as a column can hold it; what it cannot hold is in the document alone."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MAX_INTEGER:
        return value
    return None


def storable_float(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _ids(session: Session, row: type[AdapterConfigRow] | type[BaseConfigRow]) -> dict[str, int]:
    ids: dict[str, int] = session.info.setdefault(row.__tablename__, {})
    return ids


def _adapter_values(config: AdapterConfig) -> tuple[str, Mapping[str, Any]]:
    document = to_document(config)
    digest = sha256_digest(write_document(document).encode("ascii"))
    return digest, {
        "peft_type": config.peft_type,
        "task_type": config.task_type,
        "rank": storable_integer(config.r),
        "lora_alpha": storable_float(config.lora_alpha),
        "bias": config.bias,
        "use_dora": config.use_dora,
        "use_rslora": config.use_rslora,
        "target_modules": document["target_modules"],
        "modules_to_save": document["modules_to_save"],
        "base_model_name_or_path": config.base_model_name_or_path,
        "base_revision": config.revision,
        "peft_version": config.peft_version,
        "document": document,
    }
