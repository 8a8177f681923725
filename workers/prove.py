"""Prove plans with real weights: fetch here, where the network is; judge there, where it is not.

This process has the network and no torch; it fetches the plan's files. The child has the device,
read-only files and limits, and neither network nor token. All proofs of one base go to one child,
so the base is loaded once.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from registry.domain.record import Proof
from registry.domain.refs import looks_local
from registry.domain.steps import Json, LoadBase, Plan
from registry.errors import ChildFailed, ChildOutOfMemory, ChildTimedOut, LoadplanError
from registry.loading.files import Access, adapter_folder, base_folder
from registry.loading.steps import steps_of
from registry.sandbox import Isolation, Limits, WarmChild

_MODULE = "workers.child.prove"
_SECONDS = 1800.0
_START_SECONDS = 180.0
_FILE_BYTES = 64 << 20
# The document lists at most so many names; a larger one was not written by our program.
_OUTPUT_BYTES = 1 << 20
_THREADS = 256
_MEMORY_SHARE = 0.9


@dataclass(frozen=True)
class _Fetched:
    """A plan with its files on disk."""

    plan: Plan
    base: Path
    adapter: Path


class Prover:
    """Proves plans on one device.

    `cache` is where fetched files lie. `seconds` is the deadline of one proof, loading the base
    included. `device_map` spreads a base that is larger than one device.
    """

    def __init__(
        self,
        isolation: Isolation,
        cache: Path,
        *,
        device: str = "cpu",
        device_map: str | None = None,
        token: str | None = None,
        endpoint: str | None = None,
        seconds: float = _SECONDS,
        memory_bytes: int | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._isolation = isolation
        self._cache = cache
        self._device = device
        self._device_map = device_map
        self._token = token
        self._endpoint = endpoint
        self._now = now
        self._new_id = new_id
        self._limits = Limits(
            seconds,
            memory_bytes or _own_share(),
            file_bytes=_FILE_BYTES,
            output_bytes=_OUTPUT_BYTES,
            processes=_THREADS,
        )

    def prove(self, plans: Sequence[Plan]) -> list[Proof]:
        """One proof for each plan, in their order. Blocks; failures of ours are proofs too."""
        groups: dict[tuple[object, ...], list[int]] = {}
        for index, plan in enumerate(plans):
            groups.setdefault(_base_key(steps_of(plan).base), []).append(index)
        proofs: dict[int, Proof] = {}
        for indices in groups.values():
            proven = self._prove_group([plans[index] for index in indices])
            proofs.update(zip(indices, proven, strict=True))
        return [proofs[index] for index in range(len(plans))]

    def _prove_group(self, plans: Sequence[Plan]) -> list[Proof]:
        """Proofs of one base. What cannot be fetched costs one proof, not the group."""
        fetched = [self._fetch(plan) for plan in plans]
        ready = [item for item in fetched if isinstance(item, _Fetched)]
        if not ready:
            return [item for item in fetched if isinstance(item, Proof)]
        with WarmChild(
            _MODULE,
            self._limits,
            isolation=self._isolation,
            read_only=sorted({folder for item in ready for folder in _mounts(item)}),
            devices=self._device != "cpu",
            start_seconds=_START_SECONDS,
        ) as child:
            return [self._ask(child, i) if isinstance(i, _Fetched) else i for i in fetched]

    def _fetch(self, plan: Plan) -> _Fetched | Proof:
        started = self._now()
        steps = steps_of(plan)
        access = Access(self._token, self._cache, self._endpoint)
        try:
            base = base_folder(steps.base, access)
            adapter = adapter_folder(steps.adapter, access)
        except LoadplanError as error:
            return self._error(started, error.code, error.message)
        refused = _refuse_files(base, adapter)
        return self._error(started, *refused) if refused else _Fetched(plan, base, adapter)

    def _ask(self, child: WarmChild, item: _Fetched) -> Proof:
        started = self._now()
        question = {
            "base_folder": str(item.base.absolute()),
            "adapter_folder": str(item.adapter.absolute()),
            "plan": item.plan.to_json(),
            "device": self._device,
            "device_map": self._device_map,
        }
        try:
            document = json.loads(child.ask(json.dumps(question).encode()))
        except ChildTimedOut as error:
            return self._error(started, "proof-timeout", error.message)
        except ChildOutOfMemory as error:
            allowed = self._limits.memory_bytes
            return self._error(
                started, "proof-out-of-memory", error.message, available_bytes=allowed
            )
        except ChildFailed as error:
            return self._error(started, "proof-error", error.message)
        checks: dict[str, Json] = dict(document["checks"])
        if document["notes"]:
            checks["notes"] = document["notes"]
        if document["error"]:
            checks["error"] = document["error"]
        return self._proof(
            started,
            document["outcome"],
            checks,
            device=str(document["device"]),
            environment=document["environment"],
        )

    def _error(self, started: datetime, code: str, message: str, **figures: int) -> Proof:
        detail: dict[str, Json] = {"code": code, "message": message, **figures}
        return self._proof(started, "error", {"error": detail}, device=self._device)

    def _proof(
        self,
        started: datetime,
        outcome: str,
        checks: Mapping[str, Json],
        *,
        device: str,
        environment: Mapping[str, Json] | None = None,
    ) -> Proof:
        return Proof(
            id=self._new_id(),
            outcome=outcome,
            device=device,
            environment=environment or {},
            sandbox=self._isolation.value,
            inherited_from=None,
            checks=checks,
            started_at=_stamp(started),
            finished_at=_stamp(self._now()),
        )


def _base_key(step: LoadBase) -> tuple[object, ...]:
    return (step.auto_class, step.repo_id, step.revision, tuple(sorted(step.kwargs.items())))


def _refuse_files(base: Path, adapter: Path) -> tuple[str, str] | None:
    """Proofs take safetensors only."""
    if not (adapter / "adapter_model.safetensors").is_file():
        return "weights-pickle", "The adapter has no adapter_model.safetensors to prove."
    weights = ("model.safetensors", "model.safetensors.index.json")
    if not any((base / name).is_file() for name in weights):
        return "base-weights-pickle", "The base has no safetensors weights to prove with."
    return None


def _mounts(item: _Fetched) -> Iterable[Path]:
    """What the child may read. A snapshot's files are links into its repository's cache."""
    for folder, repo_id in (
        (item.base, _repo_of(steps_of(item.plan).base.repo_id)),
        (item.adapter, _repo_of(steps_of(item.plan).adapter.repo_id)),
    ):
        yield folder.absolute() if repo_id is None else _repository_cache(folder)


def _repo_of(repo_id: str) -> str | None:
    return None if looks_local(repo_id) else repo_id


def _repository_cache(folder: Path) -> Path:
    """`…/models--namespace--name`, which holds the snapshot and the blobs it links to."""
    for parent in (folder, *folder.parents):
        if parent.name == "snapshots":
            return parent.parent.absolute()
    return folder.absolute()


def _own_share() -> int:
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * _MEMORY_SHARE)


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
