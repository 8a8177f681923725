"""Who asked for which scan or proof is in the trail, over the API and over the forms alike."""

# ruff: noqa: F811 (fixtures are imported, and named again as arguments)

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from api.app import create_app
from registry.config import Settings
from registry.db.records import save_record
from tests.data.bearers import make_bearer
from tests.db.examples import at, record, ref
from tests.engine.conftest import (  # noqa: F401
    database,
    engine_url,
    jobs,
    prepared_postgres,
    prepared_sqlite,
)

PAIR = {"repo_id": "acme/lora", "base": "acme/base"}
HERE = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def client(database, engine_url):
    app = create_app(Settings(database_url=engine_url), database=database)
    with TestClient(
        app, raise_server_exceptions=False, base_url="http://127.0.0.1", follow_redirects=False
    ) as client:
        yield client


@pytest.fixture
def alice(database):
    """The headers of a token that may ask for work; the record that it asks for is there."""
    token = make_bearer(database, "alice", ("scan", "prove", "admin"))
    with database.transaction() as session:
        save_record(session, record(ref("acme/lora", 1), ref("acme/base", 2)), scanned_at=at(0))
    return {"Authorization": f"Bearer {token}", "X-Request-Id": "r-1", **HERE}


def read_trail(database):
    with database.reading() as connection:
        lines = connection.execute(
            sa.text(
                "SELECT token_name, action, subject, request_id, outcome FROM audit ORDER BY id"
            )
        )
        return [tuple(line) for line in lines]


def line(action, operation_id, subject="acme/lora on acme/base"):
    return ("alice", action, subject, "r-1", f"operation {operation_id}")


def test_scans_and_proofs_asked_for_over_the_api_are_in_the_trail(client, alice, database):
    scan = client.post("/v1/scans", json=PAIR, headers=alice).json()["id"]
    proof = client.post("/v1/proofs", json=PAIR, headers=alice).json()["id"]
    assert read_trail(database) == [line("scan", scan), line("prove", proof)]


def test_scans_and_proofs_asked_for_in_forms_are_in_the_trail(client, alice, database):
    scan = client.post("/ask/scan", data=PAIR, headers=alice).headers["location"]
    proof = client.post("/ask/proof", data=PAIR, headers=alice).headers["location"]
    scan, proof = (place.removeprefix("/operations/") for place in (scan, proof))
    assert read_trail(database) == [line("scan", scan), line("prove", proof)]


def test_a_scan_that_reading_asks_for_is_in_the_trail(client, alice, database):
    asked = client.get("/v1/adapters/acme/new", headers={**alice, "Prefer": "wait=1"})
    assert asked.status_code == 404
    ((_, action, subject, _, _),) = read_trail(database)
    assert (action, subject) == ("scan", "acme/new")


def test_who_joins_work_in_flight_is_in_the_trail_and_who_repeats_a_key_is_there_once(
    client, alice, database
):
    first = client.post("/v1/scans", json=PAIR, headers=alice).json()["id"]
    keyed = {**alice, "Idempotency-Key": "k"}
    for _ in range(2):
        assert client.post("/v1/scans", json=PAIR, headers=keyed).json()["id"] == first
    assert read_trail(database) == [line("scan", first)] * 2


def test_what_is_refused_is_not_in_the_trail(client, alice, database):
    client.post("/v1/scans", json=PAIR)
    client.post("/v1/scans", json={"repo_id": "x"}, headers=alice)
    client.post("/v1/proofs", json={"repo_id": "acme/none"}, headers=alice)
    client.post("/ask/scan", data=PAIR)
    client.post("/ask/proof", data={"repo_id": "acme/none"}, headers=alice)
    assert read_trail(database) == []


def test_who_cancels_is_in_the_trail_once(client, alice, database):
    asked = client.post("/v1/scans", json=PAIR, headers=alice).json()["id"]
    for status in (200, 409):
        answer = client.delete(f"/v1/operations/{asked}", headers=alice)
        assert answer.status_code == status
    cancelled = ("alice", "cancel", asked, "r-1", "done")
    assert read_trail(database) == [line("scan", asked), cancelled]


def test_subscribing_in_forms_is_in_the_trail(client, alice, database):
    given = {"target_url": "https://hooks.acme.dev/x", "subject": "everything"}
    assert client.post("/subscriptions", data=given, headers=alice).status_code == 201
    made = client.get("/v1/subscriptions", headers=alice).json()[0]["id"]
    client.post(f"/subscriptions/{made}/delete", headers=alice)
    assert read_trail(database) == [
        ("alice", action, made, "r-1", "done") for action in ("subscribe", "unsubscribe")
    ]


@pytest.mark.parametrize(
    ("path", "member"),
    [("/v1/scans", "json"), ("/v1/proofs", "json"), ("/ask/scan", "data"), ("/ask/proof", "data")],
)
def test_work_whose_line_cannot_be_written_is_not_asked_for(client, alice, database, path, member):
    with database.transaction() as session:
        session.execute(sa.text("DROP TABLE audit"))
    assert client.post(path, headers=alice, **{member: PAIR}).status_code == 503
    with database.reading() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM operations")).scalar() == 0
