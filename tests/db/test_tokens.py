"""Tokens by hash until they end; quotas and repeated requests are shared by all processes."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from registry.db import tokens
from registry.db.models import AuditRow
from registry.errors import InvalidRequest
from tests.db.examples import at


def create(database, name="ci", token_hash="hash-1", expires=60.0, **options):
    return database.write(
        lambda session: tokens.create_token(
            session,
            name=name,
            token_hash=token_hash,
            scopes=["scan", "prove", "scan"],
            created_at=at(0),
            expires_at=None if expires is None else at(expires),
            **options,
        )
    )


def find(database, token_hash="hash-1", minutes=0.0):
    with database.reading() as connection:
        return tokens.find_token(connection, token_hash, now=at(minutes))


def test_a_token_works_until_it_expires(database):
    token_id = create(database, visible=["acme/*", "meta/private"])
    found = find(database, minutes=59)
    assert (found.id, found.name, found.scopes) == (token_id, "ci", {"scan", "prove"})
    assert found.visible == {"acme/*", "meta/private"}
    assert find(database, minutes=60) is None
    assert find(database, "hash-2") is None
    create(database, "forever", "hash-2", None)
    assert find(database, "hash-2", 10**6).visible == frozenset()


def test_a_token_works_until_it_is_revoked_and_stays_in_the_list(database):
    create(database)
    database.write(lambda s: tokens.save_token_use(s, find(database).id, used_at=at(1)))
    assert database.write(lambda s: tokens.revoke_token(s, "ci", revoked_at=at(2)))
    assert not database.write(lambda s: tokens.revoke_token(s, "ci", revoked_at=at(3)))
    assert find(database) is None
    with database.reading() as connection:
        (kept,) = tokens.list_tokens(connection)
    assert (kept.last_used_at, kept.revoked_at) == (at(1), at(2))


def test_a_name_is_given_once(database):
    create(database)
    with pytest.raises(InvalidRequest) as caught:
        create(database, token_hash="hash-2")
    assert caught.value.fields == {"field": "name"}


def test_a_quota_is_counted_over_all_who_draw_on_it(database):
    used: list[int] = []

    def take():
        for _ in range(10):
            used.append(
                database.write(
                    lambda session: tokens.take_quota(
                        session, caller="t", policy="api", window_start=at(0), cost=2
                    )
                )
            )

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(used) == list(range(2, 82, 2))

    def take_once(start):
        return database.write(
            lambda s: tokens.take_quota(s, caller="t", policy="api", window_start=start)
        )

    assert take_once(at(5)) == 1
    database.write(lambda s: tokens.delete_rate_windows(s, before=at(5)))
    assert (take_once(at(5)), take_once(at(0))) == (2, 1)


def test_a_repeated_request_is_told_of_the_first(database):
    def claim(digest, caller="t"):
        return database.write(
            lambda session: tokens.claim_idempotency_key(
                session, caller=caller, key="k", request_digest=digest, created_at=at(0)
            )
        )

    assert claim("d") is None
    assert claim("d") == tokens.Answered("d", None, None)
    database.write(
        lambda session: tokens.save_idempotent_answer(
            session, caller="t", key="k", status=202, response={"id": "op-1"}
        )
    )
    assert claim("other") == tokens.Answered("d", 202, {"id": "op-1"})
    assert claim("d", "another caller") is None
    database.write(lambda session: tokens.delete_idempotency_keys(session, before=at(1)))
    assert claim("d") is None


def test_the_trail_outlives_the_token(database):
    create(database)
    token = find(database)

    def ask(session):
        tokens.save_audit(
            session,
            at=at(0),
            action="scan",
            subject="acme/x",
            outcome="202",
            request_id="r-1",
            token_id=token.id,
            token_name=token.name,
        )
        tokens.save_audit(
            session, at=at(1), action="read", subject="acme/y", outcome="404", request_id="r-2"
        )

    database.write(ask)
    with database.reading() as connection:
        trail = connection.execute(
            sa.select(AuditRow.token_name, AuditRow.action, AuditRow.outcome).order_by(AuditRow.id)
        ).all()
    assert [tuple(row) for row in trail] == [("ci", "scan", "202"), ("", "read", "404")]
