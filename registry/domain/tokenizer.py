"""Tokenizer length and largest id from tokenizer files, without transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class AddedToken:
    """A token beyond the base vocabulary: `id` is None when the files do not settle it."""

    id: int | None
    content: str
    special: bool


@dataclass(frozen=True)
class TokenizerFacts:
    """What the tokenizer files of one checkpoint say.

    `length` is `len(tokenizer)`; `largest_id` another number (holes). Both are None with a
    `reason` when the files cannot tell (SentencePiece alone, remote code, unreadable).
    `content_id` is a digest over the files' content ids; equal content is read once.
    `special_tokens` maps `pad_token`, `eos_token`, … to their text.
    `added_tokens` is sorted by id and capped; enough to say who fills rows beyond the base's.
    """

    content_id: str
    length: int | None
    largest_id: int | None
    base_vocabulary_size: int | None
    added_tokens: tuple[AddedToken, ...]
    special_tokens: Mapping[str, str]
    chat_template: str | None
    reason: str | None = None


def parse_tokenizer(files: Mapping[str, bytes], content_id: str) -> TokenizerFacts | None:
    """From file name -> content (tokenizer.json, tokenizer_config.json, special_tokens_map.json,
    added_tokens.json, vocab.json, vocab.txt, chat_template.jinja; whatever is there).

    None when the files hold no tokenizer (special_tokens_map.json or tokenizer_config.json alone).
    Unreadable files give facts with `length=None` and a `reason`; nothing is raised.
    """
