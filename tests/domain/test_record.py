"""Statuses by precedence, what may follow what, exit codes, and the printed record."""

import itertools
import json
from dataclasses import replace
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from registry.domain.issues import CATALOGUE, Severity, make_issue
from registry.domain.naive_load import NaiveLoad
from registry.domain.plan import compute_plan
from registry.domain.record import (
    TRANSITIONS,
    Evidence,
    Proof,
    Record,
    RecordFacts,
    Status,
    decide_evidence,
    decide_status,
    exit_code,
    may_follow,
    record_from_json,
)
from registry.domain.summary import compute_facts
from registry.errors import InvalidRequest
from tests.domain.recorded import (
    llama_config,
    llama_shapes,
    lora_config,
    lora_shapes,
    make_adapter,
    make_base,
    ref,
    tokenizer_of,
)

SHARED_SCHEMA = Path(__file__).parents[3] / "shared" / "record.schema.json"


def schema():
    text = resources.files("registry.domain").joinpath("record.schema.json").read_text()
    return json.loads(text)


def issues(*codes):
    return tuple(make_issue(code, "x") for code in codes)


def make_record(status=Status.PLANNED, evidence=Evidence.STATIC, **changes):
    adapter = make_adapter(
        lora_shapes(rows=40),
        lora_config(modules_to_save=["embed_tokens", "lm_head"]),
        tokenizer_of(40),
    )
    base = make_base(llama_shapes(), llama_config())
    planned = compute_plan(adapter, base)
    record = Record(
        adapter.ref,
        base.ref,
        status,
        evidence,
        compute_facts(adapter, base),
        planned.plan,
        planned.issues,
        planned.naive_load,
    )
    return replace(record, **changes)


def make_proof():
    gate = {"outcome": "passed", "figure": 0, "reason": None}
    gates = ("landed", "nothing_else", "finite", "effect", "forward")
    return Proof(
        id="p1",
        outcome="passed",
        device="cuda",
        environment={"torch": "2.13.0", "cuda": None},
        sandbox="bubblewrap",
        inherited_from=None,
        checks={name: dict(gate) for name in gates},
        started_at="2026-01-01T00:00:00Z",
        finished_at="2026-01-01T00:01:00Z",
    )


# --- status ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        pytest.param(("adapter-gated", "foreign-format"), Status.BLOCKED, id="adapter first"),
        pytest.param(
            ("not-a-peft-adapter", "weights-truncated"), Status.UNSUPPORTED, id="then unsupported"
        ),
        pytest.param(
            ("rank-mismatch", "base-gated"),
            Status.INCOMPATIBLE,
            id="then what the adapter's own files decide",
        ),
        pytest.param(("base-gated", "shape-mismatch"), Status.BLOCKED, id="then the base"),
        pytest.param(
            ("hub-unreachable", "shape-mismatch"),
            Status.FAILED,
            id="a failure of ours is no fault",
        ),
        pytest.param(("tensors-missing", "base-unpinned"), Status.INCOMPATIBLE, id="the rest"),
        pytest.param(("base-unpinned", "base-quantized"), Status.PLANNED, id="no error"),
        pytest.param((), Status.PLANNED, id="nothing"),
    ],
)
def test_several_issues_lead_to_the_first_status_that_applies(codes, expected):
    for order in itertools.permutations(issues(*codes)):
        assert decide_status(order) is expected


@pytest.mark.parametrize("code", sorted(code for code, kind in CATALOGUE.items() if kind.status))
def test_an_error_alone_has_the_status_of_its_code(code):
    issue = make_issue(code, "x", severity=Severity.ERROR)
    assert decide_status([issue]) is CATALOGUE[code].status


def test_a_note_never_decides():
    noted = make_issue("base-local-path", "x", severity=Severity.INFO)
    assert decide_status([noted], evidence=Evidence.REHEARSED) is Status.REHEARSED


def test_a_missing_revision_is_the_adapters_until_the_adapter_is_read():
    both = issues("revision-not-found", "foreign-format")
    assert decide_status(both, adapter_found=False) is Status.BLOCKED
    assert decide_status(both) is Status.UNSUPPORTED


@pytest.mark.parametrize(
    ("evidence", "status"),
    [
        (Evidence.STATIC, Status.PLANNED),
        (Evidence.REHEARSED, Status.REHEARSED),
        (Evidence.PROVEN, Status.COMPATIBLE),
    ],
)
def test_without_errors_the_evidence_decides(evidence, status):
    assert decide_status([], evidence=evidence) is status
    assert decide_evidence(status, evidence) is evidence


def test_nothing_is_known_of_what_is_blocked():
    for status in (Status.BLOCKED, Status.FAILED, Status.QUEUED):
        assert decide_evidence(status, Evidence.STATIC) is Evidence.NONE
    assert decide_evidence(Status.INCOMPATIBLE, Evidence.STATIC) is Evidence.STATIC


# --- transitions -------------------------------------------------------------------------------


def test_every_status_has_its_successors():
    assert set(TRANSITIONS) == set(Status)


def test_a_known_pair_never_becomes_queued_or_failed():
    known = set(Status) - {Status.QUEUED, Status.FAILED}
    for status in known:
        assert not may_follow(status, Status.QUEUED)
        assert not may_follow(status, Status.FAILED)
    assert may_follow(Status.QUEUED, Status.FAILED)
    assert may_follow(Status.FAILED, Status.QUEUED)


def test_only_what_is_known_becomes_stale():
    assert not may_follow(None, Status.STALE)
    assert not may_follow(Status.QUEUED, Status.STALE)
    assert may_follow(Status.COMPATIBLE, Status.STALE)
    assert may_follow(Status.STALE, Status.REHEARSED)
    assert may_follow(None, Status.PLANNED)


# --- exit codes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "codes", "planned", "rehearsed", "compatible"),
    [
        (Status.PLANNED, (), 0, 3, 3),
        (Status.REHEARSED, (), 0, 0, 3),
        (Status.COMPATIBLE, (), 0, 0, 0),
        (Status.STALE, (), 0, 0, 3),
        (Status.INCOMPATIBLE, ("tensors-missing",), 1, 1, 1),
        (Status.UNSUPPORTED, ("foreign-format",), 3, 3, 3),
        (Status.BLOCKED, ("base-undeclared",), 3, 3, 3),
        (Status.BLOCKED, ("base-gated",), 4, 4, 4),
        (Status.BLOCKED, ("adapter-gated",), 4, 4, 4),
        (Status.FAILED, ("hub-unreachable",), 5, 5, 5),
        (Status.QUEUED, (), 3, 3, 3),
    ],
)
def test_the_exit_code_says_whether_the_requirement_is_met(
    status, codes, planned, rehearsed, compatible
):
    record = make_record(status, issues=issues(*codes))
    wanted = {
        Status.PLANNED: planned,
        Status.REHEARSED: rehearsed,
        Status.COMPATIBLE: compatible,
    }
    for require, expected in wanted.items():
        assert exit_code(record, require) == expected


# --- the printed record ------------------------------------------------------------------------


def unread(status, code, base=None):
    return Record(
        ref("acme/adapter", "1"),
        base,
        status,
        Evidence.NONE,
        RecordFacts(),
        None,
        issues(code),
        NaiveLoad("unknown"),
    )


RECORDS = [
    pytest.param(make_record(), id="planned"),
    pytest.param(make_record(Status.REHEARSED, Evidence.REHEARSED), id="rehearsed"),
    pytest.param(
        make_record(Status.COMPATIBLE, Evidence.PROVEN, proofs=(make_proof(),)), id="compatible"
    ),
    pytest.param(make_record(Status.STALE, Evidence.REHEARSED), id="stale"),
    pytest.param(
        make_record(Status.INCOMPATIBLE, plan=None, issues=issues("tensors-missing")),
        id="incompatible",
    ),
    pytest.param(unread(Status.BLOCKED, "adapter-gated"), id="blocked"),
    pytest.param(unread(Status.UNSUPPORTED, "foreign-format"), id="unsupported"),
    pytest.param(unread(Status.FAILED, "hub-unreachable", ref("a/b", "2")), id="failed"),
]


@pytest.mark.parametrize("record", RECORDS)
def test_a_printed_record_is_valid_and_reads_back(record):
    document = json.loads(json.dumps(record.to_json()))
    jsonschema.Draft202012Validator(schema()).validate(document)
    assert record_from_json(document) == record


def test_members_are_printed_in_the_contracts_order():
    document = make_record().to_json()
    assert list(document) == [
        *("adapter", "base", "status", "evidence", "facts", "plan"),
        *("issues", "naive_load", "proofs", "serving"),
    ]
    assert list(document["adapter"]) == [
        *("source", "repo_id", "revision", "commit_sha", "digest", "subfolder")
    ]
    assert "subfolder" not in document["base"]
    assert document["serving"] == []


def test_absent_knowledge_is_null_and_never_zero():
    facts = unread(Status.BLOCKED, "adapter-gated").to_json()["facts"]
    assert set(facts.values()) == {None}


def test_whole_numbers_are_printed_as_such():
    facts = make_record().to_json()["facts"]
    assert json.dumps(facts["lora_alpha"]) == "8"


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({}, id="empty"),
        pytest.param({**make_record().to_json(), "status": "fine"}, id="unknown status"),
        pytest.param({**make_record().to_json(), "issues": [{}]}, id="an issue without a code"),
        pytest.param({**make_record().to_json(), "plan": {"schema_version": 2}}, id="newer plan"),
        pytest.param({**make_record().to_json(), "adapter": None}, id="no adapter"),
    ],
)
def test_what_is_no_record_is_refused(document):
    with pytest.raises(InvalidRequest):
        record_from_json(document)


def test_the_published_schema_is_the_contracts():
    if not SHARED_SCHEMA.exists():
        pytest.skip(f"the contract's schema is not beside this checkout ({SHARED_SCHEMA.name})")
    assert schema() == json.loads(SHARED_SCHEMA.read_text())
