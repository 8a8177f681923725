"""Names and texts of other people change no page's structure."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest
import sqlalchemy as sa
from markupsafe import Markup

from api.web.render import environment
from api.web.text import visible_text
from registry.db.base import Base
from registry.db.checkpoints import save_adapter, save_base
from registry.db.records import save_record
from registry.domain.issues import make_issue
from registry.domain.naive_load import NaiveLoad
from registry.domain.record import Status
from registry.domain.tensors import TensorSpec
from tests.api.conftest import (  # noqa: F401
    client,
    database,
    migrated_postgres,
    migrated_sqlite,
    migrated_url,
)
from tests.db.examples import adapter_facts, at, base_facts, proof, record, ref, tokenizer

NAME = "acme/chat-lora"
HTML = {"Accept": "text/html"}
PLAIN = "plain"
HOSTILE = {
    "markup": "</td></tr></table></main><script>alert(1)</script><img src=x onerror=alert(2)>",
    "attribute": '" onmouseover="alert(1)" x=\'',
    "template": "{{ 7 * 7 }}{% include 'base.html' %}",
    "comment": "<!-- --><![CDATA[ ]]><?php ?>",
    "entity": "&lt;script&gt;&#60;b&#62;&amp;",
    "controls": "\x01\x07\x1b[31m\x85\x9b\r\nrow",
    "direction": "\u202eabc\u2066def\u2069\u200f\u05d0\u05d1",
    "unseen": "\u200b\u00ad\ufeff\u2028\u2029",
    "long": "x" * 5_000,
    "long words": "<b>" * 2_000,
    "address": "javascript:alert(1)//?a=1&b=2#c",
}
VOID = {"meta", "link", "input", "img", "br", "hr"}


class Outline(HTMLParser):
    """Tags with the names of their attributes, in order; text left out."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, tuple(name for name, _ in attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, tuple(name for name, _ in attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, "tags close in order"


def outline(page: str) -> list[tuple[str, tuple[str, ...]]]:
    parser = Outline()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser.tags


def save(database, text):  # noqa: F811
    """A record in which everything that its author writes is this text."""
    model = record()
    issue = make_issue("shape-mismatch", text, tensor=text, file_shape=(1,), base_shape=(2,))
    advice = make_issue("rank-high", text, fix=text)
    facts = replace(
        model.facts,
        task_type=text,
        peft_type=text[:60],
        declared_base=text,
        target_modules=(text,),
        other_adapters=(text,),
        dtypes={text: 3},
        tokenizer_length=9,
    )
    proven = replace(
        proof(),
        device=text,
        environment={"torch": text},
        checks={"landed": {"outcome": "failed", "figure": {text: text}, "reason": text}, "m": text},
    )
    made = replace(
        model,
        status=Status.INCOMPATIBLE,
        plan=None,
        facts=facts,
        issues=(issue, advice),
        naive_load=NaiveLoad("raises", text),
        proofs=(proven,),
    )
    tensor = TensorSpec(f"base_model.model.{text}.lora_A.weight", "BF16", (4, 8))
    stored = adapter_facts(made.adapter, layout=(tensor,))
    config = replace(
        stored.config,
        target_modules=(text,),
        modules_to_save=(text,),
        base_model_name_or_path=text,
        raw={"key": text},
    )
    words = replace(tokenizer(), chat_template=text, special_tokens={"pad_token": text})
    with database.transaction() as session:
        save_adapter(session, replace(stored, config=config, tokenizer=words))
        save_base(session, base_facts(made.base))
        save_record(session, made, scanned_at=at(0))
        older = replace(made, adapter=ref(NAME, "older", revision="v1"))
        save_adapter(session, adapter_facts(older.adapter, layout=(tensor,)))
        save_record(session, older, scanned_at=at(-5))


def empty(database):  # noqa: F811
    with database.transaction() as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(sa.delete(table))


PAGES = (
    f"/adapters/{NAME}",
    f"/adapters/{NAME}/compare?a=v1&b=main",
    "/",
    "/bases",
    "/bases/acme/base",
    "/problems/shape-mismatch",
)


@pytest.fixture
def plain(client, database):  # noqa: F811
    save(database, PLAIN)
    return {path: outline(client.get(path, headers=HTML).text) for path in PAGES}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_text_changes_no_pages_structure(client, database, plain, text):  # noqa: F811
    empty(database)
    save(database, text)
    client.app.state.records.forget()
    for path in PAGES:
        answer = client.get(path, headers=HTML)
        assert answer.status_code == 200, path
        assert outline(answer.text) == plain[path], path
        assert not set(answer.text) & set("\x01\x07\x1b\x85\u202e\u2066\u200b\u2028"), path


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_search_changes_no_structure(client, database, plain, text):  # noqa: F811
    nothing = outline(client.get("/?q=zzz", headers=HTML).text)
    answer = client.get("/", params={"q": text[:250]}, headers=HTML)
    assert answer.status_code == 200
    assert outline(answer.text) == nothing


def test_nul_is_refused_before_it_reaches_the_database(client):  # noqa: F811
    for path in ("/?q=a%00b", "/adapters/acme/a%00b", "/bases/a%00b", "/operations/a%00b"):
        assert client.get(path, headers=HTML).status_code in (404, 422), path


def test_unseen_characters_are_written_out():
    assert visible_text("a\u202eb\x07") == "a\\u202eb\\u0007"
    assert visible_text("two\nlines\tand a tab") == "two\nlines\tand a tab"
    assert visible_text("x" * 5_000).endswith("… (5,000 characters)")
    assert visible_text("Grüße, 日本語, עברית") == "Grüße, 日本語, עברית"
    assert visible_text("\ud800") == "\\ud800"


def test_every_value_of_a_template_passes_the_same_gate():
    written = (
        environment()
        .from_string("{{ text }}|{{ marked }}")
        .render(text="<b>\u202e", marked=Markup("<i>ours</i>"))
    )
    assert written == "&lt;b&gt;\\u202e|<i>ours</i>"
