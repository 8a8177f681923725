"""The tokens of a tokenizer's model, and what tokenizer.json itself adds to them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

TOKENIZER_JSON = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS_MAP = "special_tokens_map.json"
ADDED_TOKENS = "added_tokens.json"
VOCAB_JSON = "vocab.json"
VOCAB_TXT = "vocab.txt"
# Vocabularies that take a library to read: SentencePiece models and Mistral's own format.
OPAQUE_FILES = (
    *("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "spm.model"),
    *("source.spm", "target.spm", "tokenizer.model.v3", "tekken.json"),
)

# The largest real vocabularies have 262,144 tokens.
MAX_TOKENS = 4_000_000


class TokenizerUnreadable(Exception):
    """Why the files cannot tell. Stays inside the domain: it becomes a `reason`."""


@dataclass(frozen=True)
class AddedToken:
    """A token beyond the base vocabulary: `id` is None when the files do not settle it."""

    id: int | None
    content: str
    special: bool


@dataclass(frozen=True)
class Vocabulary:
    """The model's own tokens and what tokenizer.json adds to them, in its order."""

    ids: Mapping[str, int]
    added: tuple[AddedToken, ...] = ()
    pad_token: str | None = None
    byte_level: bool = False


def read_vocabulary(files: Mapping[str, bytes]) -> Vocabulary:
    if TOKENIZER_JSON in files:
        return _read_tokenizer_json(read_object(files, TOKENIZER_JSON))
    if VOCAB_JSON in files:
        return Vocabulary(read_ids(read_object(files, VOCAB_JSON), VOCAB_JSON))
    if VOCAB_TXT in files:
        return Vocabulary(_read_lines(files[VOCAB_TXT]))
    name = next(name for name in OPAQUE_FILES if name in files)
    raise TokenizerUnreadable(
        f"the vocabulary is in {name} alone, which takes its own library to read"
    )


def _read_tokenizer_json(document: dict[str, object]) -> Vocabulary:
    model = document.get("model")
    if not isinstance(model, dict):
        raise TokenizerUnreadable(f"{TOKENIZER_JSON} has no model")
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, list):
        ids = _unigram(vocabulary)
    elif isinstance(vocabulary, dict):
        ids = read_ids(vocabulary, TOKENIZER_JSON)
    else:
        raise TokenizerUnreadable(f"{TOKENIZER_JSON} has no vocabulary")
    padding = document.get("padding")
    pad_token = padding.get("pad_token") if isinstance(padding, dict) else None
    added = tuple(_serialised(document.get("added_tokens") or []))
    return Vocabulary(
        ids=ids,
        added=added,
        pad_token=pad_token if isinstance(pad_token, str) else None,
        byte_level=any(_is_byte_level(document.get(key)) for key in ("pre_tokenizer", "decoder")),
    )


def _is_byte_level(step: object) -> bool:
    """Whether a step, or one of a sequence of steps, works on bytes."""
    if not isinstance(step, dict):
        return False
    inner = [item for key in ("pretokenizers", "decoders") for item in list_of(step.get(key))]
    kinds = [item.get("type") for item in (step, *inner) if isinstance(item, dict)]
    return "ByteLevel" in kinds


def _unigram(entries: list[object]) -> dict[str, int]:
    """`[token, score]` per line; the id is the position, the last one of a token that recurs."""
    ids: dict[str, int] = {}
    for position, entry in enumerate(entries):
        if not isinstance(entry, list) or not entry or not isinstance(entry[0], str):
            raise TokenizerUnreadable(f"{TOKENIZER_JSON} has a vocabulary entry that is no token")
        ids[entry[0]] = position
    return ids


def read_ids(vocabulary: dict[str, object], name: str) -> dict[str, int]:
    if len(vocabulary) > MAX_TOKENS:
        raise TokenizerUnreadable(f"{name} has more than {MAX_TOKENS} tokens")
    for value in vocabulary.values():
        if type(value) is not int or not 0 <= value < 2**32:
            raise TokenizerUnreadable(f"{name} has a token whose id is no whole number of 32 bits")
    return vocabulary  # type: ignore[return-value]  # the loop above has looked at each value


def _read_lines(data: bytes) -> dict[str, int]:
    """One token per line, as Python's text files have lines; the id is the line's number."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TokenizerUnreadable(f"{VOCAB_TXT} is not UTF-8") from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if lines[-1] == "":
        lines.pop()
    return {token: number for number, token in enumerate(lines)}


def _serialised(entries: object) -> Iterator[AddedToken]:
    if not isinstance(entries, list):
        raise TokenizerUnreadable("the added tokens are not a list")
    known = [entry for entry in entries if isinstance(entry, dict)]
    for entry in sorted(known, key=_claimed_id):
        content = entry.get("content")
        if not isinstance(content, str):
            raise TokenizerUnreadable("an added token has no text")
        yield AddedToken(None, content, entry.get("special") is True)


def _claimed_id(entry: dict[str, object]) -> int:
    value = entry.get("id")
    return value if isinstance(value, int) else 0


def read_object(files: Mapping[str, bytes], name: str) -> dict[str, object]:
    try:
        document = json.loads(files[name].decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise TokenizerUnreadable(f"{name} is not JSON") from error
    if not isinstance(document, dict):
        raise TokenizerUnreadable(f"{name} does not hold a JSON object")
    return document


def list_of(value: object) -> list[object]:
    return value if isinstance(value, list) else []
