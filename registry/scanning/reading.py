"""What the Hub gives for one reference: the adapter, its base, or why not. Nothing is decided."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from registry import planning
from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.issues import Issue, make_issue
from registry.domain.refs import CommitSha, Reference, is_repo_id
from registry.errors import (
    ChildFailed,
    ConfigInvalid,
    ForeignFormat,
    HubError,
    LoadplanError,
    NotAPeftAdapter,
    PatternTooSlow,
    RepositoryDisabled,
    RepositoryGated,
    RepositoryNotFound,
    RevisionNotFound,
    SandboxMissing,
)
from registry.hub import Reader, Snapshot

# Contract section 1: a repository of sub-folders is recorded as at most this many adapters.
MAX_SUBFOLDERS = 32

# What the Hub's refusals are called when they are about the adapter, and about its base.
_ADAPTER_CODES: Mapping[type[HubError], str] = {
    RepositoryNotFound: "adapter-not-found",
    RepositoryGated: "adapter-gated",
    RepositoryDisabled: "adapter-gated",
    RevisionNotFound: "revision-not-found",
}
_BASE_CODES: Mapping[type[HubError], str] = {
    RepositoryNotFound: "base-not-found",
    RepositoryGated: "base-gated",
    RepositoryDisabled: "base-gated",
    RevisionNotFound: "revision-not-found",
}

# What the config's patterns match in the base, None when it has none. Raises PatternTooSlow.
Match = Callable[[AdapterFacts, BaseFacts], Awaitable[frozenset[str] | None]]
# The facts of a base at this commit if they are recorded already.
Recall = Callable[[Snapshot], Awaitable[BaseFacts | None]]


@dataclass(frozen=True)
class Reading:
    """One reference as it was read.

    `issues` are those of finding adapter and base. `failure` is ours or the Hub's: it says nothing
    of the adapter. `other_adapters` is set when the root holds no adapter and sub-folders do;
    `commit_sha` is where that was seen.
    """

    reference: Reference
    asked_base: Reference | None
    adapter: AdapterFacts | None = None
    base: BaseFacts | None = None
    base_reference: Reference | None = None
    matched: frozenset[str] | None = None
    issues: tuple[Issue, ...] = ()
    other_adapters: tuple[str, ...] = ()
    commit_sha: CommitSha | None = None
    failure: LoadplanError | None = None


class Bases:
    """Each base is read once in a run, however many adapters ask for it at the same time."""

    def __init__(self, reader: Reader, recall: Recall) -> None:
        self._reader = reader
        self._recall = recall
        self._reads: dict[Reference, asyncio.Task[BaseFacts]] = {}
        self._names: dict[str, asyncio.Task[str]] = {}

    async def read(self, reference: Reference) -> BaseFacts:
        if reference not in self._reads:
            self._reads[reference] = asyncio.create_task(self._read(reference))
        return await asyncio.shield(self._reads[reference])

    async def _read(self, reference: Reference) -> BaseFacts:
        snapshot = await self._reader.resolve(reference)
        facts = await self._recall(snapshot)
        if facts is None:
            return await self._reader.read_base(reference)
        return replace(
            facts,
            ref=replace(facts.ref, revision=reference.revision),
            private=snapshot.private,
            gated=snapshot.gated,
        )

    async def canonical_name(self, repo_id: str) -> str:
        """The id that the Hub answers with after redirects; the id itself if it does not say."""
        if repo_id not in self._names:
            self._names[repo_id] = asyncio.create_task(self._resolve_name(repo_id))
        return await asyncio.shield(self._names[repo_id])

    async def _resolve_name(self, repo_id: str) -> str:
        try:
            return (await self._reader.resolve(Reference(repo_id))).repo_id
        except HubError:
            return repo_id


async def read_pair(
    reader: Reader, bases: Bases, match: Match, reference: Reference, base: Reference | None
) -> Reading:
    """Everything that the network has to say of one reference. Raises nothing of the Hub's."""
    reading = Reading(reference, base)
    try:
        adapter = await reader.read_adapter(reference)
    except (NotAPeftAdapter, ForeignFormat) as error:
        return _without_adapter(reading, error)
    except tuple(_ADAPTER_CODES) as error:
        return replace(reading, issues=(_issue_of(error, _ADAPTER_CODES[type(error)]),))
    except LoadplanError as error:
        return replace(reading, failure=error)
    return await _with_base(bases, match, replace(reading, adapter=adapter))


def _without_adapter(reading: Reading, error: ConfigInvalid) -> Reading:
    """No adapter at this place; at the root, the sub-folders that hold one are the answer."""
    named = error.fields.get("other_adapters") if reading.reference.subfolder is None else None
    folders = tuple(str(folder) for folder in named) if isinstance(named, tuple) else ()
    fix = error.fix
    if folders:
        fix = f"Name one of them: {replace(reading.reference, subfolder=folders[0])}."
    issue = make_issue(error.code, error.message, fix=fix)
    commit = error.fields.get("commit_sha")
    return replace(
        reading,
        issues=(issue,),
        other_adapters=folders,
        commit_sha=CommitSha(commit) if isinstance(commit, str) else None,
    )


async def _with_base(bases: Bases, match: Match, reading: Reading) -> Reading:
    assert reading.adapter is not None
    choice = planning.choose_base(reading.adapter, reading.asked_base)
    reading = replace(reading, issues=choice.issues, base_reference=choice.reference)
    if choice.reference is None:
        return reading
    try:
        base = await bases.read(choice.reference)
    except tuple(_BASE_CODES) as error:
        issue = _issue_of(error, _BASE_CODES[type(error)])
        return replace(reading, issues=(*reading.issues, issue))
    except LoadplanError as error:
        return replace(reading, failure=error)
    return await _with_pair(bases, match, replace(reading, base=base))


async def _with_pair(bases: Bases, match: Match, reading: Reading) -> Reading:
    assert reading.adapter is not None
    assert reading.base is not None
    issues = list(reading.issues)
    matched = None
    try:
        matched = await match(reading.adapter, reading.base)
    except (PatternTooSlow, ConfigInvalid) as error:
        issues.append(_issue_of(error, error.code))
    except (ChildFailed, SandboxMissing):
        # Ours, not the config's: the plan says nothing of these modules, a rehearsal will.
        matched = None
    if await _is_another_base(bases, reading):
        note = planning.differs_from_declared(reading.adapter, reading.base.ref)
        issues.extend([note] if note else [])
    return replace(reading, matched=matched, issues=tuple(issues))


async def _is_another_base(bases: Bases, reading: Reading) -> bool:
    """The caller named a base, and the declared one does not redirect to it."""
    assert reading.adapter is not None
    assert reading.base is not None
    config = reading.adapter.config
    declared = config.base_model_name_or_path if config else None
    if reading.asked_base is None or not declared or not is_repo_id(declared):
        return False
    if declared in (reading.asked_base.repo_id, reading.base.ref.repo_id):
        return False
    return await bases.canonical_name(declared) != reading.base.ref.repo_id


def _issue_of(error: LoadplanError, code: str) -> Issue:
    return make_issue(code, error.message, fix=error.fix)
