"""`check` rehearses with the real PEFT in a child process, and says what it cannot do."""

import pytest

from registry.errors import ChildFailed
from tests.cli.publishing import grown, publish_adapter, publish_base
from tests.data.adapters import Lora

pytest.importorskip("peft", reason="needs the runner extra")


@pytest.fixture(scope="module", autouse=True)
def published(hub):
    publish_base(hub)
    hub.add_commit("acme/grown", grown())
    publish_adapter(hub, "acme/plain")


def test_check_rehearses_the_plan_and_quotes_the_naive_error(loadplan):
    done = loadplan("check", "acme/grown", "--json")
    record = done.record
    assert (done.exit_code, record["status"], record["evidence"]) == (0, "rehearsed", "rehearsed")
    assert record["naive_load"]["outcome"] == "raises"
    assert "size mismatch" in record["naive_load"]["error"]
    # What was rehearsed is recorded: the next check starts no child and prints the same.
    again = loadplan("check", "acme/grown", "--json")
    assert again.document == done.document
    listed = loadplan("list", "--status", "rehearsed", "--json").document
    assert [row["adapter"]["repo_id"] for row in listed] == ["acme/grown"]


def test_agreement_of_rules_and_library_over_every_record(loadplan, hub):
    publish_adapter(hub, "acme/narrow", Lora(rank=4, targets=("q_proj",)))
    loadplan("scan", "acme/grown", "acme/plain", "acme/narrow")
    done = loadplan("doctor", "--agreement", "--json")
    assert done.document["disagreements"] == []
    assert (done.exit_code, done.document["rehearsed"]) == (0, 3), done.out
    assert 0.9 < done.document["spoken_for"] <= 1


def test_a_child_that_fails_leaves_the_record_planned(loadplan, monkeypatch):
    from workers.rehearse import Rehearser

    def fail(*_):
        raise ChildFailed("The child was killed.")

    monkeypatch.setattr(Rehearser, "rehearse", fail)
    done = loadplan("check", "acme/plain", "--json")
    assert (done.exit_code, done.record["status"]) == (3, "planned")
    assert "Not rehearsed" in done.err
