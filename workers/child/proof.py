"""One proof: a clone of the base, the plan with real weights, five gates, the measurements.

`prove_adapter` is a plain function: the child program calls it with what it was sent, tests call
it with what they made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftConfig, PeftModel
from safetensors import safe_open
from transformers import PreTrainedModel

from registry.errors import LoadplanError, PlanMismatch
from registry.loading.base import SIDES, Side, clone_shared, rewrites_base, rows_of
from registry.loading.execute import carry_out
from registry.loading.landing import ADAPTER_NAME, Landing, base_name_of
from registry.loading.steps import Steps
from workers.child import measure
from workers.child.fingerprint import fingerprints
from workers.child.gates import (
    Gate,
    Poison,
    check_finite,
    check_landed,
    check_nothing_else,
    failed,
    peft_kind,
)
from workers.child.gates_output import check_effect, check_forward, check_unset, look
from workers.child.probes import ProbeSite, make_forward_probe

GATES = ("landed", "nothing_else", "finite", "effect", "forward")
_REASON_CHARACTERS = 4_000
_MOST_NAMES = 50
# Failures of the machine or of the installation, which say nothing about the adapter.
_OURS = (MemoryError, torch.OutOfMemoryError, ImportError, OSError)
_OUR_WORDS = ("CUDA error", "out of memory", "allocate memory", "cuBLAS", "cuDNN", "CUBLAS_")


@dataclass(frozen=True)
class ProofBase:
    """A loaded base with what is known of it. `unset`: parameters that its files do not hold."""

    model: PreTrainedModel
    auto_class: str
    unset: tuple[str, ...] = ()
    known: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Document:
    """The proof as it is stored. `outcome`: passed, failed, or error for a failure of ours."""

    outcome: str = "passed"
    gates: dict[str, Gate] = field(default_factory=dict)
    measures: dict[str, Any] = field(default_factory=dict)
    notes: list[dict[str, str]] = field(default_factory=list)
    error: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        gates = {name: gate.to_json() for name, gate in self.gates.items()}
        return {
            "outcome": self.outcome,
            "checks": {**gates, **self.measures},
            "notes": self.notes,
            "error": self.error,
        }

    def note(self, code: str, message: str) -> None:
        self.notes.append({"code": code, "message": message})


def error_document(code: str, message: str, **figures: int) -> dict[str, Any]:
    """A proof that could not be made, for a reason of ours."""
    return Document("error", error={"code": code, "message": message, **figures}).to_json()


def make_proof_base(
    model: PreTrainedModel, auto_class: str, unset: tuple[str, ...] = ()
) -> ProofBase:
    """Take the base's fingerprints, with which every proof compares."""
    return ProofBase(model, auto_class, unset, fingerprints(model.state_dict(keep_vars=True)))


def prove_adapter(base: ProofBase, steps: Steps, folder: Path) -> dict[str, Any]:
    """Load along the plan on a clone of `base`, and judge. The base stays as it was."""
    document = Document()
    try:
        with _repeatable():
            _prove(base, steps, folder, document)
    except Exception as error:
        if _is_ours(error):
            peak = measure.peak_memory(base.model.device)
            document.outcome = "error"
            document.error = {
                "code": _error_code(error),
                "message": _text(error),
                "needed_bytes": peak,
            }
        else:
            document.gates.setdefault("landed", _refusal(error))
    if document.outcome != "error":
        outcomes = [gate.outcome for gate in document.gates.values()]
        complete = set(document.gates) == set(GATES)
        document.outcome = "passed" if complete and "failed" not in outcomes else "failed"
    return document.to_json()


def _prove(base: ProofBase, steps: Steps, folder: Path, document: Document) -> None:
    device = base.model.device
    measure.reset_peak(device)
    config = PeftConfig.from_pretrained(folder)
    poison = Poison(base.model)
    clone = clone_shared(base.model, _own_parameters(base, steps, folder, config))
    site_rows = {side: rows_of(base.model, side) for side in SIDES}
    model, landing = carry_out(
        clone,
        steps,
        folder,
        after_resize=poison.grown_rows,
        before_loading=poison.adapter_state,
    )
    document.gates["landed"], loss = check_landed(model, landing, config)
    document.measures["cast_loss"] = loss
    if loss["tensors"]:
        document.note("lossy-cast", f"{loss['tensors']} tensors lose precision in the cast.")
    document.gates["nothing_else"] = check_nothing_else(
        landing, base.model, base.known, config, resized=steps.resize is not None
    )
    document.gates["finite"] = check_finite(model, landing)
    if any(gate.outcome == "failed" for gate in document.gates.values()):
        # Outputs of a model that is not the adapter's would say nothing about it.
        return
    site = _site(base, steps, model, site_rows)
    _judge_outputs(base, model, site, landing, document)
    _measure(model, site, landing, document)
    document.measures["peak_memory_bytes"] = measure.peak_memory(device)


def _judge_outputs(
    base: ProofBase, model: PeftModel, site: ProbeSite, landing: Landing, document: Document
) -> None:
    probe = make_forward_probe(site)
    try:
        seen = look(model, site, probe)
        forward = check_forward(site, seen)
        if forward.outcome == "passed":
            forward = check_unset(model, site, probe, _uncovered(base, landing)) or forward
        document.gates["forward"] = forward
        if forward.outcome == "failed":
            return
        effect = check_effect(model, site, landing, seen)
    except Exception as error:
        if _is_ours(error):
            raise
        # A model that cannot run its task's own inputs fails the gate that it was at.
        gate = "effect" if "forward" in document.gates else "forward"
        document.gates[gate] = failed(_text(error))
        return
    document.gates["effect"] = effect.gate
    document.measures["repeat_max_diff"] = effect.repeat_max_diff
    if effect.repeat_max_diff:
        document.note("not-reproducible", "Two equal forward passes differ.")
    if effect.not_exercised:
        names = ", ".join(effect.not_exercised[:5])
        document.measures["not_exercised"] = effect.not_exercised[:_MOST_NAMES]
        document.note("tower-not-exercised", f"No probe reached {names}.")
    document.measures["reference_output"] = measure.measure_reference(site, probe, seen.output)


def _measure(model: PeftModel, site: ProbeSite, landing: Landing, document: Document) -> None:
    document.measures["round_trip"] = measure.measure_round_trip(model, landing)
    config = model.get_base_model().config
    is_tied = bool(getattr(config.get_text_config(), "tie_word_embeddings", False))
    merge = measure.measure_merge(model, is_tied=is_tied)
    document.measures["merge"] = merge
    if merge["outcome"] == "unsafe":
        document.note("merge-unsafe", str(merge["reason"]))


def _site(
    base: ProofBase, steps: Steps, model: PeftModel, before: Mapping[Side, int | None]
) -> ProbeSite:
    config = model.peft_config[ADAPTER_NAME]
    resized = steps.resize.rows if steps.resize else None
    device = base.model.device
    extra: dict[str, torch.Tensor] = {}
    if peft_kind(config) in ("POLY", "MULTITASK_PROMPT_TUNING"):
        extra["task_ids"] = torch.zeros(1, dtype=torch.long, device=device)
    return ProbeSite(
        auto_class=base.auto_class,
        config=model.get_base_model().config,
        peft_config=config,
        device=device,
        base_input_rows=before["input"],
        input_rows=resized if resized and before["input"] else before["input"],
        base_output_rows=before["output"],
        output_rows=resized if resized and before["output"] else before["output"],
        trained_ids=_trained_ids(config),
        extra=extra,
    )


def _trained_ids(config: Any) -> tuple[int, ...]:
    indices = getattr(config, "trainable_token_indices", None) or getattr(
        config, "token_indices", None
    )
    if isinstance(indices, Mapping):
        indices = [token for tokens in indices.values() for token in tokens]
    return tuple(dict.fromkeys(int(token) for token in indices or ()))


def _own_parameters(
    base: ProofBase, steps: Steps, folder: Path, config: Any
) -> Collection[str] | Literal["all"]:
    """Base parameters that this load writes into, which the clone must not share."""
    if rewrites_base(config):
        return "all"
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        names = set(file.keys())
    renames = steps.rename.renames if steps.rename else {}
    return {base_name_of(renames.get(name, name)) for name in names}


def _uncovered(base: ProofBase, landing: Landing) -> dict[str, torch.Tensor]:
    """Random base parameters that are in use: no saved module stands before them."""
    replaced = set(landing.overwritten)
    return {
        plain: landing.base[name]
        for name, plain in landing.base_names.items()
        if plain in base.unset and plain not in replaced and ".original_module." not in name
    }


def _refusal(error: Exception) -> Gate:
    """The load itself was refused, by PEFT or because a tensor did not land."""
    figure = None
    if isinstance(error, PlanMismatch):
        figure = {
            name: list(names)[:_MOST_NAMES]
            for name, names in error.fields.items()
            if isinstance(names, list)
        }
    return failed(_text(error), figure)


def _is_ours(error: Exception) -> bool:
    if isinstance(error, PlanMismatch):
        return False
    if isinstance(error, (*_OURS, LoadplanError)):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _OUR_WORDS)


def _error_code(error: Exception) -> str:
    is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "memory" in str(error)
    return "proof-out-of-memory" if is_memory else "proof-error"


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_REASON_CHARACTERS]


@contextmanager
def _repeatable() -> Iterator[None]:
    """Deterministic algorithms where there are any, no TF32, fixed seeds; all put back after."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(0)
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn
