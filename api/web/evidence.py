"""What a record rests on, in words, and proofs as rows that can be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from registry.db.plans import StoredRehearsal
from registry.domain.issues import Severity
from registry.domain.record import Proof, Record, Status

GATES: Final = {
    "landed": "Every tensor of the file is in the model",
    "nothing_else": "Nothing else was touched",
    "finite": "Every loaded tensor is finite",
    "effect": "The adapter changes the output",
    "forward": "A probe runs through and is finite",
}
MEASURES: Final = {
    "cast_loss": "Lost in the cast to the model's dtype",
    "repeat_max_diff": "Largest difference between two equal runs",
    "round_trip": "Saved again and compared",
    "merge": "Merged into the base",
    "peak_memory_bytes": "Peak memory",
    "not_exercised": "Not exercised by the probe",
    "reference_output": "Reference output",
}
# Enough for every message of ours; other people write some of them.
_SENTENCE: Final = 400
_LIBRARIES: Final = ("torch", "transformers", "peft", "cuda", "driver", "python")


@dataclass(frozen=True)
class Check:
    """A gate or a measurement of a proof. `figures` are name and value, `more` what is folded."""

    title: str
    outcome: str | None
    reason: str | None
    figures: Sequence[tuple[str, object]]
    is_bytes: bool = False


@dataclass(frozen=True)
class ShownProof:
    proof: Proof
    gates: Sequence[Check]
    measures: Sequence[Check]
    versions: str
    passed: int


def show_proof(proof: Proof) -> ShownProof:
    """Every gate, in the contract's order, and every measurement with its figure."""
    gates = [_check(title, proof.checks.get(name)) for name, title in GATES.items()]
    names = [name for name in proof.checks if name not in GATES]
    order = [*(name for name in MEASURES if name in names), *sorted(set(names) - set(MEASURES))]
    measures = [
        _check(MEASURES.get(name, name), proof.checks[name], is_bytes=name.endswith("_bytes"))
        for name in order
    ]
    passed = sum(gate.outcome == "passed" for gate in gates)
    return ShownProof(proof, gates, measures, say_versions(proof.environment), passed)


def say_versions(environment: Mapping[str, Any]) -> str:
    """`torch 2.13.0, transformers 5.23.0, peft 0.21.2`."""
    told = [f"{name} {environment[name]}" for name in _LIBRARIES if environment.get(name)]
    return ", ".join(told) or "versions not recorded"


def explain(record: Record, rehearsal: StoredRehearsal | None) -> str:
    """The status with its evidence and the versions that it holds for, in one or two sentences."""
    match record.status:
        case Status.COMPATIBLE:
            return _compatible(record)
        case Status.REHEARSED:
            return _rehearsed(record, rehearsal)
        case Status.PLANNED:
            return (
                "The plan was computed from shapes alone. Nothing was run yet: a rehearsal or a "
                "proof may still find a fault."
            )
        case Status.STALE:
            return (
                "The branch has other content by now, or the proof's environment was retired. "
                f"What was found before rests on evidence that is {record.evidence.value}."
            )
        case Status.QUEUED:
            return "It was asked for. Nothing is known yet."
        case Status.FAILED:
            return f"The Hub or we failed; the adapter is not at fault. {_first(record)}".strip()
        case Status.BLOCKED:
            return f"We could not read what we would have to judge. {_first(record)}".strip()
        case Status.UNSUPPORTED:
            return f"We cannot judge this adapter. {_first(record)}".strip()
        case Status.INCOMPATIBLE:
            how = {"rehearsed": "The real loader was run on a base without weights. "}
            ran = how.get(record.evidence.value, "")
            return f"{ran}No plan loads it as it stands. {_first(record)}".strip()


def _compatible(record: Record) -> str:
    passed = [proof for proof in record.proofs if proof.outcome == "passed"]
    if not passed:
        return "A proof with real weights passed."
    proof = passed[0]
    return (
        f"A proof with real weights passed all five gates on {proof.device} with "
        f"{say_versions(proof.environment)}. It holds for these versions."
    )


def _rehearsed(record: Record, rehearsal: StoredRehearsal | None) -> str:
    count = record.facts.tensor_count
    tensors = f"all {count:,} tensors" if count else "every tensor"
    versions = f" with {say_versions(rehearsal.versions)}" if rehearsal is not None else ""
    return (
        f"PEFT itself ran the plan on a base without weights{versions} and landed {tensors}: "
        "nothing missing, nothing unexpected. No weights were loaded yet."
    )


def _first(record: Record) -> str:
    errors = [issue for issue in record.issues if issue.severity is Severity.ERROR]
    message = errors[0].message if errors else ""
    return message if len(message) <= _SENTENCE else f"{message[:_SENTENCE]}…"


def measured_memory(record: Record) -> int | None:
    """The largest peak that a passed proof measured."""
    peaks = [
        peak
        for proof in record.proofs
        if proof.outcome == "passed"
        and isinstance(peak := proof.checks.get("peak_memory_bytes"), int)
    ]
    return max(peaks, default=None)


def _check(title: str, value: object, *, is_bytes: bool = False) -> Check:
    if value is None:
        return Check(title, None, None, ())
    if not isinstance(value, Mapping):
        return Check(title, None, None, ((("", value)),), is_bytes)
    figures: list[tuple[str, object]] = []
    for name, member in value.items():
        if name in ("outcome", "reason") or member in (None, [], {}):
            continue
        if isinstance(member, Mapping):
            figures += [(f"{inner}", each) for inner, each in member.items()]
        else:
            figures.append(("" if name == "figure" else name, member))
    outcome, reason = value.get("outcome"), value.get("reason")
    return Check(
        title,
        None if outcome is None else str(outcome),
        None if reason is None else str(reason),
        [(name.replace("_", " "), _short(member)) for name, member in figures],
        is_bytes,
    )


def _short(value: object) -> object:
    """A list of hundreds of figures is told by its length and its first ones."""
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 8:
        return f"{len(value)} values, the first {list(value[:4])}"
    return value
