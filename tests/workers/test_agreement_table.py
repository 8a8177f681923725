"""Static plan, rehearsal and a real load share one verdict on every generated case.

The table's `rows` name measured rows of PEFT's behaviour. A real load is judged by values alone.
"""

from __future__ import annotations

import asyncio
import json
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.issues import Severity
from registry.domain.plan import compute_plan
from registry.domain.record import Record, Status
from registry.domain.refs import Reference, Source
from registry.errors import InvalidRequest
from registry.hub import LocalReader
from registry.hub.patterns import match_modules
from registry.loading import load_adapter
from registry.planning import find_disagreement, plan_pair, record_rehearsal
from tests.data.cases import Case, write_case
from tests.data.cases_flags import CLASSIFIERS, CONFIGS, EXPERTS, FLAGS, LEFTOVERS, TYPES
from tests.data.cases_names import NAMING, TENSORS
from tests.data.cases_rows import ROWS
from tests.data.cases_unread import UNREAD, Unread
from tests.data.families import FAMILIES, build_base, save_base
from tests.data.kinds import Made, make, weights_path
from tests.data.reality import Reality, load_for_real
from tests.data.sound import BY_NAME
from workers.child.rehearse import answer
from workers.rehearse import Rehearsal, RehearsalRun, make_question, read_answer

CASES = (
    *ROWS,
    *NAMING,
    *TENSORS,
    *FLAGS,
    *CONFIGS,
    *EXPERTS,
    *CLASSIFIERS,
    *LEFTOVERS,
    *TYPES,
)
SAID = {Severity.ERROR, Severity.WARNING}
# Information by its severity, and the reason for what a plain load drops.
NAMES = {"key-names-nonstandard"}
# Which reasons of ours account for what a plain load shows.
ACCOUNTS = {
    "size mismatch": {
        *("vocabulary-grown", "vocabulary-shrunk", "vocabulary-conflict", "labels-from-file"),
        *("shape-mismatch", "rank-mismatch", "empty-tensors"),
    },
    "KeyError": {"modules-to-save-missing", "key-names-nonstandard", "tensors-missing"},
    "IndexError": {"token-index-out-of-range"},
    "NoMatchingPeftModuleError": {"targets-not-found"},
    "missing": {"tensors-missing", "key-names-nonstandard"},
    "unexpected": {
        *("tensors-unexpected", "layers-outside-base", "dora-flag-missing"),
        "key-names-nonstandard",
    },
    "overwritten": {"base-overwritten"},
}


@dataclass
class Workshop:
    """Kinds and bases, each made once for all cases."""

    root: Path
    made: dict[str, Made] = field(default_factory=dict)
    bases: dict[tuple[Path, str, str], Any] = field(default_factory=dict)
    spoken_for: dict[str, float] = field(default_factory=dict)

    def make(self, case: Case) -> Made:
        kind = BY_NAME[case.kind] if isinstance(case.kind, str) else case.kind
        if kind.name not in self.made:
            self.made[kind.name] = make(kind, self.root)
        return self.made[kind.name]

    def base_folder(self, case: Case, made: Made) -> Path:
        if case.base is None:
            return made.base_folder
        return save_base(FAMILIES[case.base], self.root / "bases" / f"{case.base}-float32")

    def base(self, folder: Path, auto_class: str, dtype: str) -> Any:
        key = (folder, auto_class, dtype)
        if key not in self.bases:
            self.bases[key] = build_base(folder, auto_class, getattr(torch, dtype))
        return self.bases[key]


@dataclass(frozen=True)
class Judged:
    """What each of the three said; `real_plan` is the error of the real load along the plan."""

    trains_biases: bool
    static: Record
    rehearsal: Rehearsal
    rehearsed: Record
    naive: Reality
    real_plan: str | None


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Workshop(tmp_path_factory.mktemp("agreement"))
    torch.set_num_threads(threads)


def judge(case: Case, workshop: Workshop, folder: Path) -> Judged:
    made = workshop.make(case)
    write_case(case, made, folder)
    base_folder = workshop.base_folder(case, made)
    adapter, base = read_pair(folder, base_folder)
    matched = asyncio.run(match_modules(adapter, base))
    static = plan_pair(adapter, base, matched=matched)
    workshop.spoken_for[case.name] = compute_plan(adapter, base, matched).spoken_for
    question = make_question(adapter, base, static.plan)
    document = json.loads(json.dumps(answer(question)))
    rehearsal = read_answer(document, question["auto_class"])
    rehearsed = record_rehearsal(static, rehearsal)
    plain = workshop.base(base_folder, question["auto_class"], question["dtype"])
    naive = load_for_real(
        plain,
        weights_path(folder),
        lambda model: PeftModel.from_pretrained(model, folder),
        converted=case.rows.startswith("MOE"),
    )
    return Judged(
        question["config"].get("bias", "none") != "none",
        static,
        rehearsal,
        rehearsed,
        naive,
        # What the rehearsal refuses, reality refuses too.
        load_along(static, base_folder, folder),
    )


def read_pair(folder: Path, base_folder: Path) -> tuple[AdapterFacts, BaseFacts]:
    reader = LocalReader()
    adapter = reader.read_adapter(Reference(str(folder), source=Source.LOCAL))
    base = reader.read_base(Reference(str(base_folder), source=Source.LOCAL))
    return asyncio.run(adapter), asyncio.run(base)


def load_along(record: Record, base_folder: Path, folder: Path) -> str | None:
    if record.plan is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            load_adapter(record.plan, base_folder=base_folder, adapter_folder=folder)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return None


@pytest.mark.parametrize("case", CASES, ids=[case.name.replace(" ", "-") for case in CASES])
def test_the_three_agree(case: Case, workshop: Workshop, tmp_path: Path) -> None:
    judged = judge(case, workshop, tmp_path / "adapter")
    check_static(case, judged.static)
    check_rehearsal(case, judged)
    check_reality(case, judged)


def check_static(case: Case, record: Record) -> None:
    assert {i.code for i in record.issues if i.severity in SAID or i.code in NAMES} == set(
        case.codes
    )
    refused = case.verdict == "incompatible" and not case.found
    assert record.status is (Status.INCOMPATIBLE if refused else Status.PLANNED)
    codes = {issue.code for issue in record.issues}.union(case.found)
    unaccounted = [word for word in case.shows if word in ACCOUNTS and not ACCOUNTS[word] & codes]
    assert unaccounted == []
    assert record.naive_load is not None
    if case.forecast and case.verdict != "unsupported":
        assert record.naive_load.outcome != "unknown"


def check_rehearsal(case: Case, judged: Judged) -> None:
    assert find_disagreement(judged.static, judged.rehearsal) is None
    assert judged.rehearsed.status is Status(case.verdict)
    found = {i.code for i in judged.rehearsed.issues if i.severity is Severity.ERROR}
    if case.verdict == "incompatible":
        assert found - {i.code for i in judged.static.issues} == set(case.found)
    if not case.only_real:
        assert_shown(case.shows, judged.rehearsal.naive)


def check_reality(case: Case, judged: Judged) -> None:
    assert_shown(case.shows, judged.naive)
    rehearsed, real = judged.rehearsal.naive, judged.naive
    if not case.only_real:
        assert rehearsed.outcome == real.outcome(trains_biases=judged.trains_biases)
        assert _lines(rehearsed.error) == _lines(real.error)
    assert (judged.real_plan is None) == (not case.found)


def assert_shown(shows: tuple[str, ...], run: RehearsalRun | Reality) -> None:
    """Exactly the sets that the case names are not empty, or the error says what it names."""
    if run.error is not None:
        assert shows
        assert all(word in run.error for word in shows), run.error
        return
    kinds = {kind for kind in ("missing", "unexpected", "overwritten") if getattr(run, kind)}
    assert kinds == set(shows), run


def _lines(error: str | None) -> list[str]:
    """PEFT lists mismatches in the order in which the model registers its modules."""
    return sorted(line.strip() for line in (error or "").splitlines())


@pytest.mark.parametrize("case", UNREAD, ids=[case.name for case in UNREAD])
def test_what_cannot_be_read_is_refused_before_any_load(
    case: Unread, workshop: Workshop, tmp_path: Path
) -> None:
    sound = Case(case.rows, case.what, case.kind, config=case.config)
    made, folder = workshop.make(sound), tmp_path / "adapter"
    write_case(sound, made, folder)
    case.change(folder)
    adapter, base = read_pair(folder, made.base_folder)
    record = plan_pair(adapter, base)
    errors = [issue.code for issue in record.issues if issue.severity is Severity.ERROR]
    assert (errors, record.status, record.plan) == ([case.code], Status.INCOMPATIBLE, None)
    with pytest.raises(InvalidRequest):
        make_question(adapter, base, None)
    plain = workshop.base(made.base_folder, "AutoModelForCausalLM", "float32")
    real = load_for_real(
        plain,
        weights_path(folder),
        lambda model: PeftModel.from_pretrained(model, folder),
    )
    assert (real.error or "").startswith(case.raised), real


def test_the_table_is_large_and_wide_enough() -> None:
    kinds = [BY_NAME[case.kind] if isinstance(case.kind, str) else case.kind for case in CASES]
    assert len(CASES) >= 70
    assert len({case.name for case in CASES}) == len(CASES)
    assert {kind.family for kind in kinds} >= {"llama", "qwen2", "gpt2", "mixtral", "t5", "bert"}
    assert {kind.task for kind in kinds} >= {
        *("CAUSAL_LM", "SEQ_CLS", "SEQ_2_SEQ_LM", "FEATURE_EXTRACTION", "TOKEN_CLS")
    }
    verdicts = Counter(case.verdict for case in CASES)
    assert verdicts["rehearsed"] >= 30
    assert verdicts["incompatible"] >= 30


def test_the_rules_speak_for_nearly_every_lora_tensor(workshop: Workshop) -> None:
    """After the cases: what PEFT converts, and other PEFT types, are left to the rehearsal."""
    lora = {
        name: share
        for name, share in workshop.spoken_for.items()
        if not name.startswith(("TYPE", "MOE", "TP", "LR1"))
    }
    if len(lora) < len(CASES) - 40:
        pytest.skip("only a part of the table was run")
    print(f"spoken for: {sum(lora.values()) / len(lora):.1%} of the tensors of {len(lora)} cases")
    assert sum(lora.values()) / len(lora) > 0.95
