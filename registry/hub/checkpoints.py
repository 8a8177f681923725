"""What to read of an adapter and of a base, in how few requests.

An adapter without a tokenizer costs three answers of the Hub (the list of files with content ids,
the config, the redirect to the weights) and one range of 64 KiB elsewhere.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from registry.domain.adapter_config import parse_adapter_config
from registry.domain.base_model import BaseConfig, parse_base_config
from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.issues import Issue, make_issue
from registry.domain.refs import CheckpointRef, Digest, Reference, RepoId, Source, shown
from registry.errors import (
    ConfigInvalid,
    FileInvalid,
    ForeignFormat,
    LoadplanError,
    NotAPeftAdapter,
)
from registry.hub.digests import compute_adapter_digest, compute_base_digest, compute_json_digest
from registry.hub.reader import Files
from registry.hub.snapshots import (
    ADAPTER_CONFIG,
    Snapshot,
    adapter_folders,
    prefix_of,
)
from registry.hub.together import LARGE, run_together
from registry.hub.tokenizers import TokenizerRead, Tokenizers
from registry.hub.weights import WeightsRead, read_adapter_weights, read_base_weights

BASE_CONFIG, GENERATION_CONFIG = "config.json", "generation_config.json"
_MAX_CONFIG = 4 * 1024 * 1024
_LFS_POINTER = b"version https://git-lfs"
_TOKEN_ID = "_token_id"  # noqa: S105
_DEFAULT_REVISION = "main"
# Files by which other tools' adapters are known, when PEFT's config is not there.
_FOREIGN_FILES: tuple[tuple[str, str], ...] = (
    ("adapters.safetensors", "mlx-lm"),
    ("adapters.npz", "mlx-lm"),
    ("pytorch_lora_weights.safetensors", "diffusers"),
    ("pytorch_lora_weights.bin", "diffusers"),
    ("pytorch_adapter.bin", "the Adapters library"),
)

C = TypeVar("C")


@dataclass(frozen=True)
class _ConfigRead(Generic[C]):
    config: C | None
    data: bytes | None
    problem: Issue | None = None


@dataclass(frozen=True)
class _GenerationRead:
    digest: Digest | None = None
    token_ids: Mapping[str, tuple[int, ...]] | None = None


async def find_adapters(files: Files, reference: Reference) -> tuple[str | None, ...]:
    """The folders that hold an adapter_config.json, the root (None) first, at most 32."""
    snapshot = await files.resolve(reference)
    if not snapshot.complete:
        # No listing: the folder that was asked for is all that can be looked at.
        path = prefix_of(reference.subfolder) + ADAPTER_CONFIG
        found = await files.locate(snapshot, path)
        return () if found is None else (reference.subfolder,)
    return adapter_folders(snapshot)


async def read_adapter(files: Files, tokenizers: Tokenizers, reference: Reference) -> AdapterFacts:
    """Everything of the adapter in the reference's folder.

    Raises NotAPeftAdapter or ForeignFormat where there is no adapter_config.json; their fields
    `repo_id`, `commit_sha` and `other_adapters` say what was found instead.
    """
    snapshot = await files.resolve(reference)
    folder = reference.subfolder
    prefix = prefix_of(folder)
    if await files.locate(snapshot, prefix + ADAPTER_CONFIG) is None:
        raise _no_adapter(snapshot, folder)
    config, weights, tokenizer, generation = await _gather(
        _read_config(files, snapshot, prefix + ADAPTER_CONFIG, parse_adapter_config),
        read_adapter_weights(files, snapshot, folder),
        tokenizers.read(files, snapshot, folder),
        _read_generation_config(files, snapshot, prefix),
    )
    digest = compute_adapter_digest(
        None if config.config is None else config.config.raw,
        config.data,
        weights.facts.files if weights.facts else {},
        tokenizer.files,
    )
    return AdapterFacts(
        ref=_ref(reference, snapshot, digest, folder),
        config=config.config,
        weights=weights.facts,
        tokenizer=tokenizer.facts,
        other_adapters=_others(snapshot, folder),
        problems=_problems(config.problem, weights),
        generation_config_digest=generation.digest,
        private=snapshot.private,
        gated=snapshot.gated,
    )


async def read_base(files: Files, tokenizers: Tokenizers, reference: Reference) -> BaseFacts:
    """Everything of a base model. Its root is read; bases have no sub-folders here."""
    snapshot = await files.resolve(reference)
    config, weights, tokenizer, generation = await _gather(
        _read_base_config(files, snapshot),
        read_base_weights(files, snapshot),
        tokenizers.read(files, snapshot, None),
        _read_generation_config(files, snapshot, ""),
    )
    digest = compute_base_digest(
        None if config.config is None else config.config.raw,
        config.data,
        weights.facts.files if weights.facts else {},
        tokenizer.files,
    )
    return BaseFacts(
        ref=_ref(reference, snapshot, digest, None),
        config=config.config,
        weights=weights.facts,
        tokenizer=tokenizer.facts,
        problems=_problems(config.problem, weights),
        generation_config_digest=generation.digest,
        generation_token_ids=generation.token_ids,
        private=snapshot.private,
        gated=snapshot.gated,
    )


async def _gather(
    config: Coroutine[Any, Any, _ConfigRead[C]],
    weights: Coroutine[Any, Any, WeightsRead],
    tokenizer: Coroutine[Any, Any, TokenizerRead],
    generation: Coroutine[Any, Any, _GenerationRead],
) -> tuple[_ConfigRead[C], WeightsRead, TokenizerRead, _GenerationRead]:
    """The four parts of a checkpoint at once, each with its own type."""
    read: list[Any] = await run_together(config, weights, tokenizer, generation)
    return read[0], read[1], read[2], read[3]


def _ref(
    reference: Reference, snapshot: Snapshot, digest: Digest, subfolder: str | None
) -> CheckpointRef:
    on_hub = snapshot.source is Source.HUB
    return CheckpointRef(
        source=snapshot.source,
        repo_id=RepoId(snapshot.repo_id),
        revision=(reference.revision or _DEFAULT_REVISION) if on_hub else None,
        commit_sha=snapshot.commit_sha,
        digest=digest,
        subfolder=subfolder,
    )


async def _read_config(
    files: Files, snapshot: Snapshot, path: str, parse: Callable[[bytes], C]
) -> _ConfigRead[C]:
    entry = await files.locate(snapshot, path)
    if entry is None:
        return _ConfigRead(None, None)
    data = None
    try:
        data = await files.read_whole(snapshot, entry, _MAX_CONFIG)
        if data.startswith(_LFS_POINTER):
            raise ConfigInvalid(f"{path} is a Git LFS pointer, not the config.")
        parsed = await asyncio.to_thread(parse, data) if len(data) > LARGE else parse(data)
    except FileInvalid as error:
        code = error.code if isinstance(error, ConfigInvalid) else ConfigInvalid.code
        return _ConfigRead(None, data, make_issue(code, error.message, fix=error.fix))
    return _ConfigRead(parsed, data)


async def _read_base_config(files: Files, snapshot: Snapshot) -> _ConfigRead[BaseConfig]:
    """config.json. What is wrong with a base's config never reads as the adapter's fault."""
    read = await _read_config(files, snapshot, BASE_CONFIG, parse_base_config)
    if read.config is not None:
        return read
    said = read.problem.message if read.problem else f"The base holds no {BASE_CONFIG}."
    return _ConfigRead(None, read.data, make_issue("base-architecture-unknown", said))


async def _read_generation_config(files: Files, snapshot: Snapshot, prefix: str) -> _GenerationRead:
    """generation_config.json: optional, and ignored by the libraries when it is broken."""
    entry = await files.locate(snapshot, prefix + GENERATION_CONFIG)
    if entry is None:
        return _GenerationRead()
    try:
        data = await files.read_whole(snapshot, entry, _MAX_CONFIG)
    except FileInvalid:
        return _GenerationRead()
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return _GenerationRead(compute_json_digest(None, data))
    return _GenerationRead(compute_json_digest(document, data), parse_token_ids(document))


def parse_token_ids(document: object) -> Mapping[str, tuple[int, ...]] | None:
    """Every `*_token_id` of a generation config: name -> ids. None when it is not an object."""
    if not isinstance(document, Mapping):
        return None
    found: dict[str, tuple[int, ...]] = {}
    for name, value in document.items():
        ids = value if isinstance(value, list) else [value]
        if name.endswith(_TOKEN_ID) and all(type(one) is int for one in ids):
            found[name] = tuple(ids)
    return found


def _problems(config: Issue | None, weights: WeightsRead) -> tuple[Issue, ...]:
    if config is None:
        return weights.problems
    if config.code in (ForeignFormat.code, NotAPeftAdapter.code):
        # Another tool's folder lacks PEFT's weights by nature; the one reason is enough.
        return (config,)
    return (config, *weights.problems)


def _others(snapshot: Snapshot, folder: str | None) -> tuple[str, ...]:
    """The sub-folders that hold other adapters than this one."""
    return tuple(name for name in adapter_folders(snapshot) if name is not None and name != folder)


def _no_adapter(snapshot: Snapshot, folder: str | None) -> LoadplanError:
    """Why there is no adapter here, and where there may be one."""
    others = _others(snapshot, folder)
    where = f"the sub-folder {shown(folder)}" if folder else "the root"
    fields = {
        "repo_id": snapshot.repo_id,
        "commit_sha": snapshot.commit_sha,
        "other_adapters": others,
    }
    if others:
        named = ", ".join(shown(name) for name in others)
        message = f"No {ADAPTER_CONFIG} in {where}; adapters lie in the sub-folders {named}."
        return NotAPeftAdapter(message, **fields)
    names = snapshot.names_in(folder)
    for name, tool in _FOREIGN_FILES:
        if name in names:
            message = f"No {ADAPTER_CONFIG} in {where}; {name} is an adapter for {tool}."
            return ForeignFormat(message, tool=tool, **fields)
    if any(name.endswith(".gguf") for name in names):
        message = f"No {ADAPTER_CONFIG} in {where}; it holds GGUF files, which are for llama.cpp."
        return ForeignFormat(message, tool="llama.cpp", **fields)
    if BASE_CONFIG in names:
        message = f"{where[0].upper()}{where[1:]} holds a whole model (it has a {BASE_CONFIG}), "
        return NotAPeftAdapter(f"{message}not an adapter: load it by itself.", **fields)
    return NotAPeftAdapter(f"No {ADAPTER_CONFIG} in {where}.", **fields)
