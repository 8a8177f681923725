"""Whose operation may be followed: work on a private repository shows to who may know of it."""

from __future__ import annotations

import sqlalchemy as sa

from api.callers import Caller
from registry.db.operations import Operation
from registry.db.visibility import find_hidden


def may_follow(connection: sa.Connection, operation: Operation, caller: Caller) -> bool:
    """True for whoever asked for it, for the scope `admin`, and for all others unless a repository
    that it names is private and not granted to them."""
    if caller.token_id is not None and operation.requester_token_id == caller.token_id:
        return True
    if "admin" in caller.scopes:
        return True
    return not find_hidden(connection, names_of(operation), caller.visible)


def names_of(operation: Operation) -> frozenset[str]:
    """The repositories that an operation was asked for by name."""
    asked = operation.request
    entries = asked.get("references", ()) if "repo_id" not in asked else (asked,)
    names = [entry.get("repo_id") for entry in entries]
    names += [str(entry.get("base", "")).partition("@")[0] for entry in entries]
    return frozenset(name for name in names if name)
