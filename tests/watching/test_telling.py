"""Subscribers are told of stale records and of scans that failed."""

import json

from registry.db import operations, subscriptions
from registry.db.operations import State
from registry.db.subscriptions import Subscription
from registry.errors import HubUnreachable
from registry.watching import announce_failures
from tests.cli.publishing import publish_base
from tests.db.examples import at, commit
from tests.watching.conftest import push
from tests.watching.test_settling import change_base, known_adapter
from workers.performing import problem_of


def subscribe(watched, subject="everything", repo_id="", name="one"):
    target = f"https://{name}.dev/"
    one = Subscription(name, subject, repo_id, target, "whsec_x", None, at(0))
    watched.database.write(lambda s: subscriptions.save_subscription(s, one))


def told(watched, name="one"):
    with watched.database.reading() as connection:
        found = subscriptions.list_deliveries(connection, name)
    return [(each.event, json.loads(each.body)["data"]) for each in found]


def test_a_changed_base_is_told_to_those_who_follow_its_adapters(watched, hub):
    publish_base(hub)
    known_adapter(watched, hub, "acme/one")
    known_adapter(watched, hub, "acme/two")
    subscribe(watched, "base", "tiny/llama", "base")
    subscribe(watched, "adapter", "acme/two", "adapter")
    watched.tell(push("tiny/llama", change_base(hub), tags=()))
    watched.settle()
    stale = [(event, data["status"]) for event, data in told(watched, "base")]
    assert stale == [("record.stale", "stale")] * 2
    ((_, data),) = told(watched, "adapter")
    assert data["adapter"]["repo_id"] == "acme/two"
    watched.scan()
    # The new plan is of other content, and so another plan.
    assert [event for event, _ in told(watched, "adapter")] == ["plan.changed", "record.stale"]


def test_a_readme_of_the_base_is_told_to_nobody(watched, hub):
    publish_base(hub)
    known_adapter(watched, hub)
    subscribe(watched)
    sha = hub.add_commit("tiny/llama", {"README.md": "# New words"})
    watched.tell(push("tiny/llama", sha, tags=()))
    watched.settle()
    watched.scan()
    assert told(watched) == []


def test_a_failed_scan_is_told_once(watched):
    subscribe(watched)
    watched.tell(push("acme/lora", commit(1)), push("acme/fine", commit(2)))

    def end(session):
        for operation in watched.open_operations():
            failed = operation.request["repo_id"] == "acme/lora"
            _, attempt = operations.take(session, operation.id, "test")
            operations.finish(
                session,
                attempt,
                State.FAILED if failed else State.SUCCEEDED,
                problem=problem_of(HubUnreachable()) if failed else None,
            )

    watched.database.write(end)
    assert announce_failures(watched.database) == 1
    assert announce_failures(watched.database) == 0
    ((event, data),) = told(watched)
    assert (event, data["problem"]["code"]) == ("scan.failed", "hub-unreachable")
    assert data["adapter"]["repo_id"] == "acme/lora"
    assert data["url"] == "/v1/adapters/acme/lora?revision=main"
