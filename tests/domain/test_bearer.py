"""The text of an access token and what its operator may write beside it."""

from __future__ import annotations

import random

import pytest

from registry.domain import bearer
from registry.errors import InvalidRequest

PICK = random.Random(1).choice


def test_the_check_characters_catch_a_typing_error():
    token = bearer.make_token(PICK)
    assert bearer.is_well_formed(token)
    for place in range(3, len(token)):
        other = "a" if token[place] != "a" else "b"
        assert not bearer.is_well_formed(token[:place] + other + token[place + 1 :])


@pytest.mark.parametrize("text", ["", "lp_", "lp_" + "0" * 36, "hf_" + "0" * 36, "x" * 39])
def test_what_is_no_token_is_not_well_formed(text):
    assert not bearer.is_well_formed(text)


def test_a_hash_tells_nothing_and_differs_with_the_token():
    one, two = bearer.make_token(PICK), bearer.make_token(PICK)
    assert bearer.hash_token(one) != bearer.hash_token(two)
    assert one[3:10] not in bearer.hash_token(one)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 65, " leading", "<b>"])
def test_a_name_that_hides_something_is_refused(name):
    with pytest.raises(InvalidRequest):
        bearer.checked_name(name)


@pytest.mark.parametrize("scopes", [(), ("root",), ("scan", "root")])
def test_an_unknown_scope_is_refused(scopes):
    with pytest.raises(InvalidRequest):
        bearer.checked_scopes(scopes)


def test_scopes_and_patterns_are_sorted_and_said_once():
    assert bearer.checked_scopes(["scan", "prove", "scan"]) == ("prove", "scan")
    assert bearer.checked_patterns(["acme/*", "*", "acme/x"]) == ("*", "acme/*", "acme/x")


@pytest.mark.parametrize("pattern", ["acme", "../x", "*/x", "acme/**", "a b/c"])
def test_a_pattern_that_names_nothing_is_refused(pattern):
    with pytest.raises(InvalidRequest):
        bearer.checked_patterns([pattern])
