"""`loadplan prove`: the plan run with real weights, here or by a runner."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.answering import answering, finish
from registry.cli.asking import SERVER_HELP, ask_record, open_client, pair_of, server_of
from registry.cli.check import show
from registry.cli.enqueuing import ask_once, await_all, is_shared
from registry.cli.exits import Requirement, exit_of_record
from registry.cli.opening import (
    BASE_HELP,
    JSON_HELP,
    REFERENCE_HELP,
    load_settings,
    opened_database,
    parse_base,
)
from registry.cli.progress import waiting
from registry.cli.rehearsing import missing_packages, rehearse
from registry.cli.scanning import scan_one
from registry.cli.terminal import print_message
from registry.cli.work import DeviceName
from registry.domain.record import Record, Status
from registry.domain.refs import Reference, parse_reference
from registry.errors import RunnerMissing

if TYPE_CHECKING:
    from registry.config import Settings
    from registry.db.session import Database

DEFAULT_WAIT = 1800.0
WAIT_HELP = "Seconds to wait for a runner, on a server or on PostgreSQL."


def prove(
    reference: Annotated[str, typer.Argument(metavar="REF", help=REFERENCE_HELP)],
    base: Annotated[str | None, typer.Option(metavar="REF", help=BASE_HELP)] = None,
    device: Annotated[
        DeviceName, typer.Option(help="Where it runs, when it runs here.")
    ] = DeviceName.CPU,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
    server: Annotated[str | None, typer.Option(metavar="URL", help=SERVER_HELP)] = None,
    wait: Annotated[float, typer.Option(min=0, metavar="S", help=WAIT_HELP)] = DEFAULT_WAIT,
) -> None:
    """Load the adapter as the plan says, with real weights, and hold it against five gates.

    Exit code 0: compatible. A proof on a device that LOADPLAN_PROOF_DEVICES does not name is
    recorded and makes nothing compatible.
    """
    with answering(as_json=as_json):
        settings = load_settings()
        asked, asked_base = parse_reference(reference, allow_local=True), parse_base(base)
        asked_server = server_of(settings, server)
        if asked_server is not None:
            record = prove_there(settings, asked_server, asked, asked_base, wait)
        else:
            with opened_database(settings) as database:
                if is_shared(database, (asked, asked_base)):
                    record = _enqueue(settings, database, asked, asked_base, wait)
                else:
                    record = prove_here(settings, database, asked, asked_base, device.value)
        show(record, as_json=as_json)
        code = exit_of_record(record, Requirement.COMPATIBLE)
    finish(code)


def prove_here(
    settings: Settings,
    database: Database,
    reference: Reference,
    base: Reference | None,
    device: str,
) -> Record:
    """Scan, rehearse and prove in this process. A record without a plan is the answer as it is.

    Raises RunnerMissing, SandboxMissing.
    """
    missing = missing_packages()
    if missing:
        raise RunnerMissing(f"Proofs need torch and its kin: {', '.join(missing)} not installed.")
    scanned = scan_one(settings, database, reference, base)
    record = scanned.record
    if record.status is Status.PLANNED:
        record = rehearse(settings, database, scanned)
    if record.plan is None:
        return record
    from registry.proving import record_proof, save_proven, with_retirement
    from registry.sandbox import find_isolation
    from workers.prove import Prover

    token = settings.hf_token.get_secret_value() if settings.hf_token else None
    prover = Prover(
        find_isolation(settings.sandbox),
        settings.hf_home / "hub",
        device=device,
        token=token,
        endpoint=settings.hf_endpoint,
    )
    with waiting("proving"):
        (proof,) = prover.prove([record.plan])
    accepted = settings.proof_devices
    with database.reading() as connection:
        (told,) = with_retirement(connection, [proof])
    if told.is_retired:
        print_message("note", "These versions were retired: the proof is listed and counts not.")
    elif proof.outcome == "passed" and proof.device.partition(" ")[0] not in accepted:
        print_message(
            "note",
            f"Passed on {proof.device}, which does not make it compatible here.",
            "LOADPLAN_PROOF_DEVICES names the devices that do.",
        )
    now = datetime.now(UTC)
    database.write(
        lambda session: save_proven(session, record, proof, accepted=accepted, recorded_at=now)
    )
    return record_proof(record, told, accepted=accepted)


def prove_there(
    settings: Settings,
    server: str,
    reference: Reference,
    base: Reference | None,
    wait: float,
) -> Record:
    ask_record(settings, server, reference, base, wait)
    with open_client(settings, server) as client:
        operation = client.request_proof(pair_of(reference, base))
        with waiting(f"waiting for {client.server}"):
            operation = client.wait(operation["id"], seconds=wait)
    problem = operation.get("problem")
    if isinstance(problem, dict):
        print_message("warning", str(problem.get("detail")), str(problem.get("fix")))
    elif operation["state"] in ("queued", "running"):
        print_message("note", f"Operation {operation['id']} is not over after {wait:g} s.")
    return ask_record(settings, server, reference, base, wait)


def _enqueue(
    settings: Settings,
    database: Database,
    reference: Reference,
    base: Reference | None,
    wait: float,
) -> Record:
    from registry.asking import ask_proof
    from registry.db.proofs import Pair
    from registry.db.records import find_pair
    from registry.jobs import Priority

    record = scan_one(settings, database, reference, base).record
    if record.plan is None or record.base is None:
        return record
    assert record.adapter.digest is not None
    assert record.base.digest is not None
    pair = Pair(record.adapter.digest, record.adapter.subfolder, record.base.digest)
    operation = ask_once(
        database,
        lambda session, jobs: ask_proof(
            session, jobs, reference, base, pair, priority=Priority.PERSON
        ),
    )
    await_all(database, [operation.id], wait)
    with database.reading() as connection:
        stored = find_pair(connection, pair.adapter_digest, pair.subfolder, pair.base_digest)
    return record if stored is None else stored.record
