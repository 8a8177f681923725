"""Real tokenizers of any wanted length, saved as transformers 4 and as transformers 5 do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from tests.data.weights import Files

SPECIAL = ("<unk>", "<s>", "</s>")
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@lru_cache(maxsize=32)
def build_bpe(length: int, special: tuple[str, ...] = SPECIAL, merges: bool = False) -> str:
    """tokenizer.json of a byte-level BPE with exactly `length` tokens, the special ones first.

    Every text can be encoded: the 256 byte tokens come next, filler tokens follow.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate((*special, *alphabet))}
    pairs: list[tuple[str, str]] = []
    if length < len(vocabulary):
        raise ValueError(f"a byte-level tokenizer has at least {len(vocabulary)} tokens")
    if merges and length > len(vocabulary):
        pairs = [("a", "b")]
        vocabulary["ab"] = len(vocabulary)
    for number in range(length - len(vocabulary)):
        vocabulary[f"filler{number}"] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    return tokenizer.to_str()


@lru_cache(maxsize=32)
def build_grown_bpe(length: int, added: tuple[str, ...], special: tuple[str, ...]) -> str:
    """The same with `added` as its last tokens; those in angle brackets are special."""
    tokenizer = Tokenizer.from_str(build_bpe(length - len(added), special))
    tokenizer.add_tokens(
        [AddedToken(token, special=token.startswith("<"), normalized=False) for token in added]
    )
    return tokenizer.to_str()


def tokenizer_files(
    length: int,
    *,
    added: Sequence[str] = (),
    bos: str | None = "<s>",
    eos: str | None = "</s>",
    pad: str | None = None,
    chat_template: str | None = None,
    style: str = "transformers-5",
) -> Files:
    """The files of a tokenizer of exactly `length` tokens.

    `added` are the last tokens, on top of the base vocabulary of `length - len(added)`. A `pad`
    that is none of them stands in tokenizer_config.json alone: loading adds it, and the length
    is one more, as real adapters have it. Base ids are the same at every length.
    """
    text = build_grown_bpe(length, tuple(added), SPECIAL)
    config: dict[str, object] = {"model_max_length": 4096}
    config |= {
        key: token
        for key, token in (("bos_token", bos), ("eos_token", eos), ("pad_token", pad))
        if token
    }
    if style == "transformers-5":
        return _transformers_5(text, config, chat_template)
    if style == "transformers-4":
        return _transformers_4(text, config, chat_template)
    raise ValueError(style)


def _transformers_5(text: str, config: dict[str, object], template: str | None) -> Files:
    files: Files = {"tokenizer.json": text}
    if template:
        files["chat_template.jinja"] = template
    config |= {"backend": "tokenizers", "tokenizer_class": "TokenizersBackend"}
    return {**files, "tokenizer_config.json": _json(config)}


def _transformers_4(text: str, config: dict[str, object], template: str | None) -> Files:
    """With added_tokens_decoder, special_tokens_map.json and the template inside the config."""
    fields = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    decoder = {
        str(token["id"]): {field: token[field] for field in fields}
        for token in json.loads(text)["added_tokens"]
    }
    special = {key: config[key] for key in config if key.endswith("_token")}
    config |= {
        "add_prefix_space": False,
        "added_tokens_decoder": decoder,
        "clean_up_tokenization_spaces": False,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    if template:
        config["chat_template"] = template
    return {
        "tokenizer.json": text,
        "tokenizer_config.json": _json(config),
        "special_tokens_map.json": _json(special),
    }


def slow_tokenizer_files(vocabulary: int, added: Sequence[str]) -> Files:
    """vocab.json, merges.txt and added_tokens.json without a tokenizer.json, as older Qwen2
    adapters have them: `vocabulary` tokens, then `added`."""
    document = json.loads(build_bpe(vocabulary, (), merges=True))
    tokens = {token: vocabulary + i for i, token in enumerate(added)}
    decoder = {
        str(number): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": True,
        }
        for token, number in tokens.items()
    }
    config = {
        "add_prefix_space": False,
        "added_tokens_decoder": decoder,
        "eos_token": added[0],
        "model_max_length": 32768,
        "pad_token": added[0],
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    return {
        "vocab.json": json.dumps(document["model"]["vocab"], ensure_ascii=False),
        "merges.txt": "#version: 0.2\na b\n",
        "added_tokens.json": _json(tokens),
        "special_tokens_map.json": _json({"eos_token": added[0], "pad_token": added[0]}),
        "tokenizer_config.json": _json(config),
    }


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
