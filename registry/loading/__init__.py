"""The plan, executed: `load_adapter`, the one function that users and the prover both call.

__init__   the public function; which plan
steps      a plan as the steps that this package carries out
files      the folders that hold the base's and the adapter's files
configs    the base's config, without what would fetch code
base       load the base, resize it, fill its rows, share it between proofs
repair     rename and drop the file's tensors where the plan says so
landing    attach the adapter through PEFT and see where every tensor went

Importing it costs nothing: torch, transformers and PEFT are imported by the first call.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.domain.steps import Plan, plan_from_json
from registry.errors import InvalidRequest, RunnerMissing

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

PlanSource = Callable[[str], Plan]
# An installed package names its function from a reference to a plan under this group.
_PLAN_SOURCES = "loadplan.plan_source"


def load_adapter(
    plan: Plan | Mapping[str, object] | Path | str,
    *,
    device: str = "cpu",
    device_map: str | Mapping[str, int | str] | None = None,
    base_folder: Path | None = None,
    adapter_folder: Path | None = None,
    token: str | None = None,
    plan_source: PlanSource | None = None,
) -> tuple[PeftModel, PreTrainedTokenizerBase | None]:
    """Load an adapter on its base exactly as its plan says; give the model and its tokenizer.

    `plan` is a plan, its JSON object, a file that holds it (`loadplan plan REF --format json`), or
    a reference such as `acme/chat-lora@main`. For a reference `plan_source` is asked, by default
    the server that LOADPLAN_SERVER names, and without one the scanner in this process.

    `device` is where the model goes; `device_map` (for a base larger than one device, as
    transformers takes it) wins over it. With `base_folder` and `adapter_folder` nothing is
    fetched: both are local snapshots. `token` is for gated repositories. The tokenizer is None
    when the plan has no tokenizer step.

    The base's weights are read from safetensors alone, and code of a repository is never run.

    Raises PlanMismatch unless every tensor landed and nothing else was touched, InvalidRequest for
    a plan that cannot be read, RunnerMissing without the extra `loadplan[runner]`.
    """
    decided = read_plan(plan, plan_source)
    try:
        from registry.loading.execute import execute
    except ImportError as error:
        raise RunnerMissing(f"{RunnerMissing.__doc__} ({error})") from error
    return execute(
        decided,
        device=device,
        device_map=device_map,
        base_folder=base_folder,
        adapter_folder=adapter_folder,
        token=token,
    )


def read_plan(
    plan: Plan | Mapping[str, object] | Path | str, plan_source: PlanSource | None = None
) -> Plan:
    """The plan itself, wherever it is. Raises InvalidRequest."""
    if isinstance(plan, Plan):
        return plan
    if isinstance(plan, Mapping):
        return plan_from_json(_plan_member(plan))
    if isinstance(plan, Path) or plan.endswith(".json"):
        return plan_from_json(_read_document(Path(plan)))
    return (plan_source or _default_source())(plan)


def _read_document(path: Path) -> Mapping[str, object]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"{path} holds no plan: {error}") from error
    if not isinstance(document, dict):
        raise InvalidRequest(f"{path} holds no plan: it is not a JSON object.")
    return _plan_member(document)


def _plan_member(document: Mapping[str, object]) -> Mapping[str, object]:
    """The plan of a whole record, or the document itself: both are what our commands print."""
    if "steps" in document:
        return document
    inner = document.get("plan")
    if not isinstance(inner, Mapping):
        raise InvalidRequest("The document holds no plan: the record has none, or it is no record.")
    return inner


def _default_source() -> PlanSource:
    if os.environ.get("LOADPLAN_SERVER"):
        return _plan_from_server
    for entry in entry_points(group=_PLAN_SOURCES):
        source: Any = entry.load()
        return source  # type: ignore[no-any-return]
    raise InvalidRequest(
        "There is no plan for a reference here: LOADPLAN_SERVER is not set and no scanner is "
        "installed. Pass a plan, or a file that holds one."
    )


def _plan_from_server(reference: str) -> Plan:
    from registry.client import Client

    answer: Any = Client().plan(reference)
    return answer if isinstance(answer, Plan) else plan_from_json(answer)
