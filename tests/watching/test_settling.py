"""Events are looked up until they are recorded; a base's change reaches its adapters."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from registry.asking import ask_scan
from registry.db import hub_events, operations
from registry.db.operations import State
from registry.db.records import save_record
from registry.domain.record import Evidence, Status
from registry.domain.refs import Reference, parse_reference
from registry.jobs import Priority
from registry.watching import pay_proofs
from tests.cli.publishing import adapter_files, publish_adapter, publish_base, tiny_base
from tests.data.adapters import Lora
from tests.data.bases import base_repository
from tests.hub import Answer
from tests.watching.conftest import push


def known_adapter(watched, hub, name="acme/lora", lora=None, **more):
    """A recorded adapter, its event settled."""
    watched.tell(push(name, publish_adapter(hub, name, lora, **more)))
    watched.scan()
    watched.settle()
    return watched.find(name)


def set_evidence(watched, record, status, evidence):
    with watched.database.transaction() as session:
        save_record(
            session, replace(record, status=status, evidence=evidence), scanned_at=datetime.now(UTC)
        )


def prove(watched, name):
    set_evidence(watched, watched.find(name), Status.COMPATIBLE, Evidence.PROVEN)


def rehearse(watched, name):
    set_evidence(watched, watched.find(name), Status.REHEARSED, Evidence.REHEARSED)


def waiting(watched, action="update"):
    with watched.database.reading() as connection:
        return hub_events.list_waiting(connection, action=action)


def change_base(hub, repo_id="tiny/llama", **more):
    """Another content of a base: a number in its config."""
    base = tiny_base(repo_id)
    changed = replace(base, config={**base.config, "rms_norm_eps": 1e-6})
    return hub.add_commit(repo_id, base_repository(changed), **more)


def test_an_unknown_repository_is_scanned_once_an_adapter_is_seen_in_it(watched, hub):
    publish_base(hub)
    sha = publish_adapter(hub, "acme/new")
    watched.tell(push("acme/new", sha, tags=()))
    assert watched.open_operations() == []
    watched.settle()
    assert [each.request["repo_id"] for each in watched.open_operations()] == ["acme/new"]
    watched.scan()
    watched.settle()
    assert watched.find("acme/new").status is Status.PLANNED
    assert waiting(watched) == []


def test_a_repository_without_an_adapter_leaves_no_record(watched, hub):
    sha = hub.add_commit("acme/model", {"config.json": "{}", "README.md": "# A model"})
    watched.tell(push("acme/model", sha, tags=()))
    assert watched.settle() == 1
    assert watched.open_operations() == []
    assert watched.find("acme/model") is None
    with watched.database.reading() as connection:
        (event,) = hub_events.list_hub_events(connection)
    assert event.state == "ignored"


def test_adapters_in_sub_folders_are_recorded_each(watched, hub):
    publish_base(hub)
    files = {f"{folder}/{n}": c for folder in ("a", "b") for n, c in adapter_files().items()}
    watched.tell(push("acme/folders", hub.add_commit("acme/folders", files), tags=()))
    watched.settle()
    watched.scan()
    watched.settle()
    for folder in ("a", "b"):
        assert watched.find("acme/folders", subfolder=folder).status is Status.PLANNED
    assert waiting(watched) == []


def test_a_push_during_a_scan_of_the_commit_before_is_not_lost(watched, hub):
    """The new event joins the scan that is at work already, which has read the old commit."""
    publish_base(hub)
    watched.tell(push("acme/lora", publish_adapter(hub, "acme/lora", Lora(rank=2))))
    (operation,) = watched.open_operations()
    watched.scan()
    with watched.database.transaction() as session:
        # As if the scan had read the Hub already and were still at work.
        again = ask_scan(
            session, watched.jobs, Reference("acme/lora", "main"), priority=Priority.EVENT
        )
    new = publish_adapter(hub, "acme/lora", Lora(rank=16))
    watched.tell(push("acme/lora", new))
    with watched.database.transaction() as session:
        operations.close(session, again.id, State.SUCCEEDED)
    assert operation.id != again.id
    watched.settle()
    watched.scan()
    watched.settle()
    assert watched.find("acme/lora").adapter.commit_sha == new
    assert waiting(watched) == []


def test_what_the_hub_does_not_answer_stays_for_the_next_look(watched, hub):
    publish_base(hub)
    sha = publish_adapter(hub, "acme/lora")
    watched.tell(push("acme/lora", sha, tags=()))
    hub.inject(Answer(503), path="acme/lora")
    assert watched.settle() == 0
    assert len(waiting(watched)) == 1
    hub.faults.clear()
    watched.settle()
    watched.scan()
    watched.settle()
    assert watched.find("acme/lora").adapter.commit_sha == sha


def test_a_commit_that_no_scan_reads_is_given_up_after_three(watched, hub):
    publish_base(hub)
    sha = publish_adapter(hub, "acme/lora")
    hub.set_gated("acme/lora")
    watched.tell(push("acme/lora", sha))
    asked = 0
    for _ in range(6):
        asked += len(watched.open_operations())
        watched.scan()
        watched.settle()
    assert waiting(watched) == []
    assert asked == 4
    assert watched.find("acme/lora").status is Status.BLOCKED


def test_a_readme_of_the_adapter_leaves_it_compatible_and_starts_no_proof(watched, hub):
    publish_base(hub)
    known_adapter(watched, hub)
    prove(watched, "acme/lora")
    sha = hub.add_commit("acme/lora", {"README.md": "# Better words"})
    watched.tell(push("acme/lora", sha))
    watched.scan()
    watched.settle()
    assert pay_proofs(watched.database, watched.jobs) == 0
    record = watched.find("acme/lora")
    assert (record.status, record.adapter.commit_sha) == (Status.COMPATIBLE, sha)
    assert watched.open_operations() == []
    assert waiting(watched, "prove") == []


def test_a_readme_of_the_base_costs_a_look_and_nothing_else(watched, hub):
    publish_base(hub)
    known_adapter(watched, hub)
    prove(watched, "acme/lora")
    sha = hub.add_commit("tiny/llama", {"README.md": "# Better words"})
    hub.log.reset()
    watched.tell(push("tiny/llama", sha, tags=()))
    assert watched.open_operations() == []
    assert watched.settle() == 1
    assert watched.open_operations() == []
    assert waiting(watched, "prove") == []
    assert not [entry for entry in hub.log.entries if "acme/lora" in entry.path]
    record = watched.find("acme/lora")
    assert (record.status, record.base.commit_sha) == (Status.COMPATIBLE, sha)
    # And a scan of the adapter, asked for by somebody, finds the same.
    with watched.database.transaction() as session:
        ask_scan(session, watched.jobs, Reference("acme/lora"), priority=Priority.PERSON)
    watched.scan()
    assert watched.find("acme/lora").status is Status.COMPATIBLE
    assert [each.kind for each in watched.open_operations()] == []


def test_changed_base_content_makes_records_stale_and_queues_new_plans(watched, hub):
    publish_base(hub)
    known_adapter(watched, hub)
    pinned = known_adapter(watched, hub, "acme/pinned", Lora(rank=2))
    rehearse(watched, "acme/lora")
    sha = change_base(hub)
    watched.tell(push("tiny/llama", sha, tags=()))
    watched.settle()
    assert watched.find("acme/lora").status is Status.STALE
    assert [each.status for each in watched.listed()] == [Status.STALE, Status.STALE]
    by_commits = watched.find(
        "acme/pinned",
        revision=pinned.adapter.commit_sha,
        base_repo_id="tiny/llama",
        base_revision=pinned.base.commit_sha,
    )
    assert by_commits.status is Status.PLANNED
    (operation,) = watched.open_operations()
    names = [each["repo_id"] for each in operation.request["references"]]
    assert (operation.kind, sorted(names)) == ("crawl", ["acme/lora", "acme/pinned"])
    watched.scan()
    fresh = watched.find("acme/lora")
    assert (fresh.status, fresh.base.commit_sha) == (Status.PLANNED, sha)


def test_the_most_asked_for_go_first(watched, hub):
    publish_base(hub)
    for name in ("acme/one", "acme/two", "acme/three"):
        known_adapter(watched, hub, name)

    def ask(session):
        for name, times in (("acme/two", 3), ("acme/three", 1)):
            for _ in range(times):
                reference = Reference(name, "main")
                ask_scan(session, watched.jobs, reference, priority=Priority.PERSON)

    watched.database.write(ask)
    watched.scan()
    for name in ("acme/one", "acme/two", "acme/three"):
        prove(watched, name)
    watched.tell(push("tiny/llama", change_base(hub), tags=()))
    watched.settle()
    (operation,) = watched.open_operations()
    order = ["acme/two", "acme/three", "acme/one"]
    assert [each["repo_id"] for each in operation.request["references"]] == order
    (owed,) = waiting(watched, "prove")
    assert [each["repo_id"] for each in owed.document["owed"]] == order


def test_records_on_a_base_of_the_callers_choice_are_asked_for_with_it(watched, hub):
    publish_base(hub)
    hub.add_commit("tiny/other", base_repository(tiny_base("tiny/other"), more={"x": "y"}))
    publish_adapter(hub, "acme/lora")
    with watched.database.transaction() as session:
        ask_scan(
            session,
            watched.jobs,
            Reference("acme/lora", "main"),
            parse_reference("tiny/other"),
            priority=Priority.PERSON,
        )
    watched.scan()
    sha = change_base(hub, "tiny/other")
    watched.tell(push("tiny/other", sha, tags=()))
    watched.settle()
    (operation,) = watched.open_operations()
    assert operation.request["base"] == "tiny/other@main"
    watched.scan()
    record = watched.find("acme/lora", base_repo_id="tiny/other")
    assert (record.status, record.base.commit_sha) == (Status.PLANNED, sha)


def test_another_branch_of_a_base_touches_nothing(watched, hub):
    publish_base(hub)
    known_adapter(watched, hub)
    hub.add_branch("tiny/llama", "next")
    sha = change_base(hub, branch="next")
    body = push("tiny/llama", sha, tags=())
    body["updatedRefs"][0]["ref"] = "refs/heads/next"
    watched.tell(body)
    watched.settle()
    assert watched.find("acme/lora").status is Status.PLANNED
    assert watched.open_operations() == []


def test_a_base_that_was_missing_unblocks_its_adapters(watched, hub):
    publish_adapter(hub, "acme/lora")
    watched.tell(push("acme/lora", hub.repository("acme/lora").head.sha))
    watched.scan()
    watched.settle()
    assert watched.find("acme/lora").status is Status.BLOCKED
    publish_base(hub)
    watched.tell(push("tiny/llama", hub.repository("tiny/llama").head.sha, tags=()))
    watched.settle()
    watched.scan()
    assert watched.find("acme/lora").status is Status.PLANNED


@pytest.mark.parametrize("changed", ["adapter", "base"])
def test_a_proof_is_asked_for_once_the_new_plan_is_rehearsed(watched, hub, changed):
    publish_base(hub)
    known_adapter(watched, hub)
    prove(watched, "acme/lora")
    if changed == "adapter":
        watched.tell(push("acme/lora", publish_adapter(hub, "acme/lora", Lora(rank=2))))
    else:
        watched.tell(push("tiny/llama", change_base(hub), tags=()))
    watched.settle()
    # Nothing is known of the new content yet, then it is planned: too early both times.
    assert pay_proofs(watched.database, watched.jobs) == 0
    watched.scan()
    watched.settle()
    assert pay_proofs(watched.database, watched.jobs) == 0
    assert len(waiting(watched, "prove")) == 1
    rehearse(watched, "acme/lora")
    assert pay_proofs(watched.database, watched.jobs) == 1
    assert pay_proofs(watched.database, watched.jobs) == 0
    (operation,) = watched.open_operations()
    record = watched.find("acme/lora")
    assert (operation.kind, operation.priority) == ("prove", Priority.EVENT)
    assert operation.request["pair"] == [record.adapter.digest, None, record.base.digest]
    assert waiting(watched, "prove") == []


def test_a_new_content_that_does_not_load_is_owed_no_proof(watched, hub):
    publish_base(hub)
    known_adapter(watched, hub)
    prove(watched, "acme/lora")
    sha = publish_adapter(hub, "acme/lora", config={"target_modules": ["nothing"]})
    watched.tell(push("acme/lora", sha))
    watched.scan()
    watched.settle()
    assert watched.find("acme/lora").status is Status.INCOMPATIBLE
    assert pay_proofs(watched.database, watched.jobs) == 0
    assert waiting(watched, "prove") == []


def test_a_debt_is_dropped_after_days_without_a_plan(watched, hub):
    publish_base(hub)
    known_adapter(watched, hub)
    prove(watched, "acme/lora")
    watched.tell(push("tiny/llama", change_base(hub), tags=()))
    watched.settle()
    later = datetime.now(UTC) + timedelta(days=4)
    assert pay_proofs(watched.database, watched.jobs, now=later) == 0
    assert waiting(watched, "prove") == []
