"""Proofs are appended once, inherited by content, and hold while their environment does."""

from __future__ import annotations

from dataclasses import replace

from registry.db import proofs
from registry.db.proofs import Pair
from registry.domain.refs import CommitSha
from tests.db.examples import at, digest, proof, ref

ADAPTER, BASE = ref("acme/chat-lora", "adapter"), ref("acme/base", "base")
PAIR = Pair(digest("adapter"), None, digest("base"))


def save(database, one, adapter=ADAPTER):
    return database.write(
        lambda session: proofs.save_proof(
            session, one, adapter=adapter, base=BASE, plan_digest=digest("plan")
        )
    )


def test_a_proof_is_appended_once(database):
    assert save(database, proof())
    assert not save(database, proof())
    later = replace(proof("proof-2"), outcome="error", finished_at="2026-11-25T12:01:00+00:00")
    assert save(database, later)
    with database.reading() as connection:
        assert proofs.load_proofs(connection, PAIR) == [later, proof()]
        assert proofs.load_proofs(connection, replace(PAIR, subfolder="x")) == []


def test_a_proof_run_at_another_commit_says_at_which(database):
    save(database, proof())
    with database.reading() as connection:
        here = proofs.load_proofs(
            connection, PAIR, adapter_commit=ADAPTER.commit_sha, base_commit=BASE.commit_sha
        )
        (elsewhere,) = proofs.load_proofs(
            connection, PAIR, adapter_commit=CommitSha("0" * 40), base_commit=BASE.commit_sha
        )
    assert here == [proof()]
    assert elsewhere.inherited_from == {
        "adapter": {"repo_id": "acme/chat-lora", "commit_sha": ADAPTER.commit_sha},
        "base": {"repo_id": "acme/base", "commit_sha": BASE.commit_sha},
    }


def test_retiring_an_environment_names_the_pairs_that_lose_their_proof(database):
    newer = {"torch": "2.14.0"}
    other = ref("acme/other", "other", subfolder="a")
    save(database, proof("kept-by-newer"))
    save(database, replace(proof("newer"), environment=newer))
    save(database, proof("lost"), other)
    save(database, replace(proof("failed"), outcome="failed"), ref("acme/failed", "failed"))
    old = proofs.environment_digest(proof().environment)

    def retire(session):
        return proofs.retire_environment(session, old, retired_at=at(9), reason="a broken kernel")

    assert database.write(retire) == [Pair(digest("other"), "a", digest("base"))]
    assert database.write(retire) == []
    with database.reading() as connection:
        known = {entry.digest: entry for entry in proofs.load_environments(connection)}
    assert (known[old].retired_at, known[old].retired_reason) == (at(9), "a broken kernel")
    assert known[proofs.environment_digest(newer)].retired_at is None
