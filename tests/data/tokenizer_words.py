"""Tokenizers of a few whole words, for bases with fewer rows than there are bytes."""

from __future__ import annotations

import json

from tests.data.weights import Files


def words(length: int, *, pad: bool = False) -> Files:
    """The files of a tokenizer of exactly `length` tokens; with `pad` the last one is padding that
    was added to it."""
    own = length - 1 if pad else length
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"word{i}": i for i in range(3, own)}}
    listed = [(0, "<unk>"), (1, "<s>"), (2, "</s>"), *([(own, "<pad>")] if pad else [])]
    added = [
        {
            "id": number,
            "content": content,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for number, content in listed
    ]
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }
    config = {
        "backend": "tokenizers",
        "tokenizer_class": "TokenizersBackend",
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        **({"pad_token": "<pad>"} if pad else {}),
    }
    return {"tokenizer.json": json.dumps(document), "tokenizer_config.json": json.dumps(config)}
