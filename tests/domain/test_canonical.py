"""Canonical JSON against the reference implementation of RFC 8785."""

import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from registry.domain.canonical import canonical_json, sha256_digest

_texts = st.text(st.characters(exclude_categories=["Cs"]))
_scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | _texts
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner) | st.dictionaries(_texts, inner), max_leaves=20
)


@given(_values)
def test_bytes_equal_those_of_the_rfc8785_package(value):
    assert canonical_json(value) == rfc8785.dumps(value)


@given(_values)
def test_the_bytes_read_back_as_the_value(value):
    assert json.loads(canonical_json(value)) == value


def test_keys_sort_by_utf16_code_units_and_not_by_code_points():
    # U+1F600 is a surrogate pair (D83D …) and comes before U+FB33 only in UTF-16.
    assert list(json.loads(canonical_json({"\ufb33": 1, "\U0001f600": 2}))) == [
        "\U0001f600",
        "\ufb33",
    ]


def test_tuples_and_lists_are_one_array():
    assert canonical_json((1, ("a",))) == canonical_json([1, ["a"]]) == b'[1,["a"]]'


@pytest.mark.parametrize("value", [1.5, {1: 2}, {"a": b"x"}, bytearray(b"x"), {1, 2}, object()])
def test_a_type_without_canonical_form_is_a_type_error(value):
    with pytest.raises(TypeError):
        canonical_json(value)


@pytest.mark.parametrize("value", [2**53, -(2**53), "\ud800", {"\ud800": 1}])
def test_a_value_without_canonical_form_is_a_value_error(value):
    with pytest.raises(ValueError):
        canonical_json(value)


def test_a_digest_names_its_algorithm():
    assert sha256_digest(b"") == (
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
