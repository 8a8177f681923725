"""`loadplan doctor --agreement`: the static plan against the real PEFT, over every record."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import typer

from registry.cli.exits import Exit
from registry.cli.opening import isolation_of, opened_database
from registry.cli.progress import counted
from registry.cli.rehearsing import missing_packages
from registry.cli.terminal import clean, print_json
from registry.errors import FileInvalid, InvalidRequest, RunnerMissing

if TYPE_CHECKING:
    from registry.config import Settings
    from registry.db.session import Database
    from registry.domain.facts import AdapterFacts, BaseFacts
    from registry.planning import Disagreement
    from workers.rehearse import Rehearser

_PAGE = 100


@dataclass
class _Comparison:
    """What has been compared. `spoken_for` are the shares of tensors that the rules spoke for.

    `refused_by_rehearsal` counts plans that the rehearsal refused where the rules had no word on
    some of the tensors: no disagreement, and the reason to rehearse.
    """

    rehearsed: int = 0
    not_judged: int = 0
    refused_by_rehearsal: int = 0
    spoken_for: list[float] = field(default_factory=list)
    disagreements: list[Disagreement] = field(default_factory=list)


def compare_all(settings: Settings, *, as_json: bool) -> Exit:
    """Plan every recorded pair anew, rehearse it, and list where the two say different things.

    Exit code 5 with a disagreement: it is a fault of loadplan, or a reason that has no code yet.
    """
    from workers.rehearse import Rehearser

    missing = missing_packages()
    if missing:
        raise RunnerMissing(f"Not installed: {', '.join(missing)}.")
    found = _Comparison()
    with (
        opened_database(settings) as database,
        Rehearser(isolation_of(settings)) as rehearser,
        counted("rehearsing", None) as count,
    ):
        for adapter, base in _pairs(database):
            _compare(rehearser, adapter, base, found)
            count()
    _show(found, as_json=as_json)
    return Exit.FAILURE if found.disagreements else Exit.MEETS


def _pairs(database: Database) -> Iterator[tuple[AdapterFacts, BaseFacts]]:
    from registry.db.checkpoints import load_adapter, load_base
    from registry.db.records import RecordFilter, list_records

    cursor = None
    while True:
        with database.reading() as connection:
            wanted = RecordFilter(visible=frozenset({"*"}))
            page = list_records(connection, wanted, limit=_PAGE, cursor=cursor)
            for stored in page.records:
                adapter, base = stored.record.adapter, stored.record.base
                if adapter.digest is None or base is None or base.digest is None:
                    continue
                adapter_facts = load_adapter(connection, adapter.digest, adapter.subfolder)
                base_facts = load_base(connection, base.digest)
                if adapter_facts is not None and base_facts is not None:
                    yield adapter_facts, base_facts
        cursor = page.next_cursor
        if cursor is None:
            return


def _compare(
    rehearser: Rehearser, adapter: AdapterFacts, base: BaseFacts, found: _Comparison
) -> None:
    from registry.domain.plan import compute_plan
    from registry.hub.patterns import match_modules
    from registry.planning import find_disagreement, plan_pair

    try:
        matched = asyncio.run(match_modules(adapter, base))
        record = plan_pair(adapter, base, matched=matched)
        spoken_for = compute_plan(adapter, base, matched).spoken_for
        found.spoken_for.append(spoken_for)
        rehearsal = rehearser.rehearse(adapter, base, record.plan)
    except (InvalidRequest, FileInvalid):
        # Without a config, a header or a usable pattern there is nothing to rehearse.
        found.not_judged += 1
        return
    found.rehearsed += 1
    disagreement = find_disagreement(record, rehearsal, spoken_for=spoken_for)
    along = rehearsal.along_plan
    if disagreement is not None:
        found.disagreements.append(disagreement)
    elif along is not None and along.outcome in ("faults", "raises"):
        found.refused_by_rehearsal += 1


def _show(found: _Comparison, *, as_json: bool) -> None:
    share = sum(found.spoken_for) / len(found.spoken_for) if found.spoken_for else None
    if as_json:
        print_json(
            {
                "rehearsed": found.rehearsed,
                "not_judged": found.not_judged,
                "spoken_for": share,
                "refused_by_rehearsal": found.refused_by_rehearsal,
                "disagreements": [asdict(each) for each in found.disagreements],
            }
        )
        return
    typer.echo(f"{found.rehearsed} rehearsed, {found.not_judged} with nothing to rehearse")
    if share is not None:
        typer.echo(f"the static rules spoke for {share:.1%} of the tensors")
    if found.refused_by_rehearsal:
        typer.echo(f"{found.refused_by_rehearsal} refused by the rehearsal alone")
    typer.echo(f"{len(found.disagreements)} disagreements")
    for each in found.disagreements:
        typer.echo(f"  {clean(each.adapter)} on {clean(each.base)}")
        typer.echo(f"    static:    {clean(each.static)}")
        typer.echo(f"    rehearsed: {clean(each.rehearsed)}")
