"""Records: append-only, one current per pair and place, found by every name they go by."""

from __future__ import annotations

from dataclasses import replace

import pytest

from registry.db import records, repositories
from registry.db.checkpoints import save_base
from registry.domain.issues import Issue, Severity
from registry.domain.record import Evidence, RecordFacts, Status
from registry.domain.refs import Source
from tests.db.examples import (
    at,
    base_facts,
    blocked,
    commit,
    digest,
    failed,
    proof,
    record,
    ref,
)

DIFFERS = Issue("base-differs-from-declared", Severity.INFO, "Another base.", None)


def save(database, one, minutes=0.0, **options):
    return database.write(
        lambda session: records.save_record(session, one, scanned_at=at(minutes), **options)
    )


def find(database, repo_id="acme/chat-lora", **options):
    with database.reading() as connection:
        return records.find_record(connection, repo_id=repo_id, **options)


def test_a_record_comes_back_as_it_was_saved(database):
    saved = record(issues=(DIFFERS,), declared_base="acme/base")
    record_id = save(database, saved, declared=True)
    found = find(database)
    assert (found.id, found.record, found.scanned_at) == (record_id, saved, at(0))


def test_equal_content_keeps_its_id_and_another_supersedes_it(database):
    first = save(database, record())
    assert save(database, record(), 1) == first
    second = save(database, record(status=Status.REHEARSED, evidence=Evidence.REHEARSED), 2)
    assert second != first
    assert find(database).record.status is Status.REHEARSED
    with database.reading() as connection:
        history = records.record_history(connection, repo_id="acme/chat-lora")
    assert [(entry.id, entry.superseded_by) for entry in history] == [
        (second, None),
        (first, second),
    ]
    assert history[1].record.status is Status.PLANNED


def test_another_planner_version_is_another_record(database):
    first = save(database, record(), planner_version=1)
    second = save(database, record(), 1, planner_version=2)
    assert second != first
    assert find(database).planner_version == 2


def test_a_new_commit_of_equal_content_inherits_and_prints_its_own_commits(database):
    proven = replace(record(status=Status.COMPATIBLE, evidence=Evidence.PROVEN), proofs=(proof(),))
    first = save(database, proven)
    readme_only = ref("acme/chat-lora", "adapter", "readme")
    moved_base = ref("acme/base", "base", "readme too")
    assert save(database, records.at_commits(proven, readme_only, moved_base), 1) == first
    found = find(database).record
    assert found.status is Status.COMPATIBLE
    assert found.adapter.commit_sha == readme_only.commit_sha
    assert found.base.commit_sha == moved_base.commit_sha
    load_base, load_tokenizer, load_adapter = found.plan.steps
    assert load_base.revision == moved_base.commit_sha
    assert load_tokenizer.revision == load_adapter.revision == readme_only.commit_sha
    assert found.plan.digest == proven.plan.digest
    assert found.proofs[0].inherited_from == {
        "adapter": {"repo_id": "acme/chat-lora", "commit_sha": proven.adapter.commit_sha},
        "base": {"repo_id": "acme/base", "commit_sha": proven.base.commit_sha},
    }
    # The commit at which it was proven prints itself.
    pinned = find(database, revision=str(proven.adapter.commit_sha))
    assert pinned.record.adapter.commit_sha == proven.adapter.commit_sha


def test_lookups_take_revisions_commits_and_subfolders(database):
    save(database, record(ref("acme/chat-lora", "main content")))
    save(database, record(ref("acme/chat-lora", "v1 content", revision="v1")))
    save(database, record(ref("acme/chat-lora", "inner", subfolder="a/b")))
    assert find(database).record.adapter.digest == digest("main content")
    assert find(database, revision="v1").record.adapter.digest == digest("v1 content")
    assert find(database, subfolder="a/b").record.adapter.digest == digest("inner")
    sha = commit(("acme/chat-lora", "v1 content"))
    by_commit = find(database, revision=sha).record
    assert (by_commit.adapter.digest, by_commit.adapter.revision) == (digest("v1 content"), sha)
    assert find(database, revision="v2") is None
    assert find(database, subfolder="a") is None
    assert find(database, "acme/other") is None
    assert find(database, source=Source.LOCAL) is None


def test_a_branch_answers_with_the_last_commit_and_may_go_back(database):
    old, new = ref("acme/chat-lora", "old"), ref("acme/chat-lora", "new")
    first = save(database, record(old), 0)
    second = save(database, record(new), 1)
    assert find(database).id == second
    assert save(database, record(old), 2) == first
    assert find(database).id == first
    with database.reading() as connection:
        history = repositories.ref_history(connection, Source.HUB, "acme/chat-lora")
        page = records.list_records(connection)
    assert [sha for sha, _ in history] == [old.commit_sha, new.commit_sha, old.commit_sha]
    assert [entry.id for entry in page.records] == [first]


def test_another_base_makes_its_own_record_and_never_replaces_the_declared_one(database):
    declared = save(database, record())
    # The same content under another name: the pair's digests are equal, the place is not.
    mirror = ref("mirror/base", "base")
    other = save(database, record(base=mirror, issues=(DIFFERS,)), 1)
    assert other != declared
    assert find(database).id == declared
    assert find(database, base_repo_id="acme/base").id == declared
    found = find(database, base_repo_id="mirror/base")
    assert (found.id, found.record.base) == (other, mirror)
    assert find(database, base_repo_id="mirror/none") is None


def test_the_same_content_in_another_repository_has_its_own_row(database):
    save(database, record())
    copy = ref("fork/chat-lora", "adapter")
    save(database, record(copy), 1)
    assert find(database, "fork/chat-lora").record.adapter == copy
    with database.reading() as connection:
        assert len(records.list_records(connection).records) == 2
        pair = records.pair_records(connection, digest("adapter"), None, digest("base"))
    assert {entry.record.adapter.repo_id for entry in pair} == {"acme/chat-lora", "fork/chat-lora"}


def test_a_pair_is_found_wherever_most_is_known_of_it(database):
    save(database, record(ref("fork/chat-lora", "adapter")), 5)
    proven = save(database, record(status=Status.COMPATIBLE, evidence=Evidence.PROVEN), 1)
    with database.reading() as connection:
        found = records.find_pair(connection, digest("adapter"), None, digest("base"))
        assert records.find_pair(connection, digest("adapter"), "x", digest("base")) is None
    assert found.id == proven


def test_a_moved_id_and_the_declared_id_lead_to_the_record(database):
    redirected = record(base=ref("meta/base-2", "base"), declared_base="old/base")
    record_id = save(database, redirected)
    database.write(
        lambda session: repositories.save_alias(
            session, Source.HUB, "acme/former-name", "acme/chat-lora"
        )
    )
    assert find(database, "acme/former-name").record.adapter.repo_id == "acme/chat-lora"
    assert find(database, base_repo_id="old/base").id == record_id
    assert find(database, base_repo_id="meta/base-2").id == record_id
    with database.reading() as connection:
        for name in ("old/base", "meta/base-2"):
            assert records.find_base(connection, name).repo_id == "meta/base-2"
            page = records.list_records(connection, records.RecordFilter(base=name))
            assert len(page.records) == 1


def test_a_blocked_adapter_is_recorded_and_makes_way_for_what_is_read_later(database):
    unread = ref("acme/chat-lora", None)
    first = save(database, blocked(unread))
    assert save(database, blocked(unread), 1) == first
    found = find(database)
    assert found.record == blocked(unread)
    second = save(database, record(), 2)
    assert find(database).id == second
    with database.reading() as connection:
        assert [entry.id for entry in records.list_records(connection).records] == [second]
        history = records.record_history(connection, repo_id="acme/chat-lora")
    assert [(entry.id, entry.superseded_by) for entry in history] == [
        (second, None),
        (first, second),
    ]


def test_a_repository_that_becomes_gated_is_blocked_and_its_commits_stay_known(database):
    known = record()
    record_id = save(database, known)
    save(database, blocked(ref("acme/chat-lora", None)), 1)
    assert find(database).record.status is Status.BLOCKED
    assert find(database, revision=str(known.adapter.commit_sha)).id == record_id
    with database.reading() as connection:
        (listed,) = records.list_records(connection).records
    assert listed.record.status is Status.BLOCKED
    assert save(database, known, 2) == record_id
    assert find(database).id == record_id


def test_a_commit_that_could_not_be_read_is_found_by_that_commit(database):
    sha = commit("gone")
    unread = replace(ref("acme/chat-lora", None), revision=sha)
    save(database, blocked(unread, "revision-not-found"))
    assert find(database, revision=sha).record.adapter.revision == sha
    assert find(database) is None


def test_a_failure_never_takes_the_place_of_an_answer(database):
    known = save(database, record())
    assert save(database, failed(ref("acme/chat-lora", None)), 1) == known
    assert find(database).record.status is Status.PLANNED
    assert save(database, failed(ref("acme/new-lora", None)), 1) != known
    assert find(database, "acme/new-lora").record.status is Status.FAILED


def test_a_base_that_could_not_be_read_makes_way_for_the_base(database):
    gated = replace(
        record(base=ref("acme/base", None)),
        status=Status.BLOCKED,
        evidence=Evidence.NONE,
        plan=None,
        issues=(Issue("base-gated", Severity.ERROR, "It is gated.", "Ask."),),
    )
    first = save(database, gated)
    assert find(database).record == gated
    second = save(database, record(), 1)
    assert find(database).id == second
    with database.reading() as connection:
        history = records.record_history(connection, repo_id="acme/chat-lora")
    assert history[-1].superseded_by == second
    assert history[-1].id == first


def test_an_undeclared_base_stays_the_answer_beside_a_record_for_the_callers_base(database):
    undeclared = replace(
        record(),
        base=None,
        status=Status.BLOCKED,
        plan=None,
        facts=RecordFacts(peft_type="LORA"),
        issues=(Issue("base-undeclared", Severity.ERROR, "None.", "Name one."),),
    )
    first = save(database, undeclared)
    second = save(database, record(declared_base=None), 1)
    assert find(database).id == first
    assert find(database, base_repo_id="acme/base").id == second


@pytest.mark.parametrize("order", ["facts first", "ref first"])
def test_a_base_branch_with_other_content_makes_records_stale_but_not_pinned_ones(database, order):
    saved = record()
    save(database, saved)
    moved = ref("acme/base", "retrained")

    def note(session):
        steps = [
            lambda: save_base(session, base_facts(moved)),
            lambda: repositories.save_ref(session, moved, seen_at=at(1)),
        ]
        for step in steps if order == "facts first" else reversed(steps):
            step()

    database.write(note)
    found = find(database)
    assert (found.record.status, found.record.evidence) == (Status.STALE, Evidence.STATIC)
    assert found.record.base.commit_sha == saved.base.commit_sha
    assert find(database, base_repo_id="acme/base").record.status is Status.STALE
    pinned = find(
        database,
        revision=str(saved.adapter.commit_sha),
        base_repo_id="acme/base",
        base_revision=str(saved.base.commit_sha),
    )
    assert pinned.record.status is Status.PLANNED
    with database.reading() as connection:
        stale = records.list_records(connection, records.RecordFilter(status="stale"))
        assert len(stale.records) == 1
        planned = records.list_records(connection, records.RecordFilter(status="planned"))
        assert planned.records == ()
        assert records.count_choices(connection).values["status"] == (("stale", 1),)
    # It goes back, by a further commit of the first content.
    back = ref("acme/base", "base", "reverted")
    database.write(lambda session: save_base(session, base_facts(back)))
    database.write(lambda session: repositories.save_ref(session, back, seen_at=at(2)))
    assert find(database).record.status is Status.PLANNED
    assert find(database).record.base.commit_sha == back.commit_sha
    with database.reading() as connection:
        assert records.count_choices(connection).values["status"] == (("planned", 1),)


def test_a_branch_at_a_commit_not_yet_read_is_not_called_stale(database):
    save(database, record())
    unread = replace(ref("acme/base", "x", "new"), digest=None)
    database.write(lambda session: repositories.save_ref(session, unread, seen_at=at(1)))
    assert find(database).record.status is Status.PLANNED


def test_an_older_observation_does_not_move_a_branch_back(database):
    save(database, record(ref("acme/chat-lora", "new")), 5)
    save(database, record(ref("acme/chat-lora", "old")), 1)
    assert find(database).record.adapter.digest == digest("new")
    # A worker that was slow tells of the base's former commit: nothing becomes stale by that.
    former = ref("acme/base", "former base")
    database.write(lambda session: save_base(session, base_facts(former)))
    moved = database.write(lambda session: repositories.save_ref(session, former, seen_at=at(2)))
    assert not moved
    with database.reading() as connection:
        (listed,) = records.list_records(connection).records
    assert listed.record.status is find(database).record.status is Status.PLANNED


def test_a_base_is_asked_for_by_commit_or_branch(database):
    saved = record(base=ref("acme/base", "v2 content", revision="v2"))
    record_id = save(database, saved)
    ask = {"base_repo_id": "acme/base"}
    assert find(database, **ask, base_revision="v2").id == record_id
    assert find(database, **ask, base_revision=str(saved.base.commit_sha)).id == record_id
    assert find(database, **ask, base_revision="main") is None
    assert find(database, **ask, base_revision=commit("other")) is None


def test_hostile_names_are_stored_and_found_and_run_nothing(database):
    for name in (
        "acme/x'; DROP TABLE records; --",
        'acme/"quoted"',
        "acme/%_/\\",
        "acme/nul\x00",
        "acme/\ud800",
        "acme/\u202eright-to-left",
    ):
        saved = record(
            ref(name, "hostile"),
            issues=(Issue("config-unknown-keys", Severity.WARNING, name, name),),
        )
        save(database, saved)
        found = find(database, name)
        assert found.record == saved, name
        with database.reading() as connection:
            page = records.list_records(connection, records.RecordFilter(q=name))
            assert [entry.record.adapter.repo_id for entry in page.records] == [name]
    assert find(database, "acme/nul") is None
    assert find(database, "acme/nul\\u0000") is None
    with database.reading() as connection:
        assert records.list_records(connection, records.RecordFilter(q="%")).records[0].record
        assert records.list_records(connection, records.RecordFilter(q="x%x")).records == ()
