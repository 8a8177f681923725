"""No sound adapter is refused, no spoiled one is proven: the gates over a table of kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from registry.loading.base import load_base
from registry.loading.steps import Steps, steps_of
from tests.data.families import FAMILIES, save_base
from tests.data.kinds import Kind, Made
from tests.data.mutations import INVISIBLE, MUTATIONS
from tests.data.sound import SOUND
from tests.data.spoiling import Mutation, read_sound, spoil
from workers.child.fingerprint import fingerprints
from workers.child.proof import GATES, ProofBase, make_proof_base, prove_adapter

# Kinds per mutation: a proof of a tiny model takes a sixth of a second on an idle core.
MOST_KINDS = 10
MadeKind = Callable[[str], Made]


@dataclass
class Bases:
    """Loaded bases; every proof of a session that uses one shares it."""

    loaded: dict[tuple[Any, ...], ProofBase] = field(default_factory=dict)

    def get(self, steps: Steps, folder: Path) -> ProofBase:
        key = (folder, steps.base.auto_class, tuple(sorted(steps.base.kwargs.items())))
        if key not in self.loaded:
            model, unset = load_base(steps.base, folder)
            self.loaded[key] = make_proof_base(model, steps.base.auto_class, unset)
        return self.loaded[key]


@pytest.fixture(scope="module")
def bases() -> Iterator[Bases]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    shared = Bases()
    yield shared
    torch.set_num_threads(threads)
    # After all the proofs, sound and spoiled, failed loads included.
    for base in shared.loaded.values():
        assert fingerprints(base.model.state_dict(keep_vars=True)) == base.known


def test_the_table_of_sound_kinds_is_large_enough() -> None:
    assert len(SOUND) >= 40
    assert len({kind.family for kind in SOUND}) >= 4
    assert {kind.task for kind in SOUND} >= {
        "CAUSAL_LM",
        "SEQ_CLS",
        "SEQ_2_SEQ_LM",
        "FEATURE_EXTRACTION",
    }


@pytest.mark.parametrize("name", [kind.name for kind in SOUND])
def test_a_sound_adapter_passes_every_gate(name: str, made: MadeKind, bases: Bases) -> None:
    kind = made(name)
    steps = steps_of(kind.plan)
    base = bases.get(steps, kind.base_folder)
    document = prove_adapter(base, steps, kind.adapter_folder)
    outcomes = {gate: document["checks"].get(gate) for gate in GATES}
    assert document["outcome"] == "passed", outcomes
    assert {gate["outcome"] for gate in outcomes.values()} == {"passed"}
    assert fingerprints(base.model.state_dict(keep_vars=True)) == base.known


@pytest.mark.parametrize("mutation", sorted(MUTATIONS))
def test_a_spoiled_adapter_is_never_proven(
    mutation: str, made: MadeKind, bases: Bases, tmp_path: Path
) -> None:
    proven = [
        name
        for name, document in _prove_all(MUTATIONS[mutation], made, bases, tmp_path)
        if document["outcome"] == "passed"
    ]
    assert proven == []


def test_the_table_of_spoiled_adapters_is_large_enough(made: MadeKind) -> None:
    counts = {name: len(_chosen(mutation, made)) for name, mutation in MUTATIONS.items()}
    assert min(counts.values()) >= 1
    assert len(counts) >= 25
    assert sum(counts.values()) >= 300


def test_what_neither_shapes_nor_values_reveal_is_counted_apart(
    made: MadeKind, bases: Bases, tmp_path: Path
) -> None:
    outcomes = {
        (mutation, name): document["outcome"]
        for mutation, spoils in INVISIBLE.items()
        for name, document in _prove_all(spoils, made, bases, tmp_path / mutation)
    }
    assert {mutation for mutation, _ in outcomes} == set(INVISIBLE)
    assert set(outcomes.values()) == {"passed"}


def _prove_all(
    spoils: Mutation, made: MadeKind, bases: Bases, folder: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    folder.mkdir(exist_ok=True)
    for kind in _chosen(spoils, made):
        sound = made(kind.name)
        spoiled = spoil(sound, spoils, folder / kind.name)
        assert spoiled is not None
        base_folder = sound.base_folder
        if spoiled.base is not None:
            base_folder = save_base(
                FAMILIES[spoiled.base], sound.base_folder.parent / f"{spoiled.base}-float32"
            )
        steps = steps_of(sound.plan)
        yield kind.name, prove_adapter(bases.get(steps, base_folder), steps, folder / kind.name)


def _chosen(spoils: Mutation, made: MadeKind) -> list[Kind]:
    """Kinds that the mutation applies to, from all over the table, at most so many."""
    fitting = [kind for kind in SOUND if spoils(read_sound(made(kind.name))) is not None]
    step = max(1, len(fitting) / MOST_KINDS)
    return [fitting[int(i * step)] for i in range(min(len(fitting), MOST_KINDS))]
