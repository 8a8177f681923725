"""The sweep finds whatever no event told of, goes on where it broke off, and asks for nothing
twice."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from registry.db import hub_events
from registry.db.sweeps import load_sweep
from registry.domain.record import Status
from registry.errors import HubError, SettingInvalid
from registry.hub import listing
from registry.jobs import Priority
from registry.watching import Scope, parse_scope, retry_failed, sweep
from tests.cli.publishing import adapter_files, publish_base, tiny_base
from tests.data.adapters import Lora
from tests.data.bases import base_repository
from tests.hub import Answer
from tests.watching.conftest import push
from workers.sweep import run_sweep

NOW = datetime.now(UTC)


def run_one(watched, scope=Scope(), now=None):
    return watched.run(lambda reader: sweep(watched.database, watched.jobs, reader, scope, now=now))


def state_of(watched, name="all"):
    with watched.database.reading() as connection:
        return load_sweep(connection, name)


def publish_one(hub, name, lora=None, **more):
    """A push of now, as the list of repositories tells it."""
    return hub.add_commit(name, adapter_files(lora, **more), date=datetime.now(UTC))


def publish(hub, count, prefix="acme/lora", **more):
    names = [f"{prefix}-{n:03}" for n in range(count)]
    return [
        (name, publish_one(hub, name, Lora(alpha=n + 1), **more)) for n, name in enumerate(names)
    ]


def test_with_a_third_of_the_events_lost_the_next_sweep_records_everything(watched, hub):
    publish_base(hub)
    pushes = publish(hub, 60)
    told = [each for n, each in enumerate(pushes) if n % 10 not in (2, 5, 8)]
    assert len(told) == 42
    watched.tell(*(push(name, sha) for name, sha in told))
    watched.scan()
    watched.settle()
    assert len(watched.listed()) == 42
    swept = run_one(watched)
    assert (swept.listed, swept.new) == (60, 18)
    watched.scan()
    watched.settle()
    found = {record.adapter.repo_id: record.adapter.commit_sha for record in watched.listed()}
    assert found == dict(pushes)
    assert watched.open_operations() == []


def test_pushes_to_known_adapters_are_found_and_known_commits_cost_nothing(watched, hub):
    publish_base(hub)
    publish(hub, 5)
    run_one(watched)
    watched.scan()
    watched.settle()
    new = publish_one(hub, "acme/lora-003", Lora(rank=2))
    hub.log.reset()
    assert run_one(watched).new == 1
    assert len(hub.log.entries) == 1
    (operation,) = watched.open_operations()
    assert [each["repo_id"] for each in operation.request["references"]] == ["acme/lora-003"]
    watched.scan()
    assert watched.find("acme/lora-003").adapter.commit_sha == new


def test_a_sweep_stands_in_line_behind_people_and_events(watched, hub):
    publish(hub, 3)
    run_one(watched)
    assert [each.priority for each in watched.open_operations()] == [Priority.SWEEP]


def test_scans_are_asked_for_in_batches(watched, hub):
    publish(hub, 120)
    assert run_one(watched).new == 120
    sizes = [len(each.request["references"]) for each in watched.open_operations()]
    assert sorted(sizes) == [20, 50, 50]


def test_scopes_list_an_author_or_a_base(watched, hub):
    hub.add_commit("tiny/other", base_repository(tiny_base("tiny/other")))
    publish(hub, 2)
    publish(hub, 3, "corp/lora")
    publish(hub, 4, "corp/on", config={"base_model_name_or_path": "tiny/other"})
    assert run_one(watched, Scope(author="corp")).new == 7
    assert run_one(watched, Scope(base="tiny/other")).listed == 4
    assert run_one(watched, Scope(base="tiny/llama")).new == 2
    assert run_one(watched).new == 0


def test_only_repositories_with_the_peft_tag_are_listed(watched, hub):
    publish_base(hub)
    hub.add_commit("acme/model", {"config.json": "{}"})
    publish(hub, 1)
    assert run_one(watched).listed == 1


def test_a_listing_that_breaks_off_goes_on_at_its_page(watched, hub, monkeypatch):
    monkeypatch.setattr(listing, "_PAGE", 10)
    publish(hub, 35)
    hub.latency = 0.2

    async def break_off(reader):
        task = asyncio.create_task(
            sweep(watched.database, watched.jobs, reader, Scope(), now=datetime.now(UTC))
        )
        while len(hub.log.entries) < 2:
            await asyncio.sleep(0.005)
        hub.inject(Answer(503), path="^/api/models$")
        with pytest.raises(HubError):
            await task

    watched.run(break_off)
    hub.faults.clear()
    hub.latency = 0
    kept = len(all_events(watched))
    assert 10 <= kept < 35
    assert state_of(watched).finished_at is None
    hub.log.reset()
    assert run_one(watched).new == 35 - kept
    assert state_of(watched).finished_at is not None
    # The pages before were not asked for again.
    assert len(hub.log.entries) < 4
    assert len(all_events(watched)) == 35


def all_events(watched):
    with watched.database.reading() as connection:
        return hub_events.list_hub_events(connection, limit=1000)


def test_a_sweep_ends_at_what_is_older_than_the_last_one(watched, hub):
    old = NOW - timedelta(days=30)
    hub.add_commit("acme/old", {"adapter_config.json": "{}"}, date=old)
    publish(hub, 2)
    assert run_one(watched).listed == 2
    # After a day the same two are old, too.
    later = NOW + timedelta(days=1)
    assert run_one(watched, now=later).listed == 2
    assert run_one(watched, now=later + timedelta(days=1)).listed == 0


def test_a_private_row_is_noted_and_hidden(watched, hub):
    publish_base(hub)
    publish_one(hub, "acme/secret")
    hub.set_private("acme/secret")
    hub.token = hub.add_token("hf_reader", may_read=("acme/secret",))
    assert run_one(watched).new == 1
    watched.scan()
    assert watched.find("acme/secret").status is Status.PLANNED
    assert watched.listed() == []


def test_failures_are_tried_again_with_the_next_sweep(watched, hub):
    publish_base(hub)
    name, sha = publish(hub, 1)[0]
    watched.tell(push(name, sha))
    hub.inject(Answer(503), path="acme/")
    watched.scan()
    assert watched.find(name).status is Status.FAILED
    hub.faults.clear()
    assert retry_failed(watched.database, watched.jobs) == 1
    watched.scan()
    assert watched.find(name).status is Status.PLANNED
    assert retry_failed(watched.database, watched.jobs) == 0


def test_each_scope_is_swept_when_it_is_due_and_one_that_fails_keeps_the_others(watched, hub):
    publish(hub, 2)
    scopes = [Scope(author="acme"), Scope(base="tiny/llama")]

    def rounds(now):
        return watched.run(
            lambda reader: run_sweep(watched.database, watched.jobs, reader, scopes, now=now)
        )

    assert rounds(NOW) == 2
    assert rounds(NOW + timedelta(minutes=5)) == 0
    hub.inject(Answer(503), path="^/api/models$", times=1)
    assert rounds(NOW + timedelta(minutes=20)) == 1
    hub.faults.clear()
    assert rounds(NOW + timedelta(minutes=21)) == 1


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("all", Scope()),
        ("author:acme", Scope(author="acme")),
        ("base:a/b", Scope(base="a/b")),
        ("base:gpt2", Scope(base="gpt2")),
    ],
)
def test_scopes_are_read_as_they_are_named(text, scope):
    assert parse_scope(text) == scope
    assert scope.name == text


@pytest.mark.parametrize("text", ["", "everything", "author:", "author:a/b", "base:", "base:../x"])
def test_what_is_no_scope_is_refused(text):
    with pytest.raises(SettingInvalid):
        parse_scope(text)


def test_a_sweep_that_is_cancelled_can_go_on(watched, hub):
    publish(hub, 3)

    async def cancelled(reader):
        task = asyncio.create_task(sweep(watched.database, watched.jobs, reader, Scope(), now=NOW))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    watched.run(cancelled)
    assert run_one(watched).new == 3
