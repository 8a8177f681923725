"""One repository of the local Hub: commits in order, branches, tags, access flags."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from types import MappingProxyType

from tests.hub.content import Blob

SHORT_SHA = re.compile(r"[0-9a-f]{7,40}")


@dataclass(frozen=True)
class Commit:
    """A snapshot of every file. The sha depends on content, parent and title alone."""

    sha: str
    parent: str | None
    title: str
    author: str
    date: datetime
    files: Mapping[str, Blob]
    # path -> the sha of the commit that last changed it
    changed_by: Mapping[str, str]

    @cached_property
    def folders(self) -> Mapping[str, str]:
        """Folder -> oid, a digest of what lies below it."""
        below: dict[str, list[str]] = {}
        for path, blob in sorted(self.files.items()):
            parts = path.split("/")[:-1]
            for depth in range(1, len(parts) + 1):
                below.setdefault("/".join(parts[:depth]), []).append(f"{path} {blob.oid}")
        return {name: _sha1("tree", *lines) for name, lines in below.items()}


@dataclass
class Repository:
    """A model repository. The server reads it while a test changes it, so every change replaces
    a whole value (a dict, a tuple), never mutates one that a request may be reading."""

    repo_id: str
    created_at: datetime
    commits: Mapping[str, Commit] = field(default_factory=lambda: MappingProxyType({}))
    branches: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    private: bool = False
    gated: str | bool = False
    disabled: bool = False
    labels: tuple[str, ...] = ()
    pipeline_tag: str | None = None
    library_name: str | None = None
    downloads: int = 0
    likes: int = 0

    @property
    def author(self) -> str | None:
        return self.repo_id.split("/")[0] if "/" in self.repo_id else None

    @property
    def head(self) -> Commit | None:
        return self.find_commit("main")

    def find_commit(self, revision: str) -> Commit | None:
        """The commit of a branch, a tag, a full `refs/…` name, or a sha (at least 7 digits)."""
        for prefix, names in (("refs/heads/", self.branches), ("refs/tags/", self.tags)):
            sha = names.get(revision.removeprefix(prefix))
            if sha is not None:
                return self.commits[sha]
        if revision in self.commits:
            return self.commits[revision]
        if SHORT_SHA.fullmatch(revision):
            found = [commit for sha, commit in self.commits.items() if sha.startswith(revision)]
            if len(found) == 1:
                return found[0]
        return None

    def commit(
        self, changes: Mapping[str, Blob | None], *, branch: str, title: str, date: datetime
    ) -> Commit:
        """Add a commit to `branch`: each path of `changes` is set, or removed where None."""
        parent_sha = self.branches.get(branch)
        parent = self.commits[parent_sha] if parent_sha else None
        files = dict(parent.files) if parent else {}
        for path, blob in changes.items():
            if blob is None:
                del files[path]
            else:
                files[path] = blob
        listing = [f"{path} {blob.oid}" for path, blob in sorted(files.items())]
        sha = _sha1("commit", self.repo_id, parent_sha or "", title, *listing)
        changed_by = dict(parent.changed_by) if parent else {}
        changed_by.update(dict.fromkeys(changes, sha))
        made = Commit(
            sha, parent_sha, title, self.author or "hub", date, MappingProxyType(files), changed_by
        )
        self.commits = MappingProxyType({**self.commits, sha: made})
        self.branches = MappingProxyType({**self.branches, branch: sha})
        return made

    def history(self, commit: Commit) -> list[Commit]:
        """The commit and its ancestors, newest first."""
        found = [commit]
        while found[-1].parent is not None:
            found.append(self.commits[found[-1].parent])
        return found

    @property
    def all_tags(self) -> tuple[str, ...]:
        """The labels that the Hub shows and filters by, the computed ones included."""
        names = list(self.labels)
        head = self.head
        if head is not None:
            names += _computed_tags(head)
        names += [name for name in (self.library_name, self.pipeline_tag) if name]
        return tuple(dict.fromkeys(names))


def _computed_tags(commit: Commit) -> list[str]:
    """What the Hub derives from files: formats, and for an adapter its base model."""
    names = []
    if any(path.endswith(".safetensors") for path in commit.files):
        names.append("safetensors")
    config = commit.files.get("adapter_config.json")
    if config is None or config.size > 1024 * 1024:
        return names
    names.append("peft")
    try:
        base = json.loads(config.read(0, config.size)).get("base_model_name_or_path")
    except (ValueError, AttributeError, RecursionError):
        return names
    if isinstance(base, str) and base:
        names += [f"base_model:{base}", f"base_model:adapter:{base}"]
    return names


def _sha1(*parts: str) -> str:
    return hashlib.sha1("\n".join(parts).encode(), usedforsecurity=False).hexdigest()


def hub_time(moment: datetime) -> str:
    """A moment as the Hub writes it, milliseconds and Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
