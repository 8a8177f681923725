"""Signing in and sending forms: the cookie, and who may send what from where."""

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from migrations.upgrade import upgrade
from registry.config import Settings
from registry.db.operations import load_operation
from registry.db.session import open_database
from registry.db.subscriptions import list_subscriptions
from registry.db.tokens import create_token, revoke_token
from registry.domain.bearer import hash_token, make_token
from registry.jobs import prepare
from tests.db.examples import NOON, at

SAME = {"Sec-Fetch-Site": "same-origin", "Accept": "text/html"}


@pytest.fixture
def url(tmp_path):
    made = f"sqlite:///{tmp_path / 'loadplan.db'}"
    upgrade(made)
    prepare(made)
    return made


@pytest.fixture
def database(url):
    opened = open_database(url)
    yield opened
    opened.close()


@pytest.fixture
def client(url):
    app = create_app(Settings(database_url=url))
    with TestClient(app, base_url="http://127.0.0.1", follow_redirects=False) as opened:
        yield opened


def token(database, name, *scopes):
    letters = iter(f"{name * 30}")
    made = make_token(lambda alphabet: alphabet[ord(next(letters)) % len(alphabet)])
    with database.transaction() as session:
        create_token(
            session,
            name=name,
            token_hash=hash_token(made),
            scopes=scopes,
            created_at=NOON,
            expires_at=None,
        )
    return made


def sign_in(client, text, **more):
    return client.post("/sign-in", data={"token": text, **more}, headers=SAME)


def test_a_token_goes_into_a_cookie_that_no_script_reads(client, database):
    answer = sign_in(client, token(database, "me", "scan"), back="/ask")
    assert (answer.status_code, answer.headers["location"]) == (303, "/ask")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    assert "me" in client.get("/account").text


def test_behind_https_the_cookie_is_for_https_and_this_host_alone(url, database):
    settings = Settings(database_url=url, public_url="https://plans.acme.dev")
    with TestClient(create_app(settings), base_url="http://10.0.0.7") as client:
        answer = client.post(
            "/sign-in",
            data={"token": token(database, "me", "scan")},
            headers={"Origin": "https://plans.acme.dev"},
            follow_redirects=False,
        )
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-loadplan_session=")
    assert "Secure" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie


def test_a_wrong_token_is_said_to_be_wrong_and_sets_nothing(client):
    answer = sign_in(client, "lp_" + "A" * 36)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert 'role="alert"' in answer.text


def test_nobody_is_led_to_another_site(client, database):
    made = token(database, "me", "scan")
    for back in ("https://evil.dev/", "//evil.dev", "/\\evil.dev", "javascript:alert(1)"):
        assert sign_in(client, made, back=back).headers["location"] == "/account"


def test_signing_out_drops_the_cookie(client, database):
    sign_in(client, token(database, "me", "scan"))
    answer = client.post("/sign-out", headers=SAME)
    assert 'loadplan_session=""' in answer.headers["set-cookie"]
    assert client.get("/account").status_code == 303


def test_a_revoked_token_is_nobody_and_pages_stay_open(client, database):
    sign_in(client, token(database, "me", "scan"))
    with database.transaction() as session:
        revoke_token(session, "me", revoked_at=at(1))
    client.app.state.identities._known.clear()
    assert client.get("/").status_code == 200
    assert client.get("/account").status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.dev"},
        {"Origin": "null"},
        {},
    ],
    ids=str,
)
def test_a_form_of_another_site_is_refused(client, database, headers):
    sign_in(client, token(database, "me", "scan", "admin"))
    for path in ("/ask/scan", "/ask/proof", "/subscriptions", "/sign-out", "/sign-in"):
        answer = client.post(path, data={"repo_id": "acme/x"}, headers=headers)
        assert answer.status_code == 403, path
        assert answer.headers["x-error-code"] == "cross-site-form"


def test_the_api_does_not_take_the_cookie(client, database):
    sign_in(client, token(database, "me", "scan"))
    answer = client.post("/v1/scans", json={"repo_id": "acme/chat-lora"}, headers=SAME)
    assert answer.status_code == 401


def test_asking_for_a_scan_leads_to_its_operation(client, database):
    sign_in(client, token(database, "me", "scan"))
    asked = {"repo_id": " acme/chat-lora ", "revision": "", "subfolder": "", "base": ""}
    answer = client.post("/ask/scan", data=asked, headers=SAME)
    assert answer.status_code == 303
    place = answer.headers["location"]
    with database.reading() as connection:
        operation = load_operation(connection, place.rpartition("/")[2])
    assert operation.request == {"repo_id": "acme/chat-lora"}
    assert client.post("/ask/scan", data=asked, headers=SAME).headers["location"] == place
    assert "waiting for a worker" in client.get(place).text


@pytest.mark.parametrize("repo_id", ["", "no-namespace", "a/b/c", "../etc", "a/b\0", "<b>/x"])
def test_what_is_no_adapter_is_said_beside_the_field(client, database, repo_id):
    sign_in(client, token(database, "me", "scan"))
    answer = client.post("/ask/scan", data={"repo_id": repo_id}, headers=SAME)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert "<b>/x" not in answer.text


def test_a_token_without_the_scope_may_not_ask(client, database):
    sign_in(client, token(database, "me", "prove"))
    answer = client.post("/ask/scan", data={"repo_id": "acme/chat-lora"}, headers=SAME)
    assert answer.status_code == 403
    assert "lacks the scope" in answer.text
    assert client.get("/subscriptions", headers={"Accept": "text/html"}).status_code == 403


def test_a_proof_of_what_is_not_recorded_is_refused(client, database):
    sign_in(client, token(database, "me", "prove"))
    answer = client.post("/ask/proof", data={"repo_id": "acme/nothing"}, headers=SAME)
    assert answer.status_code == 404


def test_a_subscription_shows_its_secret_once_and_is_left_again(client, database):
    sign_in(client, token(database, "me", "admin"))
    given = {"target_url": "https://hooks.acme.dev/x", "subject": "adapter", "repo_id": "acme/a"}
    answer = client.post("/subscriptions", data=given, headers=SAME)
    assert answer.status_code == 201
    with database.reading() as connection:
        (made,) = list_subscriptions(connection)
    assert made.secret in answer.text
    assert made.secret not in client.get("/subscriptions").text
    assert client.post("/subscriptions", data=given, headers=SAME).status_code == 422
    left = client.post(f"/subscriptions/{made.id}/delete", headers=SAME)
    assert left.status_code == 303
    with database.reading() as connection:
        assert list_subscriptions(connection) == []
    assert client.post(f"/subscriptions/{made.id}/delete", headers=SAME).status_code == 404


@pytest.mark.parametrize("target", ["http://hooks.acme.dev/", "https://127.0.0.1/", "x", ""])
def test_a_target_inside_the_house_is_refused(client, database, target):
    sign_in(client, token(database, "me", "admin"))
    given = {"target_url": target, "subject": "everything", "repo_id": ""}
    assert client.post("/subscriptions", data=given, headers=SAME).status_code == 422
