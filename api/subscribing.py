"""Subscriptions as callers make and see them: the JSON API and the pages alike."""

from __future__ import annotations

import base64
import secrets
import uuid
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

from api import schemas
from api.callers import Caller
from api.problems import ApiProblem
from registry.db.subscriptions import Subscription, find_subscription, list_subscriptions
from registry.db.visibility import find_hidden
from registry.domain.addresses import parse_target
from registry.domain.refs import make_reference
from registry.errors import InvalidRequest

SUBJECTS: Final = ("everything", "adapter", "base")
# Standard Webhooks asks for 24 to 64 random bytes.
_SECRET_BYTES: Final = 32


def make_subscription(
    caller: Caller, *, subject: str, repo_id: str, target_url: str
) -> Subscription:
    """A new one with a secret of its own. Raises InvalidRequest, TargetNotAllowed."""
    schemas.refuse_nul(subject=subject, repo_id=repo_id, target_url=target_url)
    if subject not in SUBJECTS:
        raise InvalidRequest("The subject is everything, adapter or base.", field="subject")
    if subject == "everything":
        if repo_id:
            message = "Everything is of no one repository: leave repo_id out."
            raise InvalidRequest(message, field="repo_id")
    else:
        make_reference(repo_id)
    return Subscription(
        id=f"sub_{uuid.uuid4().hex}",
        subject=subject,
        repo_id=repo_id,
        target_url=parse_target(target_url).url,
        secret="whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode("ascii"),
        token_id=caller.token_id,
        created_at=datetime.now(UTC),
    )


def shown_subscriptions(connection: sa.Connection, caller: Caller) -> list[Subscription]:
    """All but those that name a repository which this caller may not see, unless they are its
    own."""
    found = list_subscriptions(connection)
    names = frozenset(each.repo_id for each in found if each.repo_id)
    hidden = find_hidden(connection, names, caller.visible)
    return [each for each in found if each.repo_id not in hidden or _is_own(each, caller)]


def shown_subscription(
    connection: sa.Connection, caller: Caller, subscription_id: str
) -> Subscription:
    """Raises ApiProblem subscription-not-found, for one that is hidden as for one that is not."""
    found = find_subscription(connection, subscription_id)
    if found is not None and not _is_own(found, caller):
        names = frozenset({found.repo_id} - {""})
        found = None if find_hidden(connection, names, caller.visible) else found
    if found is None:
        raise ApiProblem("subscription-not-found", "There is no subscription of this id.")
    return found


def _is_own(subscription: Subscription, caller: Caller) -> bool:
    return caller.token_id is not None and subscription.token_id == caller.token_id
