"""The Hub's webhook body: what it tells, whatever else it holds."""

import copy

import pytest

from registry.domain.hub_events import Change, HubChange, parse_hub_event, revision_of
from registry.errors import InvalidRequest
from tests.watching.conftest import event, push

NEW, OTHER = "1" * 40, "2" * 40


def only(body):
    (change,) = parse_hub_event(body)
    return change


def test_a_push_is_told_by_repository_ref_and_new_commit():
    body = push("acme/lora", NEW)
    body["updatedRefs"][0]["oldSha"] = OTHER
    assert only(body) == HubChange(
        Change.UPDATED,
        "acme/lora",
        "refs/heads/main",
        NEW,
        OTHER,
        private=False,
        tags=frozenset({"peft"}),
    )


def test_each_branch_and_tag_of_a_push_is_a_change_and_pull_requests_are_none():
    body = event(
        "acme/lora",
        ("refs/heads/main", NEW),
        ("refs/heads/v2", OTHER),
        ("refs/tags/1.0", OTHER),
        ("refs/pr/3", NEW),
        ("refs/pr/4/merge", NEW),
    )
    changes = parse_hub_event(body)
    assert [change.ref for change in changes] == [
        "refs/heads/main",
        "refs/heads/v2",
        "refs/tags/1.0",
    ]
    assert [revision_of(change.ref) for change in changes] == ["main", "v2", "1.0"]


def test_a_deleted_branch_and_entries_that_are_nothing_are_passed_over():
    body = event("acme/lora")
    body["updatedRefs"] = [
        {"ref": "refs/heads/old", "oldSha": NEW, "newSha": None},
        {"ref": "refs/heads/short", "newSha": "abc"},
        {"ref": 7, "newSha": NEW},
        {"ref": "refs/heads/" + "x" * 300, "newSha": NEW},
        {"newSha": NEW},
        "refs/heads/main",
        None,
    ]
    assert parse_hub_event(body) == ()


def test_unknown_fields_actions_and_versions_are_no_reason_to_refuse():
    body = push("acme/lora", NEW)
    body["event"]["extra"] = body["repo"]["extra"] = body["extra"] = {"deep": [1, None]}
    body["webhook"]["version"] = 4
    body["event"]["action"] = "replace"
    body["event"]["scope"] = "repo.content.files"
    assert only(body).new_sha == NEW
    del body["webhook"]
    assert only(body).new_sha == NEW


def test_the_head_is_used_where_no_refs_are_told():
    body = event("acme/lora", scope="repo", action="create")
    body["repo"]["headSha"] = NEW
    assert (only(body).ref, only(body).new_sha) == ("refs/heads/main", NEW)
    body["repo"]["headSha"] = None
    assert parse_hub_event(body) == ()


def test_moved_deleted_and_visibility_are_told_apart():
    moved = event("acme/lora", scope="repo", action="move", movedTo={"name": "corp/lora"})
    assert (only(moved).change, only(moved).moved_to) == (Change.MOVED, "corp/lora")
    gone = event("acme/lora", scope="repo", action="delete")
    assert only(gone).change is Change.DELETED
    for private in (True, False):
        told = event("acme/lora", scope="repo.config", updatedConfig={"private": private})
        assert (only(told).change, only(told).private) == (Change.VISIBILITY, private)
    other = event("acme/lora", scope="repo.config", updatedConfig={"gated": "auto"})
    assert parse_hub_event(other) == ()


@pytest.mark.parametrize("moved_to", [None, {}, {"name": "../x"}, {"name": "acme/lora"}, 7])
def test_a_move_to_nowhere_is_no_move(moved_to):
    body = event("acme/lora", scope="repo", action="move", movedTo=moved_to)
    assert parse_hub_event(body) == ()


@pytest.mark.parametrize("kind", ["dataset", "space", "bucket", "kernel", "new-thing"])
def test_other_kinds_of_repositories_are_no_business_of_ours(kind):
    body = push("acme/lora", NEW)
    body["repo"]["type"] = kind
    assert parse_hub_event(body) == ()


@pytest.mark.parametrize("scope", ["discussion", "discussion.comment", "repository", "new"])
def test_other_scopes_are_no_business_of_ours(scope):
    assert parse_hub_event(push("acme/lora", NEW, scope=scope)) == ()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("event",), None),
        (("event",), []),
        (("event", "action"), 1),
        (("event", "scope"), None),
        (("repo",), "acme/lora"),
        (("repo", "type"), None),
        (("repo", "name"), 3),
        (("repo", "name"), "../etc"),
        (("repo", "name"), "a/b/c"),
        (("repo", "name"), "acme/x\0"),
    ],
)
def test_what_is_no_event_is_refused_with_the_field(path, value):
    body = copy.deepcopy(push("acme/lora", NEW))
    target = body
    for name in path[:-1]:
        target = target[name]
    target[path[-1]] = value
    with pytest.raises(InvalidRequest) as refused:
        parse_hub_event(body)
    assert refused.value.fields["field"] == ".".join(path)


@pytest.mark.parametrize("body", [None, [], "x", 3, {}])
def test_a_body_that_is_no_object_is_refused(body):
    with pytest.raises(InvalidRequest):
        parse_hub_event(body)


def test_members_of_odd_types_never_raise_anything_else():
    odd = [None, True, 7, 1.5, "x", [], {}, [None], {"name": None}]
    for value in odd:
        for name in ("updatedRefs", "updatedConfig", "movedTo"):
            for scope, action in (
                ("repo", "move"),
                ("repo", "delete"),
                ("repo.config", "update"),
                ("repo.content", "update"),
            ):
                body = event("acme/lora", scope=scope, action=action)
                body[name] = value
                body["repo"]["tags"] = body["repo"]["private"] = value
                body["repo"]["headSha"] = value
                assert isinstance(parse_hub_event(body), tuple)
