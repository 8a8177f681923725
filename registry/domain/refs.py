"""What names a checkpoint: a reference as people write it, and a commit as we store it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NewType

from registry.errors import InvalidReference

RepoId = NewType("RepoId", str)
CommitSha = NewType("CommitSha", str)
Digest = NewType("Digest", str)

_SEGMENT = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LOCAL_PREFIXES = ("./", "../", "/")
_MAX_PART = 255


class Source(StrEnum):
    """Where a checkpoint lives. Part of every identity."""

    HUB = "hub"
    LOCAL = "local"


@dataclass(frozen=True)
class Reference:
    """What a caller asks for; nothing here has been resolved yet."""

    repo_id: str
    revision: str | None = None
    subfolder: str | None = None
    source: Source = Source.HUB

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        subfolder = f":{self.subfolder}" if self.subfolder else ""
        return f"{self.repo_id}{revision}{subfolder}"


@dataclass(frozen=True)
class CheckpointRef:
    """A checkpoint that was found: where (`commit_sha`) and what (`digest`).

    `revision` is what was asked for. `commit_sha` and `digest` are None only while the checkpoint
    could not be read (blocked, failed). `subfolder` is None for the root and for bases.
    """

    source: Source
    repo_id: RepoId
    revision: str | None
    commit_sha: CommitSha | None
    digest: Digest | None
    subfolder: str | None = None

    def with_digest(self, digest: Digest) -> CheckpointRef:
        return replace(self, digest=digest)


def is_commit_sha(text: str) -> bool:
    """True for the 40 lower-case hex digits of a Hub commit."""
    return _COMMIT.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def is_repo_id(text: str) -> bool:
    """True for `namespace/name` or a one-segment id, as the Hub's own client checks them: letters,
    digits, `-`, `_` and `.`, at most 96 for each part."""
    segments = text.split("/")
    return (
        len(segments) <= 2
        and all(_SEGMENT.fullmatch(part) for part in segments)
        and "--" not in text
        and ".." not in text
        and not text.endswith(".git")
    )


def looks_local(text: str) -> bool:
    """True for a folder as the command line writes it; the API never reads a path."""
    return text.startswith(_LOCAL_PREFIXES) or text in (".", "..")


def parse_reference(text: str, *, allow_local: bool = False) -> Reference:
    """`namespace/name[@revision][:subfolder]`, split at the first `@`, then the first `:`.

    A text beginning `./`, `../` or `/` is a local folder when `allow_local`; it has no revision.
    Raises InvalidReference.
    """
    if looks_local(text):
        if not allow_local:
            raise InvalidReference(f"{shown(text)} is a path; this call takes a Hub repository id.")
        folder, _, subfolder = text.partition(":")
        return Reference(folder, None, _checked_subfolder(subfolder), Source.LOCAL)
    head, at, tail = text.partition("@")
    if at:
        repo_id, (revision, _, subfolder) = head, tail.partition(":")
        if not revision:
            raise InvalidReference(f"{shown(text)} has an empty revision after '@'.")
    else:
        repo_id, _, subfolder = head.partition(":")
        revision = ""
    return make_reference(repo_id, revision or None, subfolder or None)


def make_reference(
    repo_id: str, revision: str | None = None, subfolder: str | None = None
) -> Reference:
    """The same from separate fields, as the API receives them. Raises InvalidReference."""
    if not is_repo_id(repo_id):
        raise InvalidReference(f"{shown(repo_id)} is not a repository id.", field="repo_id")
    if revision is not None and not _is_revision(revision):
        raise InvalidReference(f"{shown(revision)} is not a revision.", field="revision")
    return Reference(repo_id, revision, _checked_subfolder(subfolder or ""))


def shown(text: str, limit: int = 120) -> str:
    """Untrusted text inside a message: one line, quoted, cut."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    return ascii(cut)


def _is_revision(text: str) -> bool:
    return (
        0 < len(text) <= _MAX_PART
        and text.isprintable()
        and ".." not in text
        and not any(character in text for character in " ~^:?*[\\")
        and not text.startswith(("/", "-"))
        and not text.endswith(("/", ".lock"))
    )


def _checked_subfolder(text: str) -> str | None:
    if not text:
        return None
    parts = text.split("/")
    if (
        len(text) > _MAX_PART
        or not text.isprintable()
        or "\\" in text
        or any(part in ("", ".", "..") for part in parts)
    ):
        raise InvalidReference(f"{shown(text)} is not a sub-folder.", field="subfolder")
    return text
