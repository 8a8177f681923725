"""The catalogue holds every code of the contract, and says of each what to do."""

import inspect

import pytest

from registry import errors
from registry.domain.issues import CATALOGUE, Issue, Severity, make_issue, sorted_issues
from registry.domain.status import Status

INCOMPATIBLE = """
vocabulary-conflict token-index-out-of-range shape-mismatch rank-mismatch tensors-missing
tensors-unexpected modules-to-save-missing layers-outside-base empty-tensors dora-flag-missing
targets-not-found weights-missing weights-misnamed weights-lfs-pointer weights-truncated
header-invalid weights-pickle-unsafe config-invalid weights-not-finite no-effect new-rows-untrained
"""
UNSUPPORTED = """
not-a-peft-adapter foreign-format peft-type-unsupported base-remote-code base-architecture-unknown
resize-incomplete config-pattern-too-slow
"""
BLOCKED = """
base-undeclared base-local-path base-not-found adapter-not-found revision-not-found
"""
GATED = "adapter-gated base-gated"
FAILED = "hub-unreachable hub-rate-limited hub-error hub-mirror-limited"
WARNING = """
base-overwritten base-quantized weights-pickle base-weights-pickle rewrites-base-weights
base-rows-disagree config-unknown-keys tokenizer-unknown bias-not-saved scale-unverifiable
not-reproducible merge-unsafe tower-not-exercised chat-template-differs generation-config-differs
proof-out-of-memory proof-timeout sandbox-missing
"""
INFO = """
vocabulary-grown vocabulary-shrunk tokenizer-longer-than-rows labels-from-file base-unpinned
base-differs-from-declared lossy-cast key-names-nonstandard
"""
ADVICE = "rank-high full-embeddings-saved duplicate-tensors-saved new-tokens-need-training"
PROBLEMS = """
invalid-request adapter-not-recorded base-not-recorded operation-not-found route-not-found
method-not-allowed body-too-large token-missing token-scope-missing rate-limited
idempotency-key-reused idempotency-key-in-flight operation-finished subscription-not-found
delivery-not-found problem-not-found unsupported-media-type webhook-secret-wrong cross-site-form
database-not-migrated internal-error
"""
OTHER_PROBLEMS = """
setting-invalid repository-not-found repository-gated repository-disabled file-not-found
file-invalid database-unavailable child-failed runner-missing plan-mismatch
requirement-not-met server-refused server-unreachable target-not-allowed
"""


@pytest.mark.parametrize(
    ("codes", "severity", "status", "exit_code"),
    [
        (INCOMPATIBLE, Severity.ERROR, Status.INCOMPATIBLE, 1),
        (UNSUPPORTED, Severity.ERROR, Status.UNSUPPORTED, 3),
        (BLOCKED, Severity.ERROR, Status.BLOCKED, 3),
        (GATED, Severity.ERROR, Status.BLOCKED, 4),
        (FAILED, Severity.ERROR, Status.FAILED, 5),
        (WARNING, Severity.WARNING, None, 0),
        (ADVICE, Severity.ADVICE, None, 0),
    ],
    ids=["incompatible", "unsupported", "blocked", "gated", "failed", "warning", "advice"],
)
def test_each_code_leads_to_the_status_and_exit_code_of_the_contract(
    codes, severity, status, exit_code
):
    for code in codes.split():
        kind = CATALOGUE[code]
        assert (kind.severity, kind.status, kind.exit) == (severity, status, exit_code), code


def test_the_catalogue_holds_exactly_these_codes():
    everything = (
        INCOMPATIBLE + UNSUPPORTED + BLOCKED + GATED + " " + FAILED + WARNING + INFO + ADVICE
    )
    assert set(CATALOGUE) == set((everything + PROBLEMS + OTHER_PROBLEMS).split())


def test_info_codes_are_info_unless_the_rename_is_uncertain():
    assert {CATALOGUE[code].severity for code in INFO.split()} == {Severity.INFO}
    assert CATALOGUE["key-names-nonstandard"].status is Status.INCOMPATIBLE


def test_every_error_class_has_a_page():
    classes = [
        member
        for _, member in inspect.getmembers(errors, inspect.isclass)
        if issubclass(member, errors.LoadplanError)
    ]
    assert len(classes) > 20
    assert {kind.code for kind in classes} <= set(CATALOGUE)


def test_every_entry_says_what_happened_and_what_to_do():
    for code, kind in CATALOGUE.items():
        assert kind.code == code
        assert kind.title
        assert not kind.title.endswith(".")
        assert kind.cause.endswith(".")
        assert kind.fix.rstrip(").").strip()
        assert len({kind.title, kind.cause, kind.fix}) == 3


def test_an_issue_takes_severity_and_fix_from_the_catalogue_unless_given():
    plain = make_issue("vocabulary-grown", "33004 rows instead of 32000.")
    assert (plain.severity, plain.fix) == (Severity.INFO, CATALOGUE["vocabulary-grown"].fix)
    given = make_issue("new-rows-untrained", "x", severity=Severity.WARNING, fix="y")
    assert (given.severity, given.fix) == (Severity.WARNING, "y")
    with pytest.raises(KeyError):
        make_issue("no-such-code", "x")


def test_issues_are_sorted_by_weight_and_listed_once():
    rank = make_issue("rank-high", "advice")
    grown = make_issue("vocabulary-grown", "info")
    shape = make_issue("shape-mismatch", "error", tensor="b")
    other = make_issue("shape-mismatch", "error", tensor="a")
    foreign = Issue("from-another-version", Severity.ERROR, "kept")
    assert sorted_issues([rank, grown, shape, other, shape, foreign]) == (
        other,
        shape,
        foreign,
        grown,
        rank,
    )
