"""Digests: what changes them, what does not, and hostile configs."""

from __future__ import annotations

import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.domain.refs import is_digest
from registry.hub.digests import (
    compute_adapter_digest,
    compute_base_digest,
    compute_json_digest,
    compute_tokenizer_id,
    git_blob_oid,
)

CONFIG = {"peft_type": "LORA", "r": 8, "lora_alpha": 16.0, "target_modules": ["q", "v"]}
WEIGHTS = {"adapter_model.safetensors": "a" * 64}
TOKENIZER = {"tokenizer.json": "b" * 40}


def digest(config=CONFIG, data=b"", weights=WEIGHTS, tokenizer=TOKENIZER) -> str:
    return compute_adapter_digest(config, data, weights, tokenizer)


def test_a_digest_has_the_form_that_records_print():
    assert is_digest(digest())


def test_key_order_and_the_files_bytes_do_not_change_it():
    turned = dict(reversed(CONFIG.items()))
    assert digest(turned, b"{ }\r\n") == digest()


@pytest.mark.parametrize(
    "changed",
    [
        digest(CONFIG | {"r": 9}),
        digest(weights={"adapter_model.safetensors": "c" * 64}),
        digest(weights={"adapter_model.bin": "a" * 64}),
        digest(tokenizer={}),
        digest(None, b"{}"),
        compute_base_digest(CONFIG, b"", WEIGHTS, TOKENIZER),
    ],
)
def test_content_changes_it(changed):
    assert changed != digest()


@pytest.mark.parametrize(
    "text",
    [
        '{"r": 1e999}',
        '{"r": NaN}',
        '{"r": 123456789012345678901234567890}',
        '{"r": "\\ud800"}',
        '{"\\ud800": 1}',
        '{"r": ' + "[" * 200 + "]" * 200 + "}",
    ],
)
def test_a_config_without_canonical_form_is_digested_by_its_bytes(text):
    first = digest(json.loads(text), text.encode())
    assert is_digest(first)
    assert first == digest(json.loads(text), text.encode())
    assert first != digest(json.loads(text), text.encode() + b" ")
    assert first != digest()


def test_no_parsed_config_can_pose_as_unparsed_bytes():
    data = b"not json"
    held = digest(None, data)
    for posing in ({"config_bytes": held}, {"bytes": data.decode()}, {}):
        assert digest(posing, data) != held


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_value_has_a_digest(value):
    assert is_digest(compute_json_digest(value, b"x"))
    assert is_digest(digest({"value": value}))


def test_a_tokenizer_is_its_files_in_any_order():
    files = {"tokenizer.json": "a" * 40, "tokenizer_config.json": "b" * 40}
    assert compute_tokenizer_id(files) == compute_tokenizer_id(dict(reversed(files.items())))
    assert compute_tokenizer_id(files) != compute_tokenizer_id({"tokenizer.json": "a" * 40})


@pytest.mark.parametrize("data", [b"", b"hello\n", bytes(range(256)) * 100])
def test_a_blob_oid_is_the_one_that_git_computes(data, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(data)
    told = subprocess.run(
        ["git", "hash-object", "--no-filters", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert git_blob_oid(data) == told.stdout.strip()
