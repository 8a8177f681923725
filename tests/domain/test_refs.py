"""References as people write them, with the Hub's own client as the judge of repository ids."""

import pytest
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from hypothesis import example, given
from hypothesis import strategies as st

from registry.domain.refs import (
    CheckpointRef,
    CommitSha,
    Digest,
    Reference,
    RepoId,
    Source,
    is_commit_sha,
    is_digest,
    is_repo_id,
    looks_local,
    make_reference,
    parse_reference,
    shown,
)
from registry.errors import InvalidReference

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("gpt2", Reference("gpt2")),
        ("acme/chat-lora", Reference("acme/chat-lora")),
        ("acme/chat-lora@main", Reference("acme/chat-lora", "main")),
        (f"acme/chat-lora@{SHA}", Reference("acme/chat-lora", SHA)),
        ("acme/chat-lora@refs/pr/3", Reference("acme/chat-lora", "refs/pr/3")),
        ("acme/chat-lora:a/b", Reference("acme/chat-lora", None, "a/b")),
        ("acme/chat-lora@dev:a/b", Reference("acme/chat-lora", "dev", "a/b")),
        ("acme/chat-lora@v1@2:a:b", Reference("acme/chat-lora", "v1@2", "a:b")),
        ("acme/chat-lora:a@b", None),
        ("acme/chat_lora.v1", Reference("acme/chat_lora.v1")),
    ],
)
def test_a_reference_splits_at_the_first_at_sign_then_at_the_first_colon(text, reference):
    if reference is None:
        with pytest.raises(InvalidReference):
            parse_reference(text)
    else:
        assert parse_reference(text) == reference
        assert str(reference) == text


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("./adapter", Reference("./adapter", source=Source.LOCAL)),
        ("../adapter:sub", Reference("../adapter", None, "sub", Source.LOCAL)),
        ("/data/adapter@1", Reference("/data/adapter@1", source=Source.LOCAL)),
        (".", Reference(".", source=Source.LOCAL)),
    ],
)
def test_a_path_is_a_local_folder_for_the_command_line_alone(text, reference):
    assert looks_local(text)
    assert parse_reference(text, allow_local=True) == reference
    with pytest.raises(InvalidReference):
        parse_reference(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "@", ":", "a/b/c", "acme/", "/acme", "acme//x", "acme/..", "acme/a--b", "acme/x.git"),
        *("acme/x@", "acme/x@:sub", "acme/x@a b", "acme/x@../../etc", "acme/x@-rf", "acme/x@a\n"),
        *("acme/x@a^b", "acme/x@a?b", "acme/x@a*b", "acme/x@a[b", "acme/x@/a", "acme/x@a/"),
        *("acme/x@a.lock", "acme/x:..", "acme/x:a/../b", "acme/x:/a", "acme/x:a//b", "acme/x:a\\b"),
        *(
            "acme/x:a\0",
            "acme/x y",
            "acme/é",
            "acme/x%2F",
            "https://example.org/acme/x",
            "~/adapter",
        ),
        "acme/" + "x" * 97,
        "acme/x@" + "r" * 256,
        "acme/x:" + "s" * 256,
    ],
)
def test_anything_else_is_an_invalid_reference(text):
    with pytest.raises(InvalidReference):
        parse_reference(text)


def test_each_part_of_an_id_may_have_96_characters():
    assert is_repo_id("a" * 96 + "/" + "b" * 96)
    validate_repo_id("a" * 96 + "/" + "b" * 96)
    assert not is_repo_id("b" * 97)


def test_separate_fields_are_checked_and_named():
    assert make_reference("acme/x", "dev", "a/b") == Reference("acme/x", "dev", "a/b")
    for fields, name in [
        (("a/b/c",), "repo_id"),
        (("acme/x", "a b"), "revision"),
        (("acme/x", None, "../a"), "subfolder"),
    ]:
        with pytest.raises(InvalidReference) as refusal:
            make_reference(*fields)
        assert refusal.value.fields["field"] == name


@given(st.text(alphabet="ab-_./AZ09é ", max_size=12) | st.text(max_size=8))
@example("a.git")
@example("a--b")
@example("a/b-")
def test_no_id_is_accepted_that_the_hub_s_client_refuses(text):
    assert not is_repo_id(text) or is_taken_by_the_client(text)


@given(
    st.from_regex(
        r"[A-Za-z0-9]{1,5}(/[A-Za-z0-9]([A-Za-z0-9._-]{0,6}[A-Za-z0-9])?)?", fullmatch=True
    )
)
def test_ids_of_ordinary_letters_are_accepted_as_the_hub_s_client_does(text):
    assert is_repo_id(text) == is_taken_by_the_client(text)


def is_taken_by_the_client(text: str) -> bool:
    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return True


@given(st.text(max_size=40), st.booleans())
def test_no_text_raises_anything_but_an_invalid_reference(text, allow_local):
    try:
        reference = parse_reference(text, allow_local=allow_local)
    except InvalidReference:
        return
    assert str(reference) == text.rstrip(":")


def test_commits_and_digests_are_lower_case_hex_of_their_length():
    assert is_commit_sha(SHA)
    assert not is_commit_sha(SHA.upper())
    assert not is_commit_sha(SHA[:-1])
    assert not is_commit_sha(SHA + "\n")
    assert is_digest("sha256:" + "0" * 64)
    assert not is_digest("0" * 64)


def test_a_checkpoint_keeps_where_it_was_found_when_its_digest_is_known():
    found = CheckpointRef(Source.HUB, RepoId("acme/x"), "main", CommitSha(SHA), None)
    digest = Digest("sha256:" + "0" * 64)
    assert found.with_digest(digest).digest == digest
    assert found.with_digest(digest).commit_sha == SHA
    assert found.digest is None


def test_untrusted_text_is_shown_on_one_line_and_cut():
    assert shown("a\nb\x1b[31m") == "'a\\nb\\x1b[31m'"
    assert len(shown("x" * 1000)) < 140
    assert shown("é\u202e").isascii()
