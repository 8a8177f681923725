"""Everything that the page of an adapter shows, from what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy as sa

from api.callers import Caller
from api.reading import Lookup
from api.web import evidence, picture, steps, tensors
from api.web.declared import compare_declared
from api.web.operation_view import show_operation
from api.web.render import address
from registry.db.checkpoints import load_adapter, load_base
from registry.db.open_work import find_open_work
from registry.db.plans import StoredRehearsal, load_rehearsals
from registry.db.records import StoredRecord, record_history
from registry.db.records.places_of import list_commits, list_on_bases
from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.issues import Issue, Severity
from registry.domain.record import Record, RecordFacts
from registry.planning import compare_tensors

_MOST_ISSUES: Final = 40
_MOST_PROOFS: Final = 20
_WORDS: Final = {"match": "✓ fits", "differs": "≠ differs", "unknown": "? not known", "gap": "gap"}


def load_facts(
    connection: sa.Connection, record: Record
) -> tuple[AdapterFacts | None, BaseFacts | None]:
    """What was read of both sides; None for what was not."""
    digest = record.adapter.digest
    adapter = load_adapter(connection, digest, record.adapter.subfolder) if digest else None
    base_digest = record.base.digest if record.base else None
    return adapter, load_base(connection, base_digest) if base_digest else None


def adapter_context(
    connection: sa.Connection,
    stored: StoredRecord,
    lookup: Lookup,
    caller: Caller,
    origin: str,
) -> dict[str, Any]:
    """The template's values. Everything that is private was refused before this is called."""
    record = stored.record
    ref, base = record.adapter, record.base
    facts, base_facts = load_facts(connection, record)
    rehearsals = _rehearsals(connection, record)
    others = _others(connection, stored, lookup, caller)
    pairs = compare_tensors(facts, base_facts) if facts else ()
    drawn = picture.draw(pairs, record.facts.peft_type or "")
    here = f"/adapters/{quote(ref.repo_id, safe='/')}"
    query = _query(lookup)
    author, _, leaf = ref.repo_id.rpartition("/")
    context: dict[str, Any] = {
        "record": record,
        "ref": ref,
        "facts": record.facts,
        "author": author,
        "leaf": leaf,
        "private": stored.private,
        "scanned_at": stored.scanned_at,
        "base_name": base.repo_id if base else None,
        "explained": evidence.explain(record, _of_plan(record, rehearsals)),
        "tokens": _said_tokens(record.facts),
        "measured": evidence.measured_memory(record),
        "here": here,
        "compare": f"{here}/compare",
        "api": address(f"/v1{here}", **query),
        "api_tensors": address(f"/v1{here}/tensors", **query),
        "open": _open_work(connection, record),
        "steps": steps.show_steps(record.plan) if record.plan else [],
        "ways": steps.ways_to_load(record, origin, query) if record.plan else [],
        "beside": compare_declared(record, facts),
        "table": tensors.make_table(pairs),
        "picture": drawn,
        "picture_lines": _picture_lines(drawn) if drawn else [],
        "proofs": [evidence.show_proof(proof) for proof in record.proofs[:_MOST_PROOFS]],
        "rehearsals": [_shown_rehearsal(run) for run in rehearsals[:10]],
        "sections": _sections(record, drawn is not None, private=stored.private),
        "ask": bool(caller.scopes & {"scan", "prove", "admin"}),
        "pair": {"repo_id": ref.repo_id, **query},
        **others,
        **_issues(record),
        **_badge(origin, ref.repo_id, here),
    }
    return context


def _query(lookup: Lookup) -> dict[str, str]:
    """What names the pair where it is not the default one."""
    base = lookup.base_repo_id
    if base is not None and lookup.base_revision:
        base += f"@{lookup.base_revision}"
    given = {"revision": lookup.revision, "subfolder": lookup.subfolder, "base": base}
    return {name: value for name, value in given.items() if value}


def _others(
    connection: sa.Connection, stored: StoredRecord, lookup: Lookup, caller: Caller
) -> dict[str, Any]:
    """Commits, bases and earlier records of the same adapter, as far as the caller sees them."""
    ref = stored.record.adapter
    listed = list_on_bases(connection, ref.source, ref.repo_id, subfolder=ref.subfolder)
    listed = [each for each in listed if caller.sees(each)]
    history = record_history(
        connection,
        source=ref.source,
        repo_id=ref.repo_id,
        subfolder=ref.subfolder,
        base_repo_id=lookup.base_repo_id,
        limit=20,
    )
    bases = [each.record.base.repo_id for each in listed if each.record.base]
    return {
        "history": [each for each in history if caller.sees(each)],
        "commits": list_commits(connection, ref.source, ref.repo_id, subfolder=ref.subfolder),
        "bases": list(dict.fromkeys(bases)),
        "others": [each.record for each in listed if each.id != stored.id and each.record.base],
    }


def _issues(record: Record) -> dict[str, Any]:
    advice = [issue for issue in record.issues if issue.severity is Severity.ADVICE]
    others: list[Issue] = [issue for issue in record.issues if issue not in advice]
    return {
        "advice": advice,
        "issues": others[:_MOST_ISSUES],
        "issues_left_out": max(0, len(others) - _MOST_ISSUES),
    }


def _badge(origin: str, repo_id: str, here: str) -> dict[str, str]:
    path = f"/badges/{quote(repo_id, safe='/')}"
    return {
        "badge": f"{path}.svg",
        "badge_json": f"{path}.json",
        "snippet": f"[![loadplan]({origin}{path}.svg)]({origin}{here})",
    }


def _said_tokens(facts: RecordFacts) -> str | None:
    rows = facts.base_embedding_rows or facts.base_config_vocab_size
    if facts.tokenizer_length is None or rows is None or facts.tokenizer_length <= rows:
        return None
    return f"{facts.tokenizer_length - rows:+,}"


def _open_work(connection: sa.Connection, record: Record) -> list[dict[str, Any]]:
    digest = record.base.digest if record.base else None
    found = find_open_work(
        connection,
        record.adapter.repo_id,
        adapter_digest=record.adapter.digest,
        base_digest=digest,
    )
    return [show_operation(operation) for operation in found]


def _rehearsals(connection: sa.Connection, record: Record) -> list[StoredRehearsal]:
    if record.adapter.digest is None or record.base is None or record.base.digest is None:
        return []
    return load_rehearsals(
        connection, record.adapter.digest, record.adapter.subfolder, record.base.digest
    )


def _of_plan(record: Record, rehearsals: Sequence[StoredRehearsal]) -> StoredRehearsal | None:
    digest = record.plan.digest if record.plan else None
    return next((run for run in rehearsals if digest and run.plan_digest == digest), None)


def _shown_rehearsal(run: StoredRehearsal) -> dict[str, Any]:
    return {
        "finished_at": run.finished_at,
        "plan_digest": run.plan_digest,
        "outcome": run.outcome,
        "said": evidence.say_versions(run.versions),
        "missing": len(run.missing),
        "unexpected": len(run.unexpected),
        "overwritten": len(run.overwritten),
    }


def _picture_lines(drawn: picture.Picture) -> list[dict[str, str]]:
    """Per module the runs of layers that look alike."""
    lines: list[dict[str, str]] = []
    numbers = drawn.numbers
    for row in drawn.rows:
        runs: list[tuple[str, str, list[int]]] = []
        for place, cell in enumerate(row.cells):
            if not runs or runs[-1][:2] != (cell.state, cell.text):
                runs.append((cell.state, cell.text, []))
            if not row.outside:
                runs[-1][2].append(numbers[place])
        for state, text, layers in runs:
            told = "—" if not layers else f"{layers[0]}"
            if len(layers) > 1:
                told += f" to {layers[-1]}"
            lines.append(
                {
                    "label": row.label,
                    "layers": told,
                    "text": text,
                    "state": state,
                    "word": _WORDS[state],
                }
            )
    return lines


def _sections(record: Record, drawn: bool, *, private: bool) -> list[tuple[str, str]]:
    naive = record.naive_load is not None and record.naive_load.outcome != "unknown"
    all_sections = [
        ("plan", "Plan", True),
        ("naive", "Without it", naive),
        ("issues", "Found", True),
        ("declared", "Declared", True),
        ("tensors", "Tensors", True),
        ("layout", "Layout", drawn),
        ("proofs", "Evidence", True),
        ("elsewhere", "Compare", True),
        ("badge", "Badge", not private),
    ]
    return [(anchor, word) for anchor, word, shown in all_sections if shown]
