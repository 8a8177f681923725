"""Tokens are made, listed and revoked on the database's machine, and shown once."""

import json


def create(loadplan, *more, name="ci"):
    return loadplan("token", "create", "--name", name, "--scope", "scan", *more)


def test_the_token_alone_is_on_stdout(loadplan):
    done = create(loadplan)
    token = done.out.strip()
    assert (done.exit_code, done.out) == (0, f"{token}\n")
    assert token.startswith("lp_")
    assert token not in done.err
    assert "90 days" in done.err


def test_a_token_is_listed_by_name_and_never_shown_again(loadplan):
    token = create(loadplan, "--scope", "prove", "--days", "7", "--sees", "acme/*").out.strip()
    listed = loadplan("token", "list", "--json")
    (row,) = json.loads(listed.out)
    assert (row["name"], row["scopes"], row["sees"]) == ("ci", ["prove", "scan"], ["acme/*"])
    assert token not in listed.out
    table = loadplan("token", "list")
    assert "ci" in table.out
    assert "valid" in table.out


def test_a_name_is_used_once(loadplan):
    create(loadplan)
    again = create(loadplan)
    assert (again.exit_code, again.out) == (2, "")


def test_a_revoked_token_is_revoked_once(loadplan):
    create(loadplan)
    assert loadplan("token", "revoke", "ci").exit_code == 0
    assert loadplan("token", "revoke", "ci").exit_code == 3
    assert loadplan("token", "revoke", "nobody").exit_code == 3
    assert json.loads(loadplan("token", "list", "--json").out)[0]["revoked_at"]


def test_an_unknown_scope_is_a_usage_error(loadplan):
    done = loadplan("token", "create", "--name", "x", "--scope", "everything")
    assert (done.exit_code, done.out) == (2, "")
    assert "scan" in done.err


def test_without_tokens_the_list_says_how_to_make_one(loadplan):
    done = loadplan("token", "list")
    assert (done.exit_code, done.out) == (0, "")
    assert "loadplan token create" in done.err
