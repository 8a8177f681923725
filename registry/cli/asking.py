"""`--server`: the same questions, put to a loadplan service instead of to this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from registry.cli.progress import waiting
from registry.cli.terminal import print_message
from registry.domain.record import Record, record_from_json
from registry.domain.refs import Reference, Source
from registry.errors import InvalidReference, ServerRefused

if TYPE_CHECKING:
    from registry.client import Client
    from registry.config import Settings

SERVER_HELP = "Ask this loadplan service. Default: LOADPLAN_SERVER, else this machine alone."
WAIT_HELP = "Seconds to wait for a scan that the server has to do first."
DEFAULT_WAIT = 120.0

T = TypeVar("T")


def server_of(settings: Settings, option: str | None) -> str | None:
    return option or settings.server


def open_client(settings: Settings, server: str) -> Client:
    from registry.client import Client

    return Client(server, settings.token.get_secret_value() if settings.token else None)


def ask_record(
    settings: Settings, server: str, reference: Reference, base: Reference | None, wait: float
) -> Record:
    """The server's record. Raises ServerRefused, ServerUnreachable, InvalidReference."""
    with open_client(settings, server) as client:
        name, base_name = _names(reference, base)
        document = _recorded(
            client, settings, reference, base, wait, lambda: client.record(name, base=base_name)
        )
    return record_from_json(document)


def ask_tensors(
    settings: Settings, server: str, reference: Reference, base: Reference | None, wait: float
) -> list[dict[str, Any]]:
    with open_client(settings, server) as client:
        name, base_name = _names(reference, base)
        return _recorded(
            client, settings, reference, base, wait, lambda: client.tensors(name, base=base_name)
        )


def _recorded(
    client: Client,
    settings: Settings,
    reference: Reference,
    base: Reference | None,
    wait: float,
    read: Callable[[], T],
) -> T:
    """What `read` gives, after a scan where nothing is recorded and our token may ask for one."""
    try:
        return read()
    except ServerRefused as error:
        if error.problem_code != "adapter-not-recorded" or settings.token is None:
            raise
    await_scan(client, reference, base, wait)
    return read()


def await_scan(client: Client, reference: Reference, base: Reference | None, wait: float) -> None:
    """Ask for a scan and wait. What the operation failed of is raised as the server's problem."""
    operation = client.request_scan(pair_of(reference, base))
    with waiting(f"waiting for {client.server}"):
        operation = client.wait(operation["id"], seconds=wait)
    problem = operation.get("problem")
    if isinstance(problem, dict):
        raise ServerRefused(
            str(problem.get("detail", "The scan failed.")),
            problem_code=str(problem.get("code", "internal-error")),
            status=int(problem.get("status", 500)),
            problem=problem,
        )
    if operation["state"] in ("queued", "running"):
        print_message("note", f"Operation {operation['id']} is not over after {wait:g} s.")


def pair_of(reference: Reference, base: Reference | None) -> dict[str, Any]:
    """The body of a request for work, as the API takes it."""
    _, base_name = _names(reference, base)
    given = {
        "repo_id": reference.repo_id,
        "revision": reference.revision,
        "subfolder": reference.subfolder,
        "base": base_name,
    }
    return {member: value for member, value in given.items() if value is not None}


def _names(reference: Reference, base: Reference | None) -> tuple[str, str | None]:
    """As the API reads them. A folder of this machine is nothing that a server could read."""
    for each in (reference, base):
        if each is not None and each.source is Source.LOCAL:
            raise InvalidReference(f"{each} is a folder of this machine; a server cannot read it.")
    return str(reference), None if base is None else str(base)
