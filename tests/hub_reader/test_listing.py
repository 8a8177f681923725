"""Listing repositories: filters, pages, resuming, hostile rows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from registry.errors import HubError, HubMirrorLimited, InvalidRequest
from tests.hub import RESOLVE_ONLY, Answer, LocalHub
from tests.hub_reader.asking import adapter_files, run_reader


@pytest.fixture
def hub():
    with LocalHub() as hub:
        for number in range(7):
            hub.add_commit(
                f"{'acme' if number % 2 else 'other'}/lora-{number}",
                adapter_files(base_model_name_or_path="acme/base" if number < 3 else "gpt2"),
                date=datetime(2026, 1, 1 + number, tzinfo=UTC),
            )
        hub.add_commit("acme/whole-model", {"config.json": "{}"})
        yield hub


def listed(hub: LocalHub, **filters):
    async def use(reader):
        return [row async for row in reader.list_repositories(**filters)]

    return run_reader(hub, use)


def names(rows) -> list[str]:
    return [row.repo_id.split("-")[-1] for row in rows]


def test_adapters_come_newest_first_with_their_commits(hub):
    rows = listed(hub)
    assert names(rows) == list("6543210")
    assert rows[0].commit_sha == hub.repository("other/lora-6").head.sha
    assert rows[0].last_modified == "2026-01-07T00:00:00.000Z"


def test_author_and_base_narrow_the_list(hub):
    assert names(listed(hub, author="acme")) == list("531")
    assert names(listed(hub, base="acme/base")) == list("210")


def test_a_limit_ends_it(hub):
    assert names(listed(hub, limit=2)) == list("65")


def test_what_is_not_newer_than_since_is_left_out(hub):
    rows = listed(hub, since="2026-01-05T00:00:00.000Z")
    assert names(rows) == list("654")


def test_pages_are_followed_and_a_listing_goes_on_at_a_page(hub, monkeypatch):
    monkeypatch.setattr("registry.hub.listing._PAGE", 3)
    rows = listed(hub)
    assert names(rows) == list("6543210")
    assert len({row.page for row in rows}) == 3
    hub.log.reset()
    rest = listed(hub, page=rows[4].page)
    assert names(rest) == list("3210")
    assert hub.log.count() == 2


def test_a_row_that_comes_again_on_the_next_page_is_listed_once(hub, monkeypatch):
    monkeypatch.setattr("registry.hub.listing._PAGE", 3)

    async def use(reader):
        found = []
        async for row in reader.list_repositories():
            if len(found) == 2:
                # What is pushed meanwhile comes to the top and moves the others down.
                hub.add_commit("acme/lora-9", adapter_files())
            found.append(row)
        return found

    rows = run_reader(hub, use)
    assert len({row.repo_id for row in rows}) == len(rows)


def test_private_and_gated_are_told(hub):
    hub.set_gated("acme/lora-5")
    rows = {row.repo_id: row for row in listed(hub)}
    assert rows["acme/lora-5"].gated
    assert not rows["acme/lora-3"].gated


@pytest.mark.parametrize("body", [b'{"a": 1}', b"no json", b"[1, null, {}]"])
def test_rows_that_name_no_repository_are_no_rows(hub, body):
    hub.inject(Answer(200, {}, body), path="/api/models")
    if body.startswith(b"["):
        assert listed(hub) == []
    else:
        with pytest.raises(HubError):
            listed(hub)


def test_a_next_link_to_another_host_is_asked_of_the_endpoint(hub):
    link = '<https://evil.example/api/models?cursor=7>; rel="next"'
    hub.inject(Answer(200, {"Link": link}, b"[]"), path="/api/models", times=1)
    hub.add_token("hf_secret")
    # The local Hub gives other cursors, so it refuses this one: what counts is who was asked.
    with pytest.raises(HubError, match="Invalid cursor"):
        listed(hub)
    assert [entry.query for entry in hub.log.entries][-1] == "cursor=7"


@pytest.mark.parametrize("page", ["https://evil.example/api/models", "/api/whoami", "//x/api", ""])
def test_a_page_that_is_none_is_refused(hub, page):
    with pytest.raises(InvalidRequest):
        listed(hub, page=page)


def test_a_mirror_without_a_list_is_limited():
    with LocalHub(profile=RESOLVE_ONLY) as hub, pytest.raises(HubMirrorLimited):
        listed(hub)
