"""Tokenizer length and largest id from tokenizer files, without transformers.

`len(tokenizer)` is the number of distinct tokens: the vocabulary of the model, and every token
that the files add to it. Which those are follows `_from_pretrained` of transformers 5.23
(tokenization_utils_base.py); the tests compare with `len(AutoTokenizer.from_pretrained(folder))`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from registry.domain.tokenizer_defaults import CLASS_MARKERS, CLASS_TOKENS, SENTINEL_CLASSES
from registry.domain.vocabulary import (
    ADDED_TOKENS,
    MAX_TOKENS,
    OPAQUE_FILES,
    SPECIAL_TOKENS_MAP,
    TOKENIZER_CONFIG,
    TOKENIZER_JSON,
    VOCAB_JSON,
    VOCAB_TXT,
    TokenizerUnreadable,
    Vocabulary,
    list_of,
    read_ids,
    read_object,
    read_vocabulary,
)
from registry.domain.vocabulary import (
    AddedToken as AddedToken,
)

CHAT_TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")

MAX_ADDED_TOKENS = 10_000
MAX_TEMPLATE_CHARACTERS = 500_000
_STANDARD_TOKENS = (
    *("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"),
)
_SUFFIX = "_token"


@dataclass(frozen=True)
class TokenizerFacts:
    """What the tokenizer files of one checkpoint say.

    `length` is `len(tokenizer)`; `largest_id` another number (holes). Both are None with a
    `reason` when the files cannot tell (SentencePiece alone, remote code, unreadable).
    `content_id` is a digest over the files' content ids; equal content is read once.
    `special_tokens` maps `pad_token`, `eos_token`, … to their text.
    `added_tokens` is sorted by id and capped; enough to say who fills rows beyond the base's.
    Text is kept as databases take it: NUL and lone surrogates are replaced by visible signs.
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
    if not files.keys() & {TOKENIZER_JSON, VOCAB_JSON, VOCAB_TXT, *OPAQUE_FILES}:
        return None
    try:
        return _parse(files, content_id)
    except TokenizerUnreadable as error:
        return _unknown(content_id, str(error))


def _parse(files: Mapping[str, bytes], content_id: str) -> TokenizerFacts:
    config = _settings(files)
    if _needs_remote_code(config):
        raise TokenizerUnreadable("the tokenizer is built by code of the repository")
    vocabulary = read_vocabulary(files)
    named, extra = _special_tokens(config, vocabulary)
    tokens = _Tokens(vocabulary.ids, special=frozenset((*named.values(), *extra)))
    tokens.add_all(vocabulary.added)
    tokens.add_all(_decoder_tokens(config, files))
    tokens.add_all(AddedToken(None, text, True) for text in (*named.values(), *extra))
    _check_class(config, tokens)
    return TokenizerFacts(
        content_id=content_id,
        length=tokens.count,
        largest_id=tokens.largest_id,
        base_vocabulary_size=len(vocabulary.ids),
        added_tokens=tuple(tokens.added[:MAX_ADDED_TOKENS]),
        special_tokens={name: _storable(text) for name, text in sorted(named.items())},
        chat_template=_chat_template(files, config),
    )


def _unknown(content_id: str, reason: str) -> TokenizerFacts:
    return TokenizerFacts(content_id, None, None, None, (), {}, None, reason)


class _Tokens:
    """Counts distinct tokens and gives new ones their ids, as the library `tokenizers` does.

    A new token gets the number after the largest id that was added, or the size of the model's
    vocabulary, whichever is larger; the id that a file claims for it is not asked.
    """

    def __init__(self, vocabulary: Mapping[str, int], special: frozenset[str]) -> None:
        self._vocabulary = vocabulary
        self._special = special
        self._seen: set[str] = set()
        self._next = len(vocabulary)
        self.largest_id = max(vocabulary.values(), default=None)
        self.added: list[AddedToken] = []

    @property
    def count(self) -> int:
        return len(self._vocabulary) + len(self.added)

    def holds(self, token: str) -> bool:
        return token in self._vocabulary or token in self._seen

    def add_all(self, tokens: Iterable[AddedToken]) -> None:
        for token in tokens:
            if not token.content or token.content in self._seen:
                continue
            self._seen.add(token.content)
            known = self._vocabulary.get(token.content)
            if known is not None:
                self._next = max(self._next, known + 1)
                continue
            if self.count >= MAX_TOKENS:
                raise TokenizerUnreadable(f"the tokenizer has more than {MAX_TOKENS} tokens")
            special = token.special or token.content in self._special
            self.added.append(AddedToken(self._next, _storable(token.content), special))
            self.largest_id = max(self._next, self.largest_id or 0)
            self._next += 1


# --- tokens that the settings add --------------------------------------------------------------


def _settings(files: Mapping[str, bytes]) -> dict[str, object]:
    """tokenizer_config.json, and without an `added_tokens_decoder` in it the older
    special_tokens_map.json on top, whose values win."""
    config = read_object(files, TOKENIZER_CONFIG) if TOKENIZER_CONFIG in files else {}
    if config.get("additional_special_tokens") and not config.get("extra_special_tokens"):
        config["extra_special_tokens"] = config.pop("additional_special_tokens")
    if "added_tokens_decoder" in config or SPECIAL_TOKENS_MAP not in files:
        return config
    extra = config.get("extra_special_tokens")
    for key, value in read_object(files, SPECIAL_TOKENS_MAP).items():
        if key == "extra_special_tokens" and isinstance(value, list):
            value = [*list_of(extra), *value]
        config[key] = value
    if config.get("additional_special_tokens") and "extra_special_tokens" not in config:
        config["extra_special_tokens"] = config.pop("additional_special_tokens")
    return config


def _needs_remote_code(config: Mapping[str, object]) -> bool:
    mapping = config.get("auto_map")
    if isinstance(mapping, dict):
        return bool(mapping.get("AutoTokenizer"))
    return bool(mapping)


def _special_tokens(
    config: Mapping[str, object], vocabulary: Vocabulary
) -> tuple[dict[str, str], list[str]]:
    """Named tokens (`pad_token` and whatever else ends so) and the unnamed ones.

    What the file leaves out the class may have; what it sets to null stays unset.
    """
    defaults = _class_tokens(config, vocabulary)
    named = {name: text for name, text in defaults.items() if name not in config}
    named |= {
        key: text
        for key, value in config.items()
        if key.endswith(_SUFFIX) and (text := _content(value)) is not None
    }
    if vocabulary.pad_token is not None and "pad_token" not in config:
        named["pad_token"] = vocabulary.pad_token
    extra = config.get("extra_special_tokens")
    if isinstance(extra, dict):
        pairs = ((key, _content(value)) for key, value in extra.items())
        named |= {key: text for key, text in pairs if text is not None and key not in named}
        # The dictionary counts as named tokens; the old list then stands for the unnamed ones.
        extra = config.get("additional_special_tokens")
    # New tokens get their ids in this order.
    named = {name: named[name] for name in (*_STANDARD_TOKENS, *named) if name in named}
    unnamed = [text for value in list_of(extra) if (text := _content(value)) is not None]
    return named, unnamed or _sentinels(config)


def _check_class(config: Mapping[str, object], tokens: _Tokens) -> None:
    """Classes that add a list of their own (language codes, …) must find it in the files."""
    marker = CLASS_MARKERS.get(_class_name(config))
    if marker is not None and not tokens.holds(marker):
        raise TokenizerUnreadable(
            f"{_class_name(config)} adds tokens of its own that the files do not list"
        )


def _class_name(config: Mapping[str, object]) -> str:
    name = config.get("tokenizer_class")
    return name.removesuffix("Fast") if isinstance(name, str) else ""


def _sentinels(config: Mapping[str, object]) -> list[str]:
    """T5's `<extra_id_0>` to `<extra_id_99>`, which its class adds unless told of others."""
    if _class_name(config) not in SENTINEL_CLASSES:
        return []
    count = config.get("extra_ids", 100)
    count = count if type(count) is int and 0 <= count <= MAX_ADDED_TOKENS else 0
    return [f"<extra_id_{number}>" for number in range(count)]


def _class_tokens(config: Mapping[str, object], vocabulary: Vocabulary) -> Mapping[str, str]:
    name = _class_name(config)
    # LlamaTokenizer over bytes is loaded as the plain backend, which has no tokens of its own.
    if name == "LlamaTokenizer" and vocabulary.byte_level:
        return {}
    return CLASS_TOKENS.get(name, {})


def _content(value: object) -> str | None:
    """The text of a token, written plainly or as an object."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) and value else None


def _decoder_tokens(
    config: Mapping[str, object], files: Mapping[str, bytes]
) -> Iterator[AddedToken]:
    decoder = config.get("added_tokens_decoder")
    if decoder is not None:
        if not isinstance(decoder, dict):
            raise TokenizerUnreadable("added_tokens_decoder is not an object")
        numbered = [(_number(key), value) for key, value in decoder.items()]
        for _, value in sorted(numbered, key=lambda pair: pair[0]):
            if (text := _content(value)) is not None:
                yield AddedToken(None, text, isinstance(value, dict) and bool(value.get("special")))
        return
    if ADDED_TOKENS in files:
        ids = read_ids(read_object(files, ADDED_TOKENS), ADDED_TOKENS)
        for text in sorted(ids, key=ids.__getitem__):
            yield AddedToken(None, text, False)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise TokenizerUnreadable("added_tokens_decoder has a key that is no id")
    return int(text)


# --- text --------------------------------------------------------------------------------------


def _chat_template(files: Mapping[str, bytes], config: Mapping[str, object]) -> str | None:
    """The file wins over the config, the template named `default` over others."""
    for name in CHAT_TEMPLATE_FILES:
        if name in files and (text := _template_file(files, name)) is not None:
            return text
    value = config.get("chat_template")
    if isinstance(value, list):
        named = [entry for entry in value if isinstance(entry, dict)]
        value = {str(entry.get("name")): entry.get("template") for entry in named}
    if isinstance(value, dict):
        value = value.get("default")
    return _template(value)


def _template_file(files: Mapping[str, bytes], name: str) -> str | None:
    if name.endswith(".json"):
        return _template(read_object(files, name).get("chat_template"))
    return _template(files[name].decode("utf-8", "replace"))


def _template(value: object) -> str | None:
    if not isinstance(value, str) or len(value) > MAX_TEMPLATE_CHARACTERS:
        return None
    return _storable(value)


def _storable(text: str) -> str:
    """Text that every database takes: U+2400 for NUL, U+FFFD for a lone surrogate."""
    return (
        text.replace("\0", "\u2400").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )
