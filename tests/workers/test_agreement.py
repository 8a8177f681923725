"""Static plan, rehearsal and a real load say the same of every generated case."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from registry.domain.plan import Planned, compute_plan
from registry.domain.record import Record, Status
from registry.loading.base import load_base
from registry.loading.steps import steps_of
from registry.planning import find_disagreement, plan_pair, record_rehearsal
from tests.data.families import FAMILIES, save_base
from tests.data.kinds import Kind, Made
from tests.data.mutations import MUTATIONS
from tests.data.sound import BY_NAME, SOUND
from tests.data.spoiling import read_sound, spoil
from tests.domain.recorded import read_adapter, read_base
from workers.child.proof import ProofBase, make_proof_base, prove_adapter
from workers.child.rehearse import answer
from workers.rehearse import Rehearsal, make_question, read_answer

MadeKind = Callable[[str], Made]
# What is only in the values, or only in the bytes of the file, no shapes can tell.
INVISIBLE_IN_SHAPES = frozenset(
    {
        "a-nan",
        "a-nan-in-the-first-tensor",
        "an-infinity",
        "every-value-zero",
        "every-update-zero",
        "inert-on-a-resized-base",
        "a-copy-that-differs",
        "truncated",
        "a-broken-header",
        "a-pointer-instead-of-the-file",
    }
)
# The config says that it is nothing of PEFT's, so there is nothing to plan or rehearse.
UNREADABLE = frozenset({"a-peft-type-that-does-not-exist"})
VISIBLE = sorted(set(MUTATIONS) - INVISIBLE_IN_SHAPES - UNREADABLE)


@dataclass(frozen=True)
class Case:
    """What the three said. `proof` is None where the rehearsed record has no plan to prove."""

    planned: Planned
    static: Record
    rehearsal: Rehearsal
    rehearsed: Record
    proof: dict[str, Any] | None


@dataclass
class Judge:
    bases: dict[tuple[Any, ...], ProofBase] = field(default_factory=dict)

    def __call__(self, folder: Path, base_folder: Path) -> Case:
        adapter, base = read_adapter(folder), read_base(base_folder)
        planned = compute_plan(adapter, base)
        static = plan_pair(adapter, base)
        question = make_question(adapter, base, static.plan)
        document = json.loads(json.dumps(answer(question)))
        rehearsal = read_answer(document, question["auto_class"])
        rehearsed = record_rehearsal(static, rehearsal)
        proof = None
        if rehearsed.plan is not None:
            steps = steps_of(rehearsed.plan)
            key = (base_folder, steps.base.auto_class, tuple(sorted(steps.base.kwargs.items())))
            if key not in self.bases:
                model, unset = load_base(steps.base, base_folder)
                self.bases[key] = make_proof_base(model, steps.base.auto_class, unset)
            proof = prove_adapter(self.bases[key], steps, folder)
        return Case(planned, static, rehearsal, rehearsed, proof)


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Judge()
    torch.set_num_threads(threads)


def test_there_are_enough_cases() -> None:
    assert len(SOUND) + len(VISIBLE) >= 70


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_a_sound_adapter_is_planned_rehearsed_and_proven(
    name: str, made: MadeKind, judge: Judge
) -> None:
    kind = made(name)
    case = judge(kind.adapter_folder, kind.base_folder)
    assert case.static.status is Status.PLANNED
    if not BY_NAME[name].rehearsable:
        assert case.rehearsed.status is Status.UNSUPPORTED
        return
    assert find_disagreement(case.static, case.rehearsal) is None
    assert case.rehearsed.status is Status.REHEARSED
    assert case.proof is not None
    assert case.proof["outcome"] == "passed", case.proof["checks"]


@pytest.mark.parametrize("mutation", VISIBLE)
def test_a_spoiled_adapter_is_judged_alike(
    mutation: str, made: MadeKind, judge: Judge, tmp_path: Path
) -> None:
    """Where the static rules spoke for every tensor they and the rehearsal agree; a plan that both
    accept mends the file, and then the real load lands too."""
    for kind in chosen(mutation, made):
        sound, folder = made(kind.name), tmp_path / kind.name
        spoiled = spoil(sound, MUTATIONS[mutation], folder)
        assert spoiled is not None
        base_folder = sound.base_folder
        if spoiled.base is not None:
            other = f"{spoiled.base}-float32"
            base_folder = save_base(FAMILIES[spoiled.base], base_folder.parent / other)
        case = judge(folder, base_folder)
        if case.planned.spoken_for == 1.0:
            disagreement = find_disagreement(case.static, case.rehearsal)
            assert disagreement is None, (kind.name, disagreement)
        if case.proof is not None:
            assert case.proof["checks"]["landed"]["outcome"] == "passed", (kind.name, case.proof)


def chosen(mutation: str, made: MadeKind) -> list[Kind]:
    fitting = [k for k in SOUND if MUTATIONS[mutation](read_sound(made(k.name))) is not None]
    return list({kind.name: kind for kind in (fitting[0], fitting[len(fitting) // 2])}.values())
