"""An event of the Hub is noted once, hides at once, and queues what it asks for."""

from datetime import UTC, datetime

from registry.db import hub_events
from registry.db import watched as queries
from registry.db.records import save_record
from registry.domain.record import Evidence, Status
from tests.cli.publishing import publish_adapter, publish_base
from tests.data.adapters import Lora
from tests.db.examples import commit
from tests.watching.conftest import event, push


def events(watched, state=None):
    with watched.database.reading() as connection:
        return hub_events.list_hub_events(connection, state=state, limit=2000)


def test_a_push_queues_one_scan_however_often_it_is_told(watched):
    body = push("acme/lora", commit(1))
    (first,) = watched.tell(body)
    again = watched.tell(body, body)
    assert (first.noted, first.repeated) == (1, 0)
    assert [(each.noted, each.repeated) for each in again] == [(0, 1), (0, 1)]
    (operation,) = watched.open_operations()
    assert (operation.kind, operation.request) == (
        "scan",
        {"repo_id": "acme/lora", "revision": "main"},
    )
    assert watched.jobs.list_open([operation.id]) == [operation.id]
    (noted,) = events(watched)
    assert (noted.state, noted.operation_id) == ("received", operation.id)


def test_a_replay_after_the_scan_asks_for_nothing(watched, hub):
    publish_base(hub)
    body = push("acme/lora", publish_adapter(hub, "acme/lora"))
    watched.tell(body)
    watched.scan()
    watched.settle()
    assert watched.find("acme/lora").status is Status.PLANNED
    hub.log.reset()
    assert watched.tell(body)[0].repeated == 1
    watched.settle()
    assert watched.open_operations() == []
    assert not hub.log.entries
    assert events(watched)[0].state == "done"


def test_a_burst_of_a_thousand_events_is_noted_without_loss(watched):
    bodies = [push(f"acme/lora-{n % 500}", commit(n)) for n in range(1000)]
    received = watched.tell(*bodies)
    assert sum(each.noted for each in received) == 1000
    assert len(events(watched)) == 1000
    # Two pushes to one repository are one scan while it is open: it reads what is there then.
    assert len(watched.open_operations()) == 500


def test_events_out_of_order_record_what_the_branch_holds_now(watched, hub):
    publish_base(hub)
    first = publish_adapter(hub, "acme/lora", Lora(rank=4))
    second = publish_adapter(hub, "acme/lora", Lora(rank=16))
    watched.tell(push("acme/lora", second), push("acme/lora", first), push("acme/lora", second))
    watched.scan()
    watched.settle()
    record = watched.find("acme/lora")
    assert (record.adapter.commit_sha, record.facts.rank) == (second, 16)
    assert {each.state for each in events(watched)} == {"done"}
    assert watched.open_operations() == []


def test_pull_requests_and_other_kinds_leave_no_trace(watched):
    dataset = push("acme/data", commit(1))
    dataset["repo"]["type"] = "dataset"
    watched.tell(event("acme/lora", ("refs/pr/1", commit(2))), dataset)
    assert events(watched) == []
    assert watched.open_operations() == []


def test_a_branch_is_scanned_at_its_own_name(watched, hub):
    publish_base(hub)
    main = publish_adapter(hub, "acme/lora")
    hub.add_branch("acme/lora", "v2")
    watched.tell(event("acme/lora", ("refs/heads/v2", main)))
    watched.scan()
    assert watched.find("acme/lora", revision="v2").adapter.commit_sha == main


def test_made_private_is_hidden_before_anything_is_looked_up(watched, hub):
    publish_base(hub)
    watched.tell(push("acme/lora", publish_adapter(hub, "acme/lora")))
    watched.scan()
    assert len(watched.listed()) == 1
    told = event("acme/lora", scope="repo.config", updatedConfig={"private": True})
    (received,) = watched.tell(told)
    assert received.hidden
    assert watched.listed() == []
    assert len(watched.listed(visible=frozenset({"acme/*"}))) == 1


def test_a_private_push_is_hidden_from_its_first_moment(watched, hub):
    publish_base(hub)
    sha = publish_adapter(hub, "acme/secret")
    hub.set_private("acme/secret")
    hub.token = hub.add_token("hf_reader", may_read=("acme/secret",))
    (received,) = watched.tell(push("acme/secret", sha, private=True))
    assert received.hidden
    watched.scan()
    assert watched.find("acme/secret").status is Status.PLANNED
    assert watched.listed() == []
    assert len(watched.listed(visible=frozenset({"acme/secret"}))) == 1


def test_made_public_again_shows_once_the_hub_says_so(watched, hub):
    publish_base(hub)
    watched.tell(push("acme/lora", publish_adapter(hub, "acme/lora")))
    watched.scan()
    hide = event("acme/lora", scope="repo.config", updatedConfig={"private": True})
    show = event("acme/lora", scope="repo.config", updatedConfig={"private": False})
    hub.set_private("acme/lora")
    # An event that comes too late says "public"; the Hub, asked, does not.
    watched.tell(hide, show)
    watched.scan()
    assert watched.listed() == []
    hub.set_private("acme/lora", False)
    watched.tell(show)
    watched.scan()
    assert len(watched.listed()) == 1


def test_a_deleted_repository_leaves_public_view_and_keeps_its_history(watched, hub):
    publish_base(hub)
    watched.tell(push("acme/lora", publish_adapter(hub, "acme/lora")))
    watched.scan()
    hub.delete("acme/lora")
    (received,) = watched.tell(event("acme/lora", scope="repo", action="delete"))
    assert received.hidden
    assert watched.listed() == []
    watched.scan()
    assert watched.listed() == []
    everything = watched.listed(visible=frozenset({"*"}))
    assert {record.adapter.repo_id for record in everything} == {"acme/lora"}


def test_a_delete_that_was_a_replay_hides_nothing_for_long(watched, hub):
    publish_base(hub)
    watched.tell(push("acme/lora", publish_adapter(hub, "acme/lora")))
    watched.scan()
    watched.tell(event("acme/lora", scope="repo", action="delete"))
    assert watched.listed() == []
    watched.scan()
    assert len(watched.listed()) == 1


def test_a_missing_repository_is_kept_from_view_like_a_private_one(watched, hub):
    """The Hub does not say which of the two it is, so neither do we."""
    publish_base(hub)
    publish_adapter(hub, "acme/secret")
    hub.set_private("acme/secret")
    watched.tell(push("acme/secret", commit(1)), push("acme/absent", commit(2)))
    watched.scan()
    for name in ("acme/secret", "acme/absent"):
        assert watched.find(name).status is Status.BLOCKED
    assert watched.listed() == []


def test_a_moved_adapter_is_found_by_both_names_and_listed_once(watched, hub):
    publish_base(hub)
    sha = publish_adapter(hub, "acme/old-name")
    watched.tell(push("acme/old-name", sha))
    watched.scan()
    before = watched.find("acme/old-name")
    hub.move("acme/old-name", "corp/new-name")
    moved = event("acme/old-name", scope="repo", action="move", movedTo={"name": "corp/new-name"})
    watched.tell(moved)
    for when in ("at once", "after the scan"):
        for name in ("acme/old-name", "corp/new-name"):
            record = watched.find(name)
            assert record.adapter.repo_id == "corp/new-name", when
            assert record.adapter.digest == before.adapter.digest
        (listed,) = watched.listed(q="new-name")
        assert listed.adapter.repo_id == "corp/new-name"
        assert watched.listed(q="old-name") == []
        watched.scan()
    watched.tell(moved)
    watched.scan()
    assert len(watched.listed()) == 1


def test_a_moved_base_takes_its_adapters_along(watched, hub):
    publish_base(hub)
    watched.tell(push("acme/lora", publish_adapter(hub, "acme/lora")))
    watched.scan()
    hub.move("tiny/llama", "tiny/llama-2")
    moved = {"scope": "repo", "action": "move", "movedTo": {"name": "tiny/llama-2"}}
    watched.tell(event("tiny/llama", tags=(), **moved))
    assert watched.find("acme/lora").base.repo_id == "tiny/llama-2"
    assert len(watched.listed(base="tiny/llama")) == 1
    assert len(watched.listed(base="tiny/llama-2")) == 1
    watched.tell(push("acme/lora", publish_adapter(hub, "acme/lora", Lora(rank=2))))
    watched.scan()
    assert len(watched.listed()) == 1


def test_only_what_was_proven_is_owed_a_new_proof(watched, hub):
    publish_base(hub)
    for name in ("acme/proven", "acme/planned"):
        watched.tell(push(name, publish_adapter(hub, name)))
    watched.scan()
    prove(watched, "acme/proven")
    for name in ("acme/proven", "acme/planned"):
        watched.tell(push(name, publish_adapter(hub, name, Lora(rank=2))))
    with watched.database.reading() as connection:
        owed = hub_events.list_waiting(connection, action="prove")
    assert [each.document["owed"] for each in owed] == [
        [{"repo_id": "acme/proven", "revision": "main"}]
    ]


def prove(watched, repo_id):
    """Put the record on file as a passed proof would."""
    from dataclasses import replace

    record = watched.find(repo_id)
    proven = replace(record, status=Status.COMPATIBLE, evidence=Evidence.PROVEN)
    with watched.database.transaction() as session:
        save_record(session, proven, scanned_at=datetime.now(UTC))


def test_requests_of_callers_are_counted_as_demand_and_crawls_are_not(watched):
    from registry.asking import ask_batch, ask_scan
    from registry.domain.refs import Reference
    from registry.jobs import Priority

    def ask(session):
        for name, times in (("acme/often", 3), ("acme/once", 1)):
            for _ in range(times):
                ask_scan(session, watched.jobs, Reference(name), priority=Priority.PERSON)
        ask_batch(session, watched.jobs, [Reference("acme/crawled")], priority=Priority.CRAWL)

    watched.database.write(ask)
    with watched.database.reading() as connection:
        asked = queries.count_requests(connection, since=datetime(2026, 1, 1, tzinfo=UTC))
    assert dict(asked) == {"acme/often": 3, "acme/once": 1}
