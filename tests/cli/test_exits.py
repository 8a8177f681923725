"""The contract's exit codes, as a table."""

import inspect

import pytest

from registry import errors
from registry.cli.exits import Exit, Requirement, exit_of_error, exit_of_record, exit_of_records
from registry.domain.issues import Issue, Severity
from registry.domain.record import Evidence, Record, RecordFacts, Status
from registry.domain.refs import CheckpointRef, RepoId, Source


def record(status, *codes):
    return Record(
        adapter=CheckpointRef(Source.HUB, RepoId("acme/chat-lora"), "main", None, None),
        base=None,
        status=status,
        evidence=Evidence.NONE,
        facts=RecordFacts(),
        plan=None,
        issues=tuple(Issue(code, Severity.ERROR, "…") for code in codes),
        naive_load=None,
    )


TABLE = [
    # status, exit for --require planned, rehearsed, compatible
    (Status.QUEUED, 3, 3, 3),
    (Status.PLANNED, 0, 3, 3),
    (Status.REHEARSED, 0, 0, 3),
    (Status.COMPATIBLE, 0, 0, 0),
    (Status.STALE, 0, 0, 3),
    (Status.INCOMPATIBLE, 1, 1, 1),
    (Status.UNSUPPORTED, 3, 3, 3),
    (Status.BLOCKED, 3, 3, 3),
    (Status.FAILED, 5, 5, 5),
]


@pytest.mark.parametrize(("status", "planned", "rehearsed", "compatible"), TABLE)
def test_status_and_requirement_decide_the_exit_code(status, planned, rehearsed, compatible):
    found = record(status)
    assert exit_of_record(found, Requirement.PLANNED) == planned
    assert exit_of_record(found, Requirement.REHEARSED) == rehearsed
    assert exit_of_record(found, Requirement.COMPATIBLE) == compatible


def test_the_table_names_every_status():
    assert {row[0] for row in TABLE} == set(Status)


@pytest.mark.parametrize(
    ("code", "expected"),
    [("adapter-gated", 4), ("base-gated", 4), ("base-undeclared", 3), ("adapter-not-found", 3)],
)
def test_a_gated_repository_is_a_refusal_and_other_blocks_are_unknown(code, expected):
    assert exit_of_record(record(Status.BLOCKED, code)) == expected


def test_the_worst_of_several_records_decides():
    good, bad = record(Status.PLANNED), record(Status.INCOMPATIBLE, "empty-tensors")
    assert exit_of_records([]) == Exit.MEETS
    assert exit_of_records([good]) == Exit.MEETS
    assert exit_of_records([good, bad]) == Exit.INCOMPATIBLE
    assert exit_of_records([bad, record(Status.FAILED), good]) == Exit.FAILURE


def make(kind):
    if kind is errors.ServerRefused:
        return kind("Refused.", problem_code="internal-error", status=500, problem={})
    return kind()


EVERY_ERROR = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.LoadplanError)
]


@pytest.mark.parametrize("kind", EVERY_ERROR, ids=lambda kind: kind.__name__)
def test_no_error_ends_as_an_answer_about_the_adapter(kind):
    # 0 and 1 are answers; an error is what kept us from one.
    assert exit_of_error(make(kind)) in (Exit.USAGE, Exit.UNKNOWN, Exit.REFUSED, Exit.FAILURE)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (errors.InvalidReference, Exit.USAGE),
        (errors.RepositoryGated, Exit.REFUSED),
        (errors.RevisionNotFound, Exit.UNKNOWN),
        (errors.HubUnreachable, Exit.FAILURE),
        (errors.HubRateLimited, Exit.FAILURE),
        (errors.HubMirrorLimited, Exit.FAILURE),
        (errors.DatabaseNotMigrated, Exit.FAILURE),
        (errors.SettingInvalid, Exit.USAGE),
    ],
)
def test_errors_exit_as_the_contract_says(kind, expected):
    assert exit_of_error(kind()) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *[(401, Exit.REFUSED), (403, Exit.REFUSED), (404, Exit.UNKNOWN), (422, Exit.USAGE)],
        *[(429, Exit.FAILURE), (500, Exit.FAILURE), (503, Exit.FAILURE)],
    ],
)
def test_a_servers_refusal_exits_by_what_it_means(status, expected):
    error = errors.ServerRefused("…", problem_code="x", status=status, problem={})
    assert exit_of_error(error) == expected
