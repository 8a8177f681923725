"""Endpoints that answer `resolve` alone: what their headers still tell."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

from registry.domain.refs import CommitSha, Reference, RepoId, is_commit_sha, shown
from registry.errors import (
    FileNotFound,
    HubError,
    HubMirrorLimited,
    RepositoryNotFound,
)
from registry.hub.answers import REDIRECTS, Answer, RouteMissing
from registry.hub.client import HubClient
from registry.hub.digests import git_blob_oid
from registry.hub.snapshots import (
    ADAPTER_CONFIG,
    FileEntry,
    Snapshot,
    clean_content_id,
    clean_size,
    prefix_of,
)


async def pin_by_probe(
    client: HubClient, reference: Reference, revision: str, error: HubError
) -> Snapshot:
    """A snapshot without a list of files, pinned by the headers of a file that must be there.

    `error` is what the API said. It is raised when `resolve` agrees that there is no such
    repository; HubMirrorLimited when the endpoint is a mirror that cannot settle it.
    """
    names = (prefix_of(reference.subfolder) + ADAPTER_CONFIG, "config.json")
    answers = [await _try_head(client, reference, revision, name) for name in names[:1]]
    if answers[0] is None:
        answers.append(await _try_head(client, reference, revision, names[1]))
    found = next((answer for answer in answers if answer is not None), None)
    if found is None:
        if isinstance(error, RouteMissing):
            raise HubMirrorLimited(
                f"The endpoint has no API and resolves neither {ADAPTER_CONFIG} nor config.json of "
                f"{reference.repo_id}: whether it exists cannot be told from here."
            ) from None
        raise error
    commit = found.seen.get("x-repo-commit") or found.headers.get("X-Repo-Commit") or revision
    if not is_commit_sha(commit):
        raise HubMirrorLimited(
            f"The endpoint does not say which commit {shown(revision)} of {reference.repo_id} is; "
            "name the commit itself."
        )
    return Snapshot(
        repo_id=RepoId(reference.repo_id),
        commit_sha=CommitSha(commit),
        files=(),
        complete=False,
    )


async def _try_head(
    client: HubClient, reference: Reference, revision: str, path: str
) -> Answer | None:
    url = client.url(f"/{reference.repo_id}/resolve/{quote(revision, safe='')}/{quote(path)}")
    try:
        return await client.head(url, f"{reference.repo_id} {shown(path)}")
    except (FileNotFound, RepositoryNotFound, RouteMissing):
        return None


def file_of_answer(answer: Answer, path: str) -> FileEntry:
    """Size and content id of a file out of the answer to HEAD on `resolve`."""
    content_id = clean_content_id(answer.seen.get("x-linked-etag"))
    content_id = content_id or clean_content_id(answer.seen.get("etag"))
    size = clean_size(answer.seen.get("x-linked-size"))
    if size is None and answer.total is not None:
        size = answer.total
    if size is None and answer.status not in REDIRECTS:
        size = clean_size(answer.seen.get("content-length"))
    return FileEntry(path, size, content_id)


def with_computed_id(entry: FileEntry, data: bytes) -> FileEntry:
    """The entry with the id that the Hub would give this small file, where a mirror gives none."""
    return replace(entry, size=len(data), content_id=git_blob_oid(data))
