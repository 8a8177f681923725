"""What the Hub's webhook tells, read leniently: fields, versions and kinds of events that this
version does not know are passed over, and whatever is told is a hint that is looked up again.

The Hub signs nothing and numbers nothing, so a change is told from its repeats by repository, ref
and new commit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from registry.domain.refs import is_commit_sha, is_repo_id, shown
from registry.errors import InvalidRequest

MAIN_REF = "refs/heads/main"
_BRANCH, _TAG = "refs/heads/", "refs/tags/"
_MAX_REF = 255
# A push of more refs than this is left to the sweep.
_MAX_REFS = 100
_MAX_TAGS = 200


class Change(StrEnum):
    """What became of a repository; the word that its event is noted under."""

    UPDATED = "update"
    MOVED = "move"
    DELETED = "delete"
    VISIBILITY = "visibility"


@dataclass(frozen=True)
class HubChange:
    """One change of one model repository.

    `ref`, `new_sha` and `old_sha` are '' but for UPDATED (`old_sha` also for a new ref). `private`
    is what the event says of the repository, None where it says nothing; `tags` those of the Hub.
    """

    change: Change
    repo_id: str
    ref: str = ""
    new_sha: str = ""
    old_sha: str = ""
    moved_to: str | None = None
    private: bool | None = None
    tags: frozenset[str] = frozenset()


def parse_hub_event(document: object) -> tuple[HubChange, ...]:
    """The changes of a webhook's body; empty for events that are no business of a registry of
    models (data sets, discussions, pull requests).

    Raises InvalidRequest where the body is not one of the Hub's events at all.
    """
    event, repository = _member(document, "event"), _member(document, "repo")
    action, scope = _text(event, "event", "action"), _text(event, "event", "scope")
    kind, repo_id = _text(repository, "repo", "type"), _text(repository, "repo", "name")
    if kind != "model" or not (scope == "repo" or scope.startswith("repo.")):
        return ()
    if not is_repo_id(repo_id):
        raise InvalidRequest(f"{shown(repo_id)} is not a repository id.", field="repo.name")
    assert isinstance(document, Mapping)
    told = HubChange(
        Change.UPDATED, repo_id, private=_flag(repository, "private"), tags=_tags(repository)
    )
    return tuple(_changes(told, action, scope, document, repository))


def revision_of(ref: str) -> str | None:
    """The branch or tag that a full ref names; None for others, as those of pull requests."""
    for prefix in (_BRANCH, _TAG):
        if ref.startswith(prefix) and len(ref) > len(prefix):
            return ref.removeprefix(prefix)
    return None


def _changes(
    told: HubChange,
    action: str,
    scope: str,
    document: Mapping[str, Any],
    repository: Mapping[str, Any],
) -> Iterator[HubChange]:
    if scope.startswith("repo.config"):
        config = document.get("updatedConfig")
        private = _flag(config, "private") if isinstance(config, Mapping) else None
        if private is not None:
            yield _like(told, Change.VISIBILITY, private=private)
        return
    if scope == "repo" and action == "delete":
        yield _like(told, Change.DELETED)
        return
    if scope == "repo" and action == "move":
        moved_to = _moved_to(document.get("movedTo"))
        if moved_to is not None and moved_to != told.repo_id:
            yield _like(told, Change.MOVED, moved_to=moved_to)
        return
    refs = document.get("updatedRefs")
    if isinstance(refs, list):
        yield from _updates(told, refs)
        return
    head = repository.get("headSha")
    if isinstance(head, str) and is_commit_sha(head):
        yield _like(told, Change.UPDATED, ref=MAIN_REF, new_sha=head)


def _updates(told: HubChange, refs: list[Any]) -> Iterator[HubChange]:
    """A null `newSha` is a deleted ref: what was recorded of it stands as it was."""
    for entry in refs[:_MAX_REFS]:
        if not isinstance(entry, Mapping):
            continue
        ref, new, old = entry.get("ref"), entry.get("newSha"), entry.get("oldSha")
        if not isinstance(ref, str) or len(ref) > _MAX_REF or revision_of(ref) is None:
            continue
        if isinstance(new, str) and is_commit_sha(new):
            known = old if isinstance(old, str) and is_commit_sha(old) else ""
            yield _like(told, Change.UPDATED, ref=ref, new_sha=new, old_sha=known)


def _like(
    told: HubChange,
    change: Change,
    *,
    ref: str = "",
    new_sha: str = "",
    old_sha: str = "",
    moved_to: str | None = None,
    private: bool | None = None,
) -> HubChange:
    return HubChange(
        change,
        told.repo_id,
        ref,
        new_sha,
        old_sha,
        moved_to,
        told.private if private is None else private,
        told.tags,
    )


def _member(document: object, name: str) -> Mapping[str, Any]:
    member = document.get(name) if isinstance(document, Mapping) else None
    if not isinstance(member, Mapping):
        raise InvalidRequest(f"The body has no object {name!r}.", field=name)
    return member


def _text(member: Mapping[str, Any], where: str, name: str) -> str:
    value = member.get(name)
    if not isinstance(value, str):
        raise InvalidRequest(f"The body has no text {where}.{name}.", field=f"{where}.{name}")
    return value


def _flag(member: Mapping[str, Any], name: str) -> bool | None:
    value = member.get(name)
    return value if isinstance(value, bool) else None


def _tags(repository: Mapping[str, Any]) -> frozenset[str]:
    tags = repository.get("tags")
    listed = tags[:_MAX_TAGS] if isinstance(tags, list) else []
    return frozenset(tag for tag in listed if isinstance(tag, str))


def _moved_to(value: object) -> str | None:
    name = value.get("name") if isinstance(value, Mapping) else value
    return name if isinstance(name, str) and is_repo_id(name) else None
