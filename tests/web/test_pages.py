"""Pages as they are answered, without a browser: who sees what, as what, with which headers."""

import csv
import io
import re

import httpx2
import pytest

from registry.domain.issues import CATALOGUE
from tests.web.addresses import own_pages, pages
from tests.web.populated import CANONICAL, PRIVATE, beat_workers

HTML = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}


@pytest.fixture
def visitor(address):
    with httpx2.Client(base_url=address, headers=HTML) as client:
        yield client


@pytest.fixture
def member(address, registry):
    headers = {**HTML, "Authorization": f"Bearer {registry.token}"}
    with httpx2.Client(base_url=address, headers=headers) as client:
        yield client


def test_every_page_answers_as_html_that_nobody_else_may_keep(visitor, registry):
    for name, path in pages(registry).items():
        answer = visitor.get(path)
        assert answer.status_code == (404 if name == "not-found" else 200), name
        assert answer.headers["content-type"] == "text/html; charset=utf-8", name
        assert "max-age" not in answer.headers["cache-control"], name
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert not re.search(r"<[^>]*\sstyle=|<style|<script(?![^>]*src=)|\son\w+=\"", answer.text)


def test_pages_of_a_member_are_private(member):
    for name, path in own_pages().items():
        answer = member.get(path)
        assert answer.status_code == 200, name
        assert answer.headers["cache-control"] == "private, no-store", name
        assert "Cookie" in answer.headers["vary"]


def test_a_private_record_is_on_no_page_of_others(visitor, registry):
    absent = visitor.get("/adapters/closed/nothing", headers={"X-Request-Id": "one"})
    hidden = visitor.get(f"/adapters/{PRIVATE}", headers={"X-Request-Id": "one"})
    assert hidden.status_code == absent.status_code == 404
    assert hidden.text.replace("secret-lora", "nothing") == absent.text
    for path in [*pages(registry).values(), "/adapters.csv?q=secret", "/?q=secret"]:
        if "secret" not in path:
            assert "secret-lora" not in visitor.get(path).text, path
    assert "secret-lora" not in visitor.get("/adapters.csv?q=secret").text
    assert visitor.get(f"/adapters/{PRIVATE}/compare?a=main&b=main").status_code == 404


def test_a_member_with_the_grant_sees_it(member):
    assert PRIVATE in member.get("/?q=secret").text.replace("<bdi>", "")
    assert member.get(f"/adapters/{PRIVATE}").status_code == 200


def test_problems_are_pages_for_people_and_documents_for_programs(visitor):
    person = visitor.get("/no/such/page")
    assert person.status_code == 404
    assert person.headers["content-type"].startswith("text/html")
    assert person.headers["x-error-code"] == "route-not-found"
    assert person.headers["x-request-id"] in person.text
    for headers in ({"Accept": "*/*"}, {"Accept": "application/json"}, {}):
        program = visitor.get("/no/such/page", headers={"Accept": "*/*"} | headers)
        assert program.headers["content-type"] == "application/problem+json"
    api = visitor.get("/v1/adapters/acme/nothing")
    assert api.headers["content-type"] == "application/problem+json"


def test_a_fault_of_ours_is_a_page_that_discloses_nothing(tmp_path):
    from starlette.testclient import TestClient

    from api.app import create_app
    from registry.config import Settings

    app = create_app(Settings(database_url=f"sqlite:///{tmp_path / 'empty.db'}"))

    @app.get("/broken")
    def broken():
        raise RuntimeError("postgresql://user:secret@host")

    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/broken", headers=HTML)
        unmigrated = client.get("/", headers=HTML)
    assert answer.status_code == 500
    assert "A fault of ours" in answer.text
    assert "secret" not in answer.text
    assert unmigrated.status_code == 503
    assert "loadplan migrate" in unmigrated.text


def test_an_empty_registry_says_what_to_do_next(tmp_path):
    from starlette.testclient import TestClient

    from api.app import create_app
    from migrations.upgrade import upgrade
    from registry.config import Settings

    url = f"sqlite:///{tmp_path / 'new.db'}"
    upgrade(url)
    with TestClient(create_app(Settings(database_url=url))) as client:
        assert "loadplan scan" in client.get("/").text
        assert "Nothing matches" in client.get("/?q=anything").text
        assert "Nothing waits." in client.get("/status").text


def test_every_code_of_the_catalogue_has_a_page_with_an_example(visitor):
    listed = visitor.get("/problems").text
    for code in CATALOGUE:
        page = visitor.get(f"/problems/{code}")
        assert page.status_code == 200, code
        assert "How it reads" in page.text
        assert f'"{code}"' in page.text.replace("&#34;", '"'), code
        assert f"/problems/{code}" in listed
    counted = visitor.get("/problems/base-unpinned").text
    assert re.search(r"issue=base-unpinned\">\d+ records", counted)


def test_docs_show_every_call_of_the_document(visitor):
    page = visitor.get("/docs").text
    document = visitor.get("/openapi.json").json()
    for path, calls in document["paths"].items():
        for call in calls.values():
            assert f'id="{call["operationId"]}"' in page, path


def test_csv_holds_the_records_that_are_shown(visitor):
    answer = visitor.get("/adapters.csv?status=rehearsed&sort=name")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    shown = re.findall(
        r'scope="row" data-label="Adapter"><a href="/adapters/([^"?]+)',
        visitor.get("/?status=rehearsed&sort=name").text,
    )
    assert [row["adapter"] for row in rows] == shown
    assert {row["status"] for row in rows} == {"rehearsed"}


def test_a_cell_that_begins_like_a_formula_is_quoted():
    from api.routes.browse import _cell

    assert _cell("=HYPERLINK(1)") == "'=HYPERLINK(1)"
    assert _cell("@x") == "'@x"
    assert _cell("acme/chat") == "acme/chat"
    assert _cell(None) == ""


def test_the_json_beside_a_page_holds_the_same_records(visitor):
    page = visitor.get("/?status=rehearsed").text
    href = re.search(r'href="(/v1/adapters[^"]*)"', page)[1].replace("&amp;", "&")
    names = [entry["adapter"]["repo_id"] for entry in visitor.get(href).json()]
    assert names == re.findall(r'data-label="Adapter"><a href="/adapters/([^"?]+)', page)


def test_a_script_gets_the_piece_that_changes_alone(visitor):
    headers = {"HX-Request": "true", "HX-Target": "div#browse"}
    piece = visitor.get("/?q=legal", headers=headers)
    assert "<html" not in piece.text
    assert piece.text.lstrip().startswith('<div id="browse"')
    assert "HX-Request" in piece.headers["vary"]


def test_what_cannot_be_asked_is_refused_with_a_page(visitor):
    for path in ("/?cursor=broken", "/?status=wrong", "/?q=%00", "/bases/a%00b", "/bases/a/b/c"):
        answer = visitor.get(path)
        assert answer.status_code in (404, 422), path
        assert answer.headers["content-type"].startswith("text/html"), path


def test_badges_tell_the_status_and_never_break_a_page(visitor):
    known = visitor.get(f"/badges/{CANONICAL}.svg")
    assert known.headers["content-type"].startswith("image/svg+xml")
    assert "max-age=300" in known.headers["cache-control"]
    assert "<title>loadplan: compatible</title>" in known.text
    again = visitor.get(
        f"/badges/{CANONICAL}.svg", headers={"If-None-Match": known.headers["etag"]}
    )
    assert again.status_code == 304
    document = visitor.get(f"/badges/{CANONICAL}.json").json()
    assert document["message"] == "compatible"
    assert document["schemaVersion"] == 1


def test_unknown_and_private_badges_are_one_and_the_same(visitor, member):
    names = ("acme/nothing", PRIVATE, "a..b/c", "%3Cb%3E/x")
    answers = [visitor.get(f"/badges/{name}.svg") for name in names]
    answers.append(member.get(f"/badges/{PRIVATE}.svg"))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert "unknown" in answers[0].text


def test_the_status_page_names_no_host_and_no_operation(visitor, registry):
    # A worker counts as alive for a minute, and these tests may have taken longer.
    beat_workers(registry.url)
    page = visitor.get("/status").text
    assert registry.operation_id not in page
    assert "node-1" not in page
    assert "a1b2c3d4e5f6" in page
    assert "reading headers, configs and tokenizers" in page


def test_what_a_worker_is_told_is_followed_piece_by_piece(visitor, registry):
    with visitor.stream("GET", f"/operations/{registry.operation_id}/live") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        first = next(answer.iter_text())
    assert re.match(r"id: \d+\ndata: ", first)
    assert "<html" not in first


def test_an_unknown_operation_is_no_stream(visitor):
    assert visitor.get("/operations/nothing/live").status_code == 404
    assert visitor.get("/operations/nothing").status_code == 404


def test_the_parts_of_a_stored_base_are_compared_where_it_moved(visitor):
    page = visitor.get("/bases/gpt2").text
    assert "attn_pdrop" in page
    assert "was judged on content that a branch no longer has" in page
