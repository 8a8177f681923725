"""Which base an adapter goes on: the caller's, else the config's, and what there is to note."""

from __future__ import annotations

from dataclasses import dataclass, replace

from registry.domain.facts import AdapterFacts
from registry.domain.issues import Issue, Severity, make_issue
from registry.domain.refs import CheckpointRef, Reference, Source, is_repo_id, shown

DEFAULT_REVISION = "main"


@dataclass(frozen=True)
class BaseChoice:
    """The base to read, or why there is none; notes on the choice either way."""

    reference: Reference | None
    issues: tuple[Issue, ...] = ()


def choose_base(adapter: AdapterFacts, base: Reference | None) -> BaseChoice:
    """Contract section 1: the caller's base, else the config's, at the caller's revision, else the
    config's, else main. A path in a config is never read: it names a place on someone's machine.
    """
    config = adapter.config
    declared = (config.base_model_name_or_path or "").strip() if config else ""
    if base is not None:
        return _callers_base(base, declared, config.revision if config else None)
    if config is None:
        # The config's own fault is already among the adapter's problems, and decides.
        return BaseChoice(None)
    if not declared:
        message = "The config names no base model (base_model_name_or_path is empty)."
        return BaseChoice(None, (make_issue("base-undeclared", message),))
    if not is_repo_id(declared):
        message = f"The config names {shown(declared)} as base, which is not a Hub repository id."
        return BaseChoice(None, (make_issue("base-local-path", message),))
    return BaseChoice(Reference(declared, config.revision or DEFAULT_REVISION))


def _callers_base(base: Reference, declared: str, declared_revision: str | None) -> BaseChoice:
    same = base.repo_id == declared
    if base.revision is None and base.source is Source.HUB:
        inherited = declared_revision if same else None
        base = replace(base, revision=inherited or DEFAULT_REVISION)
    if declared and not is_repo_id(declared):
        message = f"The config names {shown(declared)} as base; {base.repo_id} was named instead."
        return BaseChoice(
            base, (make_issue("base-local-path", message, severity=Severity.INFO, fix=""),)
        )
    return BaseChoice(base)


def differs_from_declared(adapter: AdapterFacts, base: CheckpointRef) -> Issue | None:
    """The note that the pair is not the one the config declares. Such a record never replaces the
    declared pair's."""
    declared = adapter.config.base_model_name_or_path if adapter.config else None
    if not declared or declared == base.repo_id or not is_repo_id(declared):
        return None
    message = f"The config declares {shown(declared)} as base; this record is for {base.repo_id}."
    return make_issue("base-differs-from-declared", message)
