"""Tokenizer facts, read once per content: the same few tokenizers recur in most adapters."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakValueDictionary

from registry.domain.tokenizer import CHAT_TEMPLATE_FILES, TokenizerFacts, parse_tokenizer
from registry.domain.vocabulary import OPAQUE_FILES
from registry.errors import FileInvalid
from registry.hub.digests import compute_tokenizer_id
from registry.hub.reader import Files
from registry.hub.snapshots import FileEntry, Snapshot, prefix_of
from registry.hub.together import LARGE, run_together

TOKENIZER_JSON, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
_VOCABULARIES = (TOKENIZER_JSON, "vocab.json", "vocab.txt")
_BESIDE = (
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    *CHAT_TEMPLATE_FILES,
)
# Without a vocabulary or an opaque file the others are left-overs of a tokenizer elsewhere.
TOKENIZER_FILES = (*_VOCABULARIES, *OPAQUE_FILES, *_BESIDE)
# The old way of saying what `added_tokens_decoder` says; read only without it.
_OLD_ADDED = ("special_tokens_map.json", "added_tokens.json")

_MAX_VOCABULARY = 64 * 1024 * 1024
_MAX_BESIDE = 8 * 1024 * 1024
_KEPT_FACTS = 256
# Vocabularies that stand beside differing configs are kept as bytes for a while.
_KEPT_BYTES = 48 * 1024 * 1024
_WORTH_KEEPING = 1024 * 1024


class TokenizerCache(Protocol):
    """Tokenizer facts by content id, kept between runs. Called from threads."""

    def get(self, content_id: str) -> TokenizerFacts | None: ...

    def put(self, facts: TokenizerFacts) -> None: ...


@dataclass(frozen=True)
class TokenizerRead:
    """The facts, and file name -> content id of the files they come from."""

    facts: TokenizerFacts | None
    files: Mapping[str, str]


class Tokenizers:
    """Reads tokenizers through memory and an optional cache, each content once at a time."""

    def __init__(self, cache: TokenizerCache | None = None) -> None:
        self._cache = cache
        self._known: OrderedDict[str, TokenizerFacts | None] = OrderedDict()
        self._bytes: OrderedDict[str, bytes] = OrderedDict()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def read(self, files: Files, snapshot: Snapshot, subfolder: str | None) -> TokenizerRead:
        """The tokenizer that lies directly in this folder.

        An adapter in a sub-folder has the tokenizer of its own folder or none: one at the root
        may belong to another adapter, and nothing says that it was trained with this one.
        """
        entries = await _locate_all(files, snapshot, prefix_of(subfolder))
        ids = {name: entry.content_id for name, entry in entries.items() if entry.content_id}
        if not entries:
            return TokenizerRead(None, {})
        content_id = compute_tokenizer_id(ids)
        async with self._lock(content_id):
            if content_id in self._known:
                self._known.move_to_end(content_id)
                return TokenizerRead(self._known[content_id], ids)
            facts = None
            if self._cache is not None:
                facts = await asyncio.to_thread(self._cache.get, content_id)
            if facts is None:
                facts = await self._parse(files, snapshot, entries, content_id)
                if facts is not None and self._cache is not None:
                    await asyncio.to_thread(self._cache.put, facts)
            self._known[content_id] = facts
            if len(self._known) > _KEPT_FACTS:
                self._known.popitem(last=False)
        return TokenizerRead(facts, ids)

    def _lock(self, key: str) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    async def _parse(
        self,
        files: Files,
        snapshot: Snapshot,
        entries: Mapping[str, FileEntry],
        content_id: str,
    ) -> TokenizerFacts | None:
        contents: dict[str, bytes] = {
            # Their presence is a fact; their content takes code that we do not run here.
            name: b""
            for name in OPAQUE_FILES
            if name in entries
        }
        vocabulary = next((name for name in _VOCABULARIES if name in entries), None)
        template = next((name for name in CHAT_TEMPLATE_FILES if name in entries), None)
        first = [vocabulary, TOKENIZER_CONFIG, template]
        try:
            contents |= await self._read_all(files, snapshot, entries, first)
            if not _has_decoder(contents.get(TOKENIZER_CONFIG)):
                contents |= await self._read_all(files, snapshot, entries, _OLD_ADDED)
        except FileInvalid as error:
            return _unreadable(content_id, error.message)
        if sum(map(len, contents.values())) > LARGE:
            return await asyncio.to_thread(parse_tokenizer, contents, content_id)
        return parse_tokenizer(contents, content_id)

    async def _read_all(
        self,
        files: Files,
        snapshot: Snapshot,
        entries: Mapping[str, FileEntry],
        names: tuple[str, ...] | list[str | None],
    ) -> dict[str, bytes]:
        present = [name for name in names if name is not None and name in entries]
        contents = await run_together(
            *(self._read_one(files, snapshot, name, entries[name]) for name in present)
        )
        return dict(zip(present, contents, strict=True))

    async def _read_one(
        self, files: Files, snapshot: Snapshot, name: str, entry: FileEntry
    ) -> bytes:
        if name not in _VOCABULARIES or (entry.size or 0) < _WORTH_KEEPING:
            limit = _MAX_VOCABULARY if name in _VOCABULARIES else _MAX_BESIDE
            return await files.read_whole(snapshot, entry, limit)
        assert entry.content_id is not None
        async with self._lock(f"bytes {entry.content_id}"):
            if entry.content_id not in self._bytes:
                data = await files.read_whole(snapshot, entry, _MAX_VOCABULARY)
                self._bytes[entry.content_id] = data
                while sum(map(len, self._bytes.values())) > _KEPT_BYTES:
                    self._bytes.popitem(last=False)
                return data
            self._bytes.move_to_end(entry.content_id)
            return self._bytes[entry.content_id]


async def _locate_all(files: Files, snapshot: Snapshot, prefix: str) -> dict[str, FileEntry]:
    """The tokenizer files of a folder that are there; none where nothing defines a tokenizer."""
    defining = (*_VOCABULARIES, *OPAQUE_FILES)
    found = await _located(files, snapshot, prefix, defining)
    if found:
        found |= await _located(files, snapshot, prefix, _BESIDE)
    return dict(sorted(found.items()))


async def _located(
    files: Files, snapshot: Snapshot, prefix: str, names: tuple[str, ...]
) -> dict[str, FileEntry]:
    if snapshot.complete:
        names = tuple(name for name in names if snapshot.find(prefix + name) is not None)
    entries = await run_together(*(files.locate(snapshot, prefix + name) for name in names))
    return {name: entry for name, entry in zip(names, entries, strict=True) if entry is not None}


def _has_decoder(config: bytes | None) -> bool:
    """Whether tokenizer_config.json itself names the added tokens."""
    if not config:
        return False
    try:
        document = json.loads(config)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("added_tokens_decoder") is not None


def _unreadable(content_id: str, reason: str) -> TokenizerFacts:
    return TokenizerFacts(
        content_id=content_id,
        length=None,
        largest_id=None,
        base_vocabulary_size=None,
        added_tokens=(),
        special_tokens={},
        chat_template=None,
        reason=reason,
    )
