"""Tokenizer facts from files, with AutoTokenizer on the same folder as the judge."""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer
from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

from registry.domain.tokenizer import MAX_TEMPLATE_CHARACTERS, parse_tokenizer
from registry.domain.tokenizer_defaults import CLASS_MARKERS, CLASS_TOKENS, SENTINEL_CLASSES

CORPUS = Path(__file__).parents[3] / "shared" / "corpus" / "adapters"
Files = Mapping[str, bytes]
PLAIN = {"tokenizer_class": "PreTrainedTokenizerFast"}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def _model(kind: str, vocab: object, **more: object) -> dict:
    settings = {
        "BPE": {
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "merges": [],
        },
        "WordPiece": {
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
        },
        "WordLevel": {"unk_token": "[UNK]"},
        "Unigram": {"unk_id": 0, "byte_fallback": False},
    }
    return {"type": kind, **settings[kind], "vocab": vocab, **more}


def _json(model: dict, added: list[tuple[int, str, bool]] = (), **more: object) -> bytes:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": text, "special": special, **flags}
            for number, text, special in added
        ],
        "normalizer": None,
        "pre_tokenizer": BYTES,
        "post_processor": None,
        "decoder": None,
        "model": model,
    }
    return json.dumps({**document, **more}).encode()


BPE = _model("BPE", {f"t{number}": number for number in range(50)})
HOLES = _model("BPE", {f"t{number}": 2 * number for number in range(50)})
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##c"]
PIECES = _model("WordPiece", {word: number for number, word in enumerate(WORDS)})
UNIGRAM = _model(
    "Unigram", [["<unk>", 0.0], ["<s>", 0.0], ["</s>", 0.0], ["\u2581a", -1.0], ["b", -2.0]]
)
SPACES = {
    "pre_tokenizer": {
        "type": "Metaspace",
        "replacement": "\u2581",
        "prepend_scheme": "always",
        "split": True,
    }
}
LLAMA = _json(
    _model("BPE", {"<unk>": 0, "<s>": 1, "</s>": 2, "\u2581": 3, "a": 4}, unk_token="<unk>"),
    pre_tokenizer=None,
)
LETTERS = {"vocab.json": json.dumps({chr(97 + at): at for at in range(10)}).encode()}
MERGES = {"merges.txt": b"#version: 0.2\n"}
LINES = "\n".join(WORDS).encode() + b"\n"


def _token(text: str, **more: object) -> dict:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {"content": text, **flags, **more}


def _named(text: str) -> dict:
    return _token(text, __type="AddedToken")


DECODER = {"50": _token("<p>", special=True), "60": _token("<q>", special=False)}
PADDING = {
    "strategy": "BatchLongest",
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "[P]",
}


def _files(vocabulary: object, config: dict | None = None, **beside: object) -> dict[str, bytes]:
    """`special_tokens_map=…` and so on stand for the JSON files of that name."""
    files = dict(vocabulary) if isinstance(vocabulary, dict) else {"tokenizer.json": vocabulary}
    settings = {**PLAIN, **(config or {})}
    files["tokenizer_config.json"] = json.dumps(settings).encode()
    for name, value in beside.items():
        files[f"{name}.json"] = json.dumps(value).encode()
    return files


def _classed(vocabulary: object, name: str, **config: object) -> dict[str, bytes]:
    return _files(vocabulary, {"tokenizer_class": name, **config})


SENTINELS = [f"<extra_id_{number}>" for number in range(100)]
VARIANTS: dict[str, Files] = {
    "BPE": _files(_json(BPE)),
    "added tokens": _files(_json(BPE, [(50, "<s>", True), (51, "<x>", False)])),
    "added tokens within the vocabulary": _files(_json(BPE, [(0, "t0", True), (50, "<x>", True)])),
    "added tokens with a gap": _files(_json(BPE, [(50, "<s>", True), (80, "<x>", False)])),
    "no config": {"tokenizer.json": _json(BPE, [(50, "<s>", True)])},
    "holes": _files(_json(HOLES)),
    "holes and added tokens": _files(_json(HOLES, [(99, "<s>", True), (100, "<x>", False)])),
    "holes and a pad token": _files(_json(HOLES), {"pad_token": "[PAD]"}),
    "a pad token in the config alone": _files(_json(BPE), {"pad_token": "[PAD]"}),
    "a pad token as an object": _files(_json(BPE), {"pad_token": _named("[PAD]")}),
    "an empty pad token": _files(_json(BPE), {"pad_token": ""}),
    "an image token": _files(_json(BPE), {"image_token": "<image>"}),
    "an image token as an object": _files(_json(BPE), {"image_token": _named("<image>")}),
    "a flag that ends like a token": _files(_json(BPE), {"add_bos_token": True}),
    "additional tokens": _files(_json(BPE), {"additional_special_tokens": ["<a>", "<b>"]}),
    "additional tokens as objects": _files(
        _json(BPE), {"additional_special_tokens": [_named("<a>")]}
    ),
    "extra tokens as a list": _files(_json(BPE), {"extra_special_tokens": ["<a>", "<b>"]}),
    "extra tokens by name": _files(_json(BPE), {"extra_special_tokens": {"image_token": "<i>"}}),
    "extra tokens beside additional ones": _files(
        _json(BPE), {"extra_special_tokens": ["<a>"], "additional_special_tokens": ["<b>"]}
    ),
    "extra tokens by name beside additional ones": _files(
        _json(BPE),
        {"extra_special_tokens": {"image_token": "<i>"}, "additional_special_tokens": ["<b>"]},
    ),
    "a decoder, as transformers 4 writes it": _files(_json(BPE), {"added_tokens_decoder": DECODER}),
    "a decoder beside the older files": _files(
        _json(BPE),
        {"added_tokens_decoder": DECODER},
        special_tokens_map={"pad_token": "<pad>"},
        added_tokens={"<n>": 50},
    ),
    "an empty decoder beside the older files": _files(
        _json(BPE), {"added_tokens_decoder": {}}, special_tokens_map={"pad_token": "<pad>"}
    ),
    "a special tokens map": _files(
        _json(BPE), special_tokens_map={"pad_token": "<pad>", "eos_token": _token("</s>")}
    ),
    "a map over the config": _files(
        _json(BPE), {"pad_token": "[PAD]"}, special_tokens_map={"pad_token": "<pad>"}
    ),
    "a map that takes a token away": _files(
        _json(BPE), {"pad_token": "[PAD]"}, special_tokens_map={"pad_token": None}
    ),
    "a map with additional tokens": _files(
        _json(BPE), special_tokens_map={"additional_special_tokens": ["<a>", "<b>"]}
    ),
    "a map with additional tokens over the config's": _files(
        _json(BPE),
        {"additional_special_tokens": ["<c>"]},
        special_tokens_map={"additional_special_tokens": ["<a>", "<b>"]},
    ),
    "a map with extra tokens over the config's": _files(
        _json(BPE),
        {"extra_special_tokens": ["<c>"]},
        special_tokens_map={"extra_special_tokens": ["<a>", "<b>"]},
    ),
    "a map with extra tokens by name": _files(
        _json(BPE), special_tokens_map={"extra_special_tokens": {"image_token": "<a>"}}
    ),
    "added_tokens.json": _files(_json(BPE), added_tokens={"<n1>": 50, "<n2>": 70}),
    "padding in tokenizer.json": _files(_json(BPE, padding=PADDING)),
    "padding in tokenizer.json, null in the config": _files(
        _json(BPE, padding=PADDING), {"pad_token": None}
    ),
    "WordPiece": _files(_json(PIECES)),
    "WordLevel": _files(_json(_model("WordLevel", {"[UNK]": 0, "a": 1}))),
    "Unigram": _files(_json(UNIGRAM, **SPACES)),
    "Llama": _classed(LLAMA, "LlamaTokenizer"),
    "Llama with a pad token": _classed(LLAMA, "LlamaTokenizerFast", pad_token="[PAD]"),
    "Llama over bytes": _classed(_json(BPE), "LlamaTokenizerFast"),
    "Gemma without its mask": _classed(LLAMA, "GemmaTokenizer"),
    "Gemma, told that it has no pad": _classed(LLAMA, "GemmaTokenizerFast", pad_token=None),
    "T5 without sentinels": _classed(_json(UNIGRAM, **SPACES), "T5TokenizerFast"),
    "T5 with its sentinels": _classed(
        _json(UNIGRAM, **SPACES), "T5Tokenizer", extra_special_tokens=SENTINELS
    ),
    "T5 with ten sentinels": _classed(_json(UNIGRAM, **SPACES), "T5Tokenizer", extra_ids=10),
    **{
        f"tokenizer.json of {name}": _classed(_json(BPE), name)
        for name in (
            *("GPT2Tokenizer", "Qwen2TokenizerFast", "GPTNeoXTokenizerFast", "RobertaTokenizer"),
            *("CohereTokenizerFast", "CodeLlamaTokenizer", "CLIPTokenizer", "BartTokenizer"),
            *("WhisperTokenizer", "TokenizersBackend", "BloomTokenizerFast", "DebertaTokenizer"),
        )
    },
    **{
        f"WordPiece of {name}": _classed(_json(PIECES), name)
        for name in ("BertTokenizer", "DistilBertTokenizerFast", "MPNetTokenizer")
    },
    **{
        f"Unigram of {name}": _classed(_json(UNIGRAM, **SPACES), name)
        for name in ("XLMRobertaTokenizerFast", "DebertaV2TokenizerFast", "BigBirdTokenizer")
    },
    **{
        f"vocab.txt of {name}": _classed({"vocab.txt": LINES}, name)
        for name in ("BertTokenizer", "DistilBertTokenizer", "MPNetTokenizer")
    },
    "vocab.txt with line ends of Windows": _classed(
        {"vocab.txt": LINES.replace(b"\n", b"\r\n")}, "BertTokenizer"
    ),
    "vocab.txt with a token twice": _classed({"vocab.txt": LINES + b"a\nd"}, "BertTokenizer"),
    "vocab.txt with an empty line": _classed({"vocab.txt": LINES + b"\nd\n"}, "BertTokenizer"),
    "vocab.txt without special tokens": _classed({"vocab.txt": b"a\nb\n"}, "BertTokenizer"),
    **{
        f"vocab.json of {name}": _classed({**LETTERS, **MERGES}, name)
        for name in ("GPT2Tokenizer", "Qwen2Tokenizer", "RobertaTokenizer")
    },
    "vocab.json with a decoder": _classed(
        {**LETTERS, **MERGES},
        "Qwen2Tokenizer",
        added_tokens_decoder={"10": DECODER["50"], "11": DECODER["60"]},
        pad_token="<p>",
    ),
}


def _write(files: Files, folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("case", VARIANTS)
def test_length_and_largest_id_are_those_of_the_loaded_tokenizer(case, tmp_path):
    theirs = AutoTokenizer.from_pretrained(_write(VARIANTS[case], tmp_path))
    ours = parse_tokenizer(VARIANTS[case], "id")
    assert ours is not None
    assert ours.reason is None
    assert ours.length == len(theirs)
    assert ours.largest_id == max(theirs.get_vocab().values())
    assert ours.base_vocabulary_size == theirs.vocab_size
    ids = theirs.get_vocab()
    assert all(ids[token.content] == token.id for token in ours.added_tokens)
    assert len(ours.added_tokens) == ours.length - ours.base_vocabulary_size


def test_there_are_more_variants_than_formats_in_the_wild():
    assert len(VARIANTS) >= 60


@pytest.mark.parametrize("name", ["gpt2-chat", "qwen25-tokenizer-shorter", "distilbert-imdb"])
def test_real_tokenizers_have_their_real_length(name):
    folder = CORPUS / name
    if not folder.is_dir():
        pytest.skip("the corpus is not beside this checkout")
    ours = parse_tokenizer({path.name: path.read_bytes() for path in folder.iterdir()}, "id")
    theirs = AutoTokenizer.from_pretrained(folder)
    assert ours is not None
    assert ours.length == len(theirs)
    expected = {"gpt2-chat": 50257, "qwen25-tokenizer-shorter": 151665, "distilbert-imdb": 30522}
    assert ours.length == expected[name]
    assert ours.largest_id == max(theirs.get_vocab().values())
    assert ours.special_tokens.items() >= theirs.special_tokens_map.items()
    assert ours.chat_template == theirs.chat_template


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"special_tokens_map.json": b"{}"},
        {"tokenizer_config.json": b'{"tokenizer_class": "LlamaTokenizer"}'},
        {"added_tokens.json": b'{"<x>": 1}', "merges.txt": b""},
    ],
)
def test_settings_alone_are_no_tokenizer(files):
    assert parse_tokenizer(files, "id") is None


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"tokenizer.model": b"\n\x0e"}, "tokenizer.model alone"),
        ({"spiece.model": b""}, "spiece.model alone"),
        ({"tekken.json": b"{}"}, "tekken.json alone"),
        (_files(_json(BPE), {"auto_map": {"AutoTokenizer": ["t.T", None]}}), "code of the rep"),
        (_files(_json(BPE), {"auto_map": ["t.T", None]}), "code of the repository"),
        (_classed(_json(UNIGRAM), "NllbTokenizerFast"), "tokens of its own"),
        ({"tokenizer.json": b"{"}, "tokenizer.json is not JSON"),
        ({"tokenizer.json": b"[]"}, "does not hold"),
        ({"tokenizer.json": b"\xff"}, "is not JSON"),
        ({"tokenizer.json": b"{}"}, "no model"),
        ({"tokenizer.json": b'{"model": {}}'}, "no vocabulary"),
        ({"tokenizer.json": b'{"model": {"vocab": {"a": "0"}}}'}, "whole number"),
        ({"tokenizer.json": b'{"model": {"vocab": {"a": -1}}}'}, "whole number"),
        ({"tokenizer.json": b'{"model": {"vocab": [["a", 0], 3]}}'}, "no token"),
        ({"tokenizer.json": b'{"model": {"vocab": {}}, "added_tokens": 3}'}, "not a list"),
        ({"tokenizer.json": b'{"model": {"vocab": {}}, "added_tokens": [{}]}'}, "no text"),
        (_files(_json(BPE), {"added_tokens_decoder": []}), "not an object"),
        (_files(_json(BPE), {"added_tokens_decoder": {"x": _token("<x>")}}), "no id"),
        ({"tokenizer.json": _json(BPE), "tokenizer_config.json": b"{"}, "config.json is not JSON"),
        ({"tokenizer.json": _json(BPE), "special_tokens_map.json": b"3"}, "does not hold"),
        ({"tokenizer.json": b"[" * 100_000}, "not JSON"),
        ({"vocab.txt": b"\xff\xff"}, "not UTF-8"),
        ({"vocab.json": b"version https://git-lfs.github.com/spec/v1"}, "not JSON"),
    ],
)
def test_what_the_files_cannot_tell_has_a_reason(files, reason):
    facts = parse_tokenizer(files, "id")
    assert facts is not None
    assert reason in str(facts.reason)
    assert (facts.length, facts.largest_id, facts.base_vocabulary_size) == (None, None, None)


def test_special_tokens_are_named_and_added_tokens_say_which_are_special():
    facts = parse_tokenizer(
        _files(_json(BPE, [(50, "<s>", True), (51, "<x>", False)]), {"pad_token": "[PAD]"}), "id"
    )
    assert facts is not None
    assert facts.special_tokens == {"pad_token": "[PAD]"}
    assert [(token.content, token.special) for token in facts.added_tokens] == [
        ("<s>", True),
        ("<x>", False),
        ("[PAD]", True),
    ]


@pytest.mark.parametrize(
    ("config", "beside", "template"),
    [
        ({}, {}, None),
        ({"chat_template": "one"}, {}, "one"),
        ({"chat_template": [{"name": "default", "template": "two"}, {"name": "rag"}]}, {}, "two"),
        ({"chat_template": [{"name": "rag", "template": "x"}]}, {}, None),
        ({"chat_template": {"default": "three"}}, {}, "three"),
        ({"chat_template": "one"}, {"chat_template.jinja": b"file"}, "file"),
        ({}, {"chat_template.json": b'{"chat_template": "old"}'}, "old"),
        ({"chat_template": 3}, {}, None),
        ({"chat_template": "x" * (MAX_TEMPLATE_CHARACTERS + 1)}, {}, None),
    ],
)
def test_the_chat_template_is_found_wherever_it_is_kept(config, beside, template):
    facts = parse_tokenizer({**_files(_json(BPE), config), **beside}, "id")
    assert facts is not None
    assert facts.chat_template == template


def test_kept_text_can_be_stored_anywhere():
    config = {"pad_token": "a\0b", "eos_token": "\ud800", "chat_template": "\0\udfff"}
    facts = parse_tokenizer(_files(_json(BPE), config), "id")
    assert facts is not None
    assert facts.special_tokens == {"pad_token": "a\u2400b", "eos_token": "\ufffd"}
    assert facts.chat_template == "\u2400\ufffd"
    assert {token.content for token in facts.added_tokens} == {"a\u2400b", "\ufffd"}


def _own_tokens(kind: type) -> dict[str, str]:
    """The defaults of the constructor that says them: the class's own, or the one it passes to."""
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters.values()
        found = {
            one.name: one.default
            for one in parameters
            if one.name.endswith("_token") and isinstance(one.default, str) and one.default
        }
        if found or not any(one.kind is one.VAR_KEYWORD for one in parameters):
            return found
    return {}


@pytest.mark.parametrize("name", CLASS_TOKENS)
def test_the_table_of_class_tokens_is_that_of_the_library(name):
    assert CLASS_TOKENS[name] == _own_tokens(tokenizer_class_from_name(name))


def test_the_classes_with_tokens_of_their_own_exist():
    for name in (*CLASS_MARKERS, *SENTINEL_CLASSES):
        assert tokenizer_class_from_name(name) is not None


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("model", "vocab", "added_tokens", "content", "id", "special", "auto_map"),
                    *("pad_token", "extra_special_tokens", "additional_special_tokens", "decoder"),
                    *(
                        "added_tokens_decoder",
                        "0",
                        "7",
                        "chat_template",
                        "tokenizer_class",
                        "padding",
                    ),
                    *(
                        "pre_tokenizer",
                        "decoders",
                        "type",
                        "default",
                        "name",
                        "template",
                        "extra_ids",
                    ),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)
_contents = _values.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40)
_names = st.sampled_from(
    [
        *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json"),
        *("added_tokens.json", "vocab.txt", "chat_template.jinja", "chat_template.json"),
        *("tokenizer.model",),
    ]
)


@given(st.dictionaries(_names, _contents))
def test_no_files_raise_anything(files):
    facts = parse_tokenizer(files, "id")
    assert facts is None or (facts.length is None) == (facts.reason is not None)


@given(_contents, _contents)
def test_no_settings_beside_a_sound_vocabulary_raise_anything(config, older):
    files = {"tokenizer.json": _json(BPE), "tokenizer_config.json": config}
    facts = parse_tokenizer({**files, "special_tokens_map.json": older}, "id")
    assert facts is not None
    assert facts.length is None or facts.length >= 50
