"""What a checkpoint holds, as one digest: equal content has an equal digest wherever it lies.

A digest is the sha256 of canonical JSON (RFC 8785) of `{schema, kind, config, weights, tokenizer}`:
the parsed config, file name -> content id of the weight files that would be loaded, file name ->
content id of the tokenizer files. Names are relative to the adapter's folder. A README, another
commit or another repository does not change it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import rfc8785

from registry.domain.refs import Digest

_SCHEMA = 1
# Deeper values have no canonical form here. Without a bound of our own the interpreter's would
# decide, and that depends on how deep the caller's stack happens to be.
_MAX_DEPTH = 100


def compute_adapter_digest(
    config: Mapping[str, object] | None,
    config_bytes: bytes | None,
    weights: Mapping[str, str],
    tokenizer: Mapping[str, str],
) -> Digest:
    """The digest of an adapter. `config` is None when the file could not be parsed or is absent;
    then its bytes stand in."""
    return _digest("adapter", config, config_bytes, weights, tokenizer)


def compute_base_digest(
    config: Mapping[str, object] | None,
    config_bytes: bytes | None,
    weights: Mapping[str, str],
    tokenizer: Mapping[str, str],
) -> Digest:
    """The digest of a base model: config.json, weight files, tokenizer files."""
    return _digest("base", config, config_bytes, weights, tokenizer)


def compute_tokenizer_id(files: Mapping[str, str]) -> str:
    """The content id of a tokenizer: file name -> content id of its files, digested."""
    return _sha256(rfc8785.dumps({"schema": _SCHEMA, "tokenizer": dict(files)}))


def compute_json_digest(value: object, data: bytes) -> Digest:
    """The digest of a parsed JSON file; of its bytes where the value has no canonical form.

    Numbers beyond IEEE doubles, NaN, lone surrogates and hostile depth have none.
    """
    canonical = _canonical(value)
    return Digest(_sha256(data if canonical is None else canonical))


def git_blob_oid(data: bytes) -> str:
    """The content id that git, and so the Hub, gives to a file kept outside LFS."""
    # The oid is git's name for the content, not a protection; git defines it as SHA-1.
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _digest(
    kind: str,
    config: Mapping[str, object] | None,
    config_bytes: bytes | None,
    weights: Mapping[str, str],
    tokenizer: Mapping[str, str],
) -> Digest:
    document: dict[str, Any] = {
        "schema": _SCHEMA,
        "kind": kind,
        "weights": dict(weights),
        "tokenizer": dict(tokenizer),
    }
    if config is not None:
        canonical = _canonical({**document, "config": dict(config)})
        if canonical is not None:
            return Digest(_sha256(canonical))
    # Another member, so that no parsed config can be made to look like bytes.
    held = None if config_bytes is None else _sha256(config_bytes)
    return Digest(_sha256(rfc8785.dumps({**document, "config_bytes": held})))


def _canonical(value: object) -> bytes | None:
    if not _is_shallow(value):
        return None
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]  # unfit values raise
    except (rfc8785.CanonicalizationError, RecursionError, UnicodeEncodeError):
        return None


def _is_shallow(value: object) -> bool:
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list | tuple)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return True
    return False


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
