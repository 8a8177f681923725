"""Whose operation may be followed: work on a private repository shows to who may know of it."""

from __future__ import annotations

import sqlalchemy as sa

from api.callers import Caller
from api.reading import Lookup, RecordReader
from registry.asking import read_request
from registry.db.operations import Operation
from registry.db.visibility import find_hidden
from registry.errors import LoadplanError


def may_follow(connection: sa.Connection, operation: Operation, caller: Caller) -> bool:
    """True for whoever asked for it, for the scope `admin`, and for all others unless a repository
    that it names is private and not granted to them."""
    if caller.token_id is not None and operation.requester_token_id == caller.token_id:
        return True
    if "admin" in caller.scopes:
        return True
    return not find_hidden(connection, names_of(operation), caller.visible)


def is_open_to(operation: Operation, records: RecordReader, caller: Caller) -> bool:
    """False when the record that this leads to is private and not the caller's to see. They are
    told no more than of a repository that does not exist.

    Of an operation that is over the record is read anew, and so by whoever is told now.
    """
    if "repo_id" not in operation.request:
        return True
    try:
        lookup = Lookup.of(*read_request(operation.request))
    except LoadplanError:
        # What cannot be read as a reference leads to no record.
        return True
    if operation.state.is_over:
        records.expire(lookup.repo_id)
    found = records.remembered(lookup) or records.find(lookup)
    return found is None or caller.sees(found.stored)


def names_of(operation: Operation) -> frozenset[str]:
    """The repositories that an operation was asked for by name."""
    asked = operation.request
    entries = asked.get("references", ()) if "repo_id" not in asked else (asked,)
    names = [entry.get("repo_id") for entry in entries]
    names += [str(entry.get("base", "")).partition("@")[0] for entry in entries]
    return frozenset(name for name in names if name)
