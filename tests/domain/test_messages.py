"""Which records are news to subscribers, and the body that tells them."""

import json
from dataclasses import replace

import pytest

from registry.domain.issues import make_issue
from registry.domain.messages import (
    MAX_BYTES,
    Before,
    MessageType,
    message_type,
    names_in,
    record_data,
    record_path,
    write_message,
)
from registry.domain.record import Evidence, Status
from registry.domain.refs import Reference
from tests.db.examples import at, digest, record, ref

PLANNED = record()
PLAN = PLANNED.plan.digest
PROVEN = replace(PLANNED, status=Status.COMPATIBLE, evidence=Evidence.PROVEN)
BROKEN = replace(PLANNED, status=Status.INCOMPATIBLE, plan=None)
OTHER = digest("another plan")


@pytest.mark.parametrize(
    ("now", "before", "told"),
    [
        (PLANNED, None, None),
        (PLANNED, Before(Status.PLANNED, PLAN), None),
        (PLANNED, Before(Status.BLOCKED, None), None),
        (PLANNED, Before(Status.PLANNED, OTHER), MessageType.CHANGED),
        (PLANNED, Before(Status.COMPATIBLE, OTHER), MessageType.CHANGED),
        (PROVEN, None, MessageType.PROVEN),
        (PROVEN, Before(Status.REHEARSED, PLAN), MessageType.PROVEN),
        (PROVEN, Before(Status.COMPATIBLE, PLAN), None),
        (PROVEN, Before(Status.COMPATIBLE, OTHER), MessageType.PROVEN),
        (BROKEN, None, MessageType.INCOMPATIBLE),
        (BROKEN, Before(Status.COMPATIBLE, PLAN), MessageType.INCOMPATIBLE),
        (BROKEN, Before(Status.INCOMPATIBLE, None), None),
    ],
)
def test_a_record_is_news_when_it_changes_what_a_deployment_does(now, before, told):
    assert message_type(now, before) is told


def test_the_body_names_the_pair_and_where_to_read_the_rest():
    body = write_message(MessageType.PROVEN, at(0), record_data(PROVEN))
    document = json.loads(body)
    assert document["type"] == "plan.proven"
    assert document["timestamp"] == at(0).isoformat()
    data = document["data"]
    assert (data["status"], data["plan_digest"]) == ("compatible", PLAN)
    assert data["adapter"]["commit_sha"] == PROVEN.adapter.commit_sha
    assert data["url"] == (
        f"/v1/adapters/acme/chat-lora?revision={PROVEN.adapter.commit_sha}&base=acme%2Fbase"
    )
    assert "steps" not in body
    assert names_in(body) == {"acme/chat-lora", "acme/base"}


def test_the_body_stays_small_whatever_the_record_holds():
    names = f"{'n' * 47}/{'x' * 48}"
    issues = tuple(make_issue("shape-mismatch", "m" * 5000) for _ in range(400))
    large = record(
        ref(names, "a", subfolder="f" * 255), ref(names, "b"), issues=issues, peft_type="LORA"
    )
    assert len(write_message(MessageType.CHANGED, at(0), record_data(large))) < MAX_BYTES


def test_a_path_is_quoted():
    reference = Reference("acme/x", "refs/pr/1", "a b")
    assert (
        record_path(reference, None) == "/v1/adapters/acme/x?revision=refs%2Fpr%2F1&subfolder=a+b"
    )


def test_a_body_without_records_names_nothing():
    assert names_in(write_message(MessageType.TEST, at(0), {"subscription": "x"})) == frozenset()
