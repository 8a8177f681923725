"""Which base, which record, and what a rehearsal makes of it."""

from dataclasses import dataclass, replace

import pytest

from registry.domain.adapter_config import AdapterConfig
from registry.domain.facts import AdapterFacts
from registry.domain.issues import Severity, make_issue
from registry.domain.naive_load import NaiveLoad
from registry.domain.record import Evidence, Record, RecordFacts, Status
from registry.domain.refs import (
    CheckpointRef,
    CommitSha,
    Digest,
    Reference,
    RepoId,
    Source,
    parse_reference,
)
from registry.domain.steps import LoadAdapter, LoadBase, LoadTokenizer, Plan
from registry.planning import (
    choose_base,
    differs_from_declared,
    find_disagreement,
    plan_pair,
    record_rehearsal,
    unread_record,
    with_choice_notes,
)

SHA, OTHER_SHA = CommitSha("a" * 40), CommitSha("b" * 40)
ADAPTER = CheckpointRef(Source.HUB, RepoId("acme/lora"), "main", SHA, Digest("sha256:" + "1" * 64))
BASE = CheckpointRef(Source.HUB, RepoId("tiny/llama"), "main", SHA, Digest("sha256:" + "2" * 64))


def adapter(declared="tiny/llama", revision=None, problems=()):
    config = AdapterConfig("LORA", "CAUSAL_LM", declared, revision, r=8)
    return AdapterFacts(ADAPTER, config, None, None, problems=problems)


# --- which base ---


@pytest.mark.parametrize(
    ("declared", "revision", "asked", "expected"),
    [
        ("tiny/llama", None, None, "tiny/llama@main"),
        ("tiny/llama", "v2", None, "tiny/llama@v2"),
        ("gpt2", None, None, "gpt2@main"),
        ("tiny/llama", "v2", "tiny/llama", "tiny/llama@v2"),
        ("tiny/llama", "v2", "tiny/llama@v3", "tiny/llama@v3"),
        # The config's revision names a commit of the declared base, not of another.
        ("tiny/llama", "v2", "other/llama", "other/llama@main"),
        (None, None, "tiny/llama", "tiny/llama@main"),
        ("/data/llama", None, "tiny/llama", "tiny/llama@main"),
    ],
)
def test_the_callers_base_comes_before_the_configs(declared, revision, asked, expected):
    base = None if asked is None else parse_reference(asked)
    assert str(choose_base(adapter(declared, revision), base).reference) == expected


def test_a_local_folder_as_base_has_no_revision():
    base = parse_reference("./base", allow_local=True)
    chosen = choose_base(adapter(), base).reference
    assert (chosen.source, chosen.revision) == (Source.LOCAL, None)


@pytest.mark.parametrize("declared", [None, "", "   "])
def test_no_declared_base_blocks(declared):
    choice = choose_base(adapter(declared), None)
    assert choice.reference is None
    assert [issue.code for issue in choice.issues] == ["base-undeclared"]


@pytest.mark.parametrize(
    "declared",
    [
        *("/data/llama", "./out", "../out", "~/llama", "C:\\llama", "a/b/c", "out/checkpoint 3"),
        *("https://example.org/m", "models--x--y", "\x1b[31m/x", "a" * 200),
    ],
)
def test_what_is_no_repository_id_is_a_local_path_and_shown_escaped(declared):
    choice = choose_base(adapter(declared), None)
    (issue,) = choice.issues
    assert (choice.reference, issue.code) == (None, "base-local-path")
    assert issue.message.isprintable()


def test_a_named_base_for_a_local_path_leaves_a_note():
    (note,) = choose_base(adapter("/data/llama"), Reference("tiny/llama")).issues
    assert (note.code, note.severity) == ("base-local-path", Severity.INFO)


def test_a_config_that_cannot_be_read_names_no_base():
    facts = AdapterFacts(ADAPTER, None, None, None)
    assert choose_base(facts, None).issues == ()


def test_another_base_than_the_declared_one_is_noted():
    note = differs_from_declared(adapter("other/llama"), BASE)
    assert (note.code, note.severity) == ("base-differs-from-declared", Severity.INFO)
    assert differs_from_declared(adapter("tiny/llama"), BASE) is None
    assert differs_from_declared(adapter(None), BASE) is None


# --- records without a base, or without anything ---


def test_an_unread_adapter_is_named_as_it_was_asked_for():
    issue = make_issue("adapter-not-found", "No such repository.")
    record = unread_record(parse_reference("acme/lora@v1:sub"), (issue,))
    assert (record.status, record.evidence) == (Status.BLOCKED, Evidence.NONE)
    assert (record.adapter.repo_id, record.adapter.revision) == ("acme/lora", "v1")
    assert (record.adapter.subfolder, record.adapter.commit_sha) == ("sub", None)


def test_a_missing_revision_of_an_unread_adapter_blocks():
    issue = make_issue("revision-not-found", "No such revision.")
    assert unread_record(Reference("acme/lora", "v9"), (issue,)).status is Status.BLOCKED


def test_a_failure_of_the_hub_is_a_failure_and_no_word_on_the_adapter():
    issue = make_issue("hub-unreachable", "No connection.")
    record = unread_record(Reference("acme/lora"), (issue,))
    assert (record.status, record.plan) == (Status.FAILED, None)


def test_without_a_base_the_adapters_own_files_decide_first():
    own = make_issue("weights-truncated", "Cut off.")
    missing = make_issue("base-not-found", "No such base.")
    blocked = plan_pair(adapter(), None, (missing,))
    decided = plan_pair(adapter(problems=(own,)), None, (missing,))
    assert (blocked.status, decided.status) == (Status.BLOCKED, Status.INCOMPATIBLE)
    assert {issue.code for issue in decided.issues} >= {"weights-truncated", "base-not-found"}


def test_notes_on_the_choice_of_a_base_are_those_of_this_time():
    differs = make_issue("base-differs-from-declared", "Another base.")
    grown = make_issue("vocabulary-grown", "More rows.")
    noted = replace(planned(), issues=(differs, grown))
    assert with_choice_notes(noted, ()).issues == (grown,)
    assert set(with_choice_notes(planned(), (differs,)).issues) == {differs}


# --- rehearsals ---


@dataclass(frozen=True)
class Run:
    outcome: str
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    overwritten: tuple[str, ...] = ()
    error: str | None = None
    resize_left: str | None = None


@dataclass(frozen=True)
class Rehearsal:
    naive: Run
    along_plan: Run | None
    tree: None = None
    failure: str | None = None


LANDED = Run("landed")


def planned(overwrites=()):
    plan = Plan(
        Digest("sha256:" + "3" * 64),
        (
            LoadBase("AutoModelForCausalLM", "tiny/llama", SHA, {"dtype": "bfloat16"}),
            LoadTokenizer("base", "tiny/llama", SHA, 320),
            LoadAdapter("acme/lora", SHA, None, overwrites=overwrites),
        ),
    )
    return Record(
        adapter=ADAPTER,
        base=BASE,
        status=Status.PLANNED,
        evidence=Evidence.STATIC,
        facts=RecordFacts(),
        plan=plan,
        issues=(),
        naive_load=NaiveLoad("loads"),
    )


def test_a_landed_rehearsal_is_evidence():
    record = record_rehearsal(planned(), Rehearsal(LANDED, LANDED))
    assert (record.status, record.evidence) == (Status.REHEARSED, Evidence.REHEARSED)
    assert record.plan == planned().plan


def test_the_naive_error_is_quoted():
    naive = Run("raises", error="RuntimeError: size mismatch for x")
    record = record_rehearsal(planned(), Rehearsal(naive, LANDED))
    assert record.status is Status.REHEARSED
    assert record.naive_load == NaiveLoad("raises", "RuntimeError: size mismatch for x")


@pytest.mark.parametrize(
    ("run", "code"),
    [
        (Run("faults", missing=("a.lora_B",)), "tensors-missing"),
        (Run("faults", unexpected=("b.lora_A",)), "tensors-unexpected"),
        (Run("faults", overwritten=("c.weight",)), "tensors-unexpected"),
        (Run("raises", error="RuntimeError: size mismatch for x"), "shape-mismatch"),
        (
            Run("raises", error="ValueError: Target modules {'q'} not found in the base model."),
            "targets-not-found",
        ),
    ],
)
def test_what_does_not_land_is_incompatible_and_has_no_plan(run, code):
    record = record_rehearsal(planned(), Rehearsal(LANDED, run))
    assert (record.status, record.plan) == (Status.INCOMPATIBLE, None)
    assert code in {issue.code for issue in record.issues}


def test_an_incomplete_resize_is_unsupported():
    run = Run("faults", resize_left="model.extra.weight")
    record = record_rehearsal(planned(), Rehearsal(LANDED, run))
    assert record.status is Status.UNSUPPORTED
    assert "resize-incomplete" in {issue.code for issue in record.issues}


def test_faults_that_no_set_explains_are_still_faults():
    run = Run("faults", overwritten=("c.weight",))
    record = record_rehearsal(planned(overwrites=("c.weight",)), Rehearsal(run, run))
    assert record.status is Status.INCOMPATIBLE


def test_a_child_that_failed_changes_nothing():
    unknown = Run("unknown")
    failed = Rehearsal(unknown, unknown, failure="The child was killed.")
    assert record_rehearsal(planned(), failed) == planned()
    assert find_disagreement(planned(), failed) is None


@pytest.mark.parametrize(
    "run",
    [
        Run("unknown", error="NotImplementedError: Cannot copy out of meta tensor"),
        Run("raises", error="AttributeError: something of the library's own"),
    ],
)
def test_what_the_rehearsal_cannot_judge_is_never_incompatible(run):
    record = record_rehearsal(planned(), Rehearsal(run, run))
    assert (record.status, record.plan) == (Status.UNSUPPORTED, None)


def test_a_record_without_a_plan_learns_the_naive_error_alone():
    issue = make_issue("vocabulary-conflict", "Two row counts.")
    record = replace(planned(), status=Status.INCOMPATIBLE, plan=None, issues=(issue,))
    naive = Run("raises", error="RuntimeError: size mismatch")
    after = record_rehearsal(record, Rehearsal(naive, None))
    assert after == replace(record, naive_load=NaiveLoad("raises", naive.error))


def test_agreement_is_silent_and_disagreement_says_both_sides():
    assert find_disagreement(planned(), Rehearsal(LANDED, LANDED)) is None
    found = find_disagreement(planned(), Rehearsal(LANDED, Run("faults", missing=("a.lora_B",))))
    assert "a.lora_B" in found.rehearsed
    assert (found.adapter, found.base) == ("acme/lora", "tiny/llama")


def test_a_wrong_forecast_of_the_naive_load_is_a_disagreement():
    naive = Run("raises", error="RuntimeError: size mismatch")
    found = find_disagreement(planned(), Rehearsal(naive, LANDED))
    assert "naive load loads" in found.static
    assert "naive load raises" in found.rehearsed


def test_an_unknown_outcome_disagrees_with_nothing():
    assert find_disagreement(planned(), Rehearsal(LANDED, Run("unknown"))) is None


def test_where_the_rules_had_no_word_a_refusal_is_no_disagreement():
    unspoken = replace(planned(), naive_load=NaiveLoad("unknown"))
    refused = Run("raises", error="RuntimeError: size mismatch")
    assert find_disagreement(unspoken, Rehearsal(refused, refused)) is None


@pytest.mark.parametrize(
    ("code", "is_seen"), [("new-rows-untrained", False), ("tensors-missing", True)]
)
def test_a_refusal_for_what_no_shape_shows_is_not_for_the_rehearsal_to_judge(code, is_seen):
    issue = make_issue(code, "Why.", severity=Severity.ERROR)
    record = replace(planned(), status=Status.INCOMPATIBLE, plan=None, issues=(issue,))
    found = find_disagreement(record, Rehearsal(LANDED, None))
    assert (found is not None) == is_seen
