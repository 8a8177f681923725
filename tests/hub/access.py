"""Who may read what, and the Hub's exact refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.hub.repository import Commit, Repository
from tests.hub.store import Account, Store


class Refusal(Exception):
    """An error answer: status, X-Error-Code and X-Error-Message."""

    def __init__(
        self, status: int, code: str | None, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {"X-Error-Message": message, **(headers or {})}
        if code is not None:
            self.headers["X-Error-Code"] = code


class RepositoryMoved(Exception):
    """The id is an old one: the answer is a redirect to the same path under the new id."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location


async def answer_refusal(_request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    body = {"error": str(refusal)}
    return JSONResponse(body, refusal.status, headers=refusal.headers)


async def answer_moved(_request: Request, moved: Exception) -> Response:
    assert isinstance(moved, RepositoryMoved)
    text = f"Temporary Redirect. Redirecting to {moved.location}"
    return Response(
        text, 307, headers={"Location": moved.location}, media_type="text/plain; charset=utf-8"
    )


@dataclass(frozen=True)
class Asked:
    """A request's repository and who asks for it."""

    repository: Repository
    account: Account | None

    @property
    def served_directly(self) -> bool:
        """Whether the Hub answers small files itself instead of redirecting to its cache."""
        repository = self.repository
        return bool(repository.private or repository.gated or repository.author is None)


def identify(request: Request, store: Store) -> Account | None:
    """The account of the request's token, None for an anonymous one."""
    value = request.headers.get("authorization")
    if value is None:
        return None
    account = store.accounts.get(value.removeprefix("Bearer "))
    if account is None:
        raise Refusal(401, None, "Invalid credentials in Authorization header")
    return account


def find_repository(request: Request, store: Store) -> Asked:
    """The repository of the path, if it exists and may be seen."""
    account = identify(request, store)
    repo_id = unquote(request.path_params["repo"])
    if repo_id in store.moved and repo_id not in store.repositories:
        raise RepositoryMoved(_moved_url(request, repo_id, store.moved[repo_id]))
    repository = store.repositories.get(repo_id)
    if repository is None or not may_see(repository, account):
        if account is None:
            raise Refusal(401, "RepoNotFound", "Invalid username or password.")
        raise Refusal(404, "RepoNotFound", "Repository not found")
    if repository.disabled:
        raise Refusal(403, None, "Access to this resource is disabled.")
    return Asked(repository, account)


def may_see(repository: Repository, account: Account | None) -> bool:
    if not repository.private:
        return True
    return account is not None and repository.repo_id in account.may_read


def check_files_open(asked: Asked) -> None:
    """Refuse the files of a gated repository to who was not let in."""
    repository, account = asked.repository, asked.account
    if not repository.gated or (account and repository.repo_id in account.may_read):
        return
    if account is None:
        raise Refusal(
            401,
            "GatedRepo",
            f"Access to model {repository.repo_id} is restricted. You must have access to it and "
            "be authenticated to access it. Please log in.",
        )
    raise Refusal(
        403,
        "GatedRepo",
        f"Access to model {repository.repo_id} is restricted and you are not in the authorized "
        "list. Visit its page to ask for access.",
    )


def find_commit(asked: Asked, revision: str) -> Commit:
    commit = asked.repository.find_commit(unquote(revision))
    if commit is None:
        raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {unquote(revision)}")
    return commit


def no_entry(commit: Commit) -> Refusal:
    return Refusal(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit.sha})


def _moved_url(request: Request, old: str, new: str) -> str:
    path = request.url.path.replace(f"/{old}", f"/{new}", 1)
    return f"{path}?{request.url.query}" if request.url.query else path
