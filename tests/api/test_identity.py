"""Tokens, scopes, private repositories and quotas, as a caller meets them."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from huggingface_hub.utils import parse_ratelimit_headers

from api.identity import Quotas
from registry.db.checkpoints import save_adapter, save_base
from registry.db.records import save_record
from registry.db.tokens import create_token, revoke_token
from registry.db.visibility import hide
from registry.domain import bearer
from tests.api.test_reading import assert_problem
from tests.db.examples import adapter_facts, at, base_facts, record, ref


def bearer_of(database, name, *scopes, sees=(), days=90, now=None):
    token, now = bearer.make_token(secrets.choice), now or datetime.now(UTC)
    with database.transaction() as session:
        create_token(
            session,
            name=name,
            token_hash=bearer.hash_token(token),
            scopes=scopes or ("scan",),
            created_at=now,
            expires_at=now + timedelta(days=days),
            visible=sees,
        )
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def secret(database):
    """One public record and one of a private repository."""
    one = record()
    hidden = replace(one, adapter=ref("acme/secret", "secret"))
    with database.transaction() as session:
        save_base(session, base_facts(one.base))
        for each in (one, hidden):
            save_adapter(session, adapter_facts(each.adapter))
            save_record(session, each, scanned_at=at(0))
        hide(session, "acme/secret", access="readable", checked_at=at(30))
    return hidden


PLACES = (
    "/v1/adapters?limit=100",
    "/v1/adapters?q=secret",
    "/v1/adapters/acme/secret",
    "/v1/adapters/acme/secret/plan",
    "/v1/adapters/acme/secret/tensors",
    "/v1/adapters/acme/secret/proofs",
    "/v1/bases",
    "/v1/bases/acme/base",
    "/v1/bases/acme/base/adapters",
)


def test_a_private_repository_shows_only_to_a_token_that_may_see_it(client, database, secret):
    digest = secret.adapter.commit_sha
    others = bearer_of(database, "others", sees=("other/*",))
    granted = [
        bearer_of(database, "exact", sees=("acme/secret", "acme/base")),
        bearer_of(database, "namespace", sees=("acme/*",)),
        bearer_of(database, "all", sees=("*",)),
    ]
    for headers in ({}, others):
        for place in PLACES:
            answer = client.get(place, headers=headers)
            asked = place.split("?")[0]
            body = answer.text.replace('"repo_id": "acme/secret"', "") if asked != place else ""
            assert digest not in answer.text
            assert "secret" not in body
        assert client.get("/v1/bases", headers=headers).json()[0]["adapters"] == 1
    for headers in granted:
        assert client.get("/v1/adapters/acme/secret", headers=headers).status_code == 200
        assert client.get("/v1/bases", headers=headers).json()[0]["adapters"] == 2
        cache = client.get("/v1/adapters/acme/secret", headers=headers).headers["cache-control"]
        assert cache.startswith("private")


@pytest.mark.parametrize("header", ["Bearer nonsense", "Basic dXNlcjpwYXNz", "Bearer", "lp_x"])
def test_a_token_that_is_no_token_is_refused(client, header):
    answer = client.get("/v1/adapters", headers={"Authorization": header})
    assert_problem(answer, 401, "token-missing")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_expired_and_revoked_tokens_are_refused(client, database):
    long_ago = datetime.now(UTC) - timedelta(days=100)
    assert_problem(
        client.get("/v1/adapters", headers=bearer_of(database, "old", now=long_ago)),
        401,
        "token-missing",
    )
    headers = bearer_of(database, "lost")
    assert client.get("/v1/adapters", headers=headers).status_code == 200
    with database.transaction() as session:
        revoke_token(session, "lost", revoked_at=datetime.now(UTC))
    client.app.state.identities._monotonic = lambda: 1e12
    assert_problem(client.get("/v1/adapters", headers=headers), 401, "token-missing")


def test_quotas_are_told_in_headers_that_the_hubs_parser_reads(client, database):
    told = parse_ratelimit_headers(client.get("/v1/adapters").headers)
    assert told is not None
    assert (told.limit, told.remaining, told.window_seconds) == (3000, 2999, 300)
    named = client.get("/v1/adapters", headers=bearer_of(database, "ci")).headers
    assert parse_ratelimit_headers(named).limit == 12000


def test_a_quota_that_is_used_up_says_when_to_come_back(client, database):
    client.app.state.quotas = Quotas(anonymous=2, token=1)
    for _ in range(2):
        assert client.get("/v1/bases").status_code == 200
    answer = client.get("/v1/bases")
    assert_problem(answer, 429, "rate-limited")
    assert 0 < int(answer.headers["retry-after"]) <= 301
    assert parse_ratelimit_headers(answer.headers).remaining == 0
    # Another caller has a quota of its own; health is never refused.
    assert client.get("/v1/bases", headers=bearer_of(database, "ci")).status_code == 200
    assert client.get("/livez").status_code == 200
