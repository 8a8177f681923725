"""Cases about vocabulary rows, saved modules, trained tokens and tokenizers (M, H, E, T, TI, A)."""

from __future__ import annotations

import torch

from tests.data.cases import Case, both, cut_rows, renamed, reshaped, without
from tests.data.families import VOCABULARY
from tests.data.kinds import GROWN, PADDED, SHRUNK, Kind
from tests.data.sound import BOTH, lora, without_duplicates
from tests.data.tokenizer_words import words

MISSING_MODULE = ("modules-to-save-missing",)
MISMATCH = ("size mismatch",)
NAMES = ("key-names-nonstandard",)
UNTRAINED = ("new-rows-untrained",)

QWEN_GROWN = Kind(
    "qwen2-grown", "qwen2", lora(modules_to_save=BOTH), rows=GROWN, edit=without_duplicates
)
QWEN_SHRUNK = Kind(
    "qwen2-shrunk", "qwen2", lora(modules_to_save=BOTH), rows=SHRUNK, edit=without_duplicates
)
MIXTRAL_GROWN = Kind(
    "mixtral-grown", "mixtral", lora(modules_to_save=BOTH), rows=GROWN, edit=without_duplicates
)
T5_GROWN = Kind(
    "t5-grown",
    "t5",
    lora(modules_to_save=["shared", "lm_head"]),
    task="SEQ_2_SEQ_LM",
    rows=GROWN,
    edit=without_duplicates,
)
BERT_GROWN = Kind(
    "bert-grown",
    "bert",
    lora(modules_to_save=["word_embeddings"]),
    task="FEATURE_EXTRACTION",
    rows=GROWN,
    edit=without_duplicates,
)
GPT2_SAVED = Kind(
    "gpt2-saved", "gpt2", lora(fan_in_fan_out=True, modules_to_save=["wte", "lm_head"])
)
TIED_HEAD = Kind(
    "tied-saved-head", "llama-tied", lora(modules_to_save=["lm_head"]), edit=without_duplicates
)
TIED_LORA_HEAD = Kind("tied-lora-head", "llama-tied", lora("attention+output"))
HEAD_ALONE = without("embed_tokens")


def _beside(infix: str) -> tuple[tuple[str, str], ...]:
    return tuple((f"{name}.weight", f"{name}{infix}.weight") for name in BOTH)


def _raw(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict as it is in memory: the copy, and the original below its own name."""
    originals = {
        f"base_model.model.{name}.original_module.weight": torch.zeros(VOCABULARY, 32)
        for name in ("model.embed_tokens", "lm_head")
    }
    return {**renamed(*_beside(".modules_to_save.default"))(tensors), **originals}


ROWS = (
    Case("M1", "llama grown", "llama-grown-plain", shows=MISMATCH),
    Case("M1", "llama grown, copies saved beside", "llama-grown", shows=MISMATCH),
    Case("M1", "gpt2 grown", "gpt2-grown", shows=MISMATCH),
    Case("M1", "qwen2 grown on a tied base", QWEN_GROWN, shows=MISMATCH),
    Case("M1", "mixtral grown", MIXTRAL_GROWN, shows=MISMATCH, forecast=False),
    Case("M1", "t5 grown", T5_GROWN, shows=MISMATCH),
    Case("M1", "bert embedding model grown", BERT_GROWN, shows=MISMATCH),
    Case(
        "M2b",
        "padded rows and a shorter tokenizer",
        "llama-padded",
        shows=MISMATCH,
        tokenizer=words(GROWN),
    ),
    Case(
        "M3",
        "saved head absent",
        "llama-saved-both",
        "incompatible",
        MISSING_MODULE,
        ("KeyError", "lm_head"),
        without("lm_head"),
    ),
    Case(
        "M3",
        "gpt2 saved head absent",
        GPT2_SAVED,
        "incompatible",
        MISSING_MODULE,
        ("KeyError", "lm_head"),
        without("lm_head"),
    ),
    Case(
        "M3",
        "saved norm absent",
        "llama-lora-norm-saved",
        "incompatible",
        MISSING_MODULE,
        ("KeyError", "model.norm"),
        without("model.norm"),
    ),
    Case(
        "H1",
        "infix left in",
        "llama-grown-plain",
        codes=NAMES,
        shows=("KeyError",),
        edit=renamed(*_beside(".modules_to_save")),
    ),
    Case(
        "H1",
        "infix and adapter name left in",
        "llama-grown-plain",
        codes=NAMES,
        shows=("KeyError",),
        edit=renamed(*_beside(".modules_to_save.default")),
    ),
    Case("H2", "raw state dict", "llama-grown-plain", codes=NAMES, shows=("KeyError",), edit=_raw),
    Case(
        "H3",
        "token delta absent",
        "llama-lora-and-tokens",
        "incompatible",
        ("tensors-missing",),
        ("KeyError", "trainable_tokens_delta"),
        without("trainable_tokens_delta"),
    ),
    Case(
        "M4",
        "embeddings beside the config, grown",
        "llama-grown-plain",
        codes=("base-overwritten",),
        shows=MISMATCH,
        config={"modules_to_save": None},
    ),
    Case(
        "M4c",
        "embeddings beside the config",
        "llama-saved-both",
        codes=("base-overwritten",),
        shows=("overwritten",),
        config={"modules_to_save": None},
    ),
    Case(
        "M4d",
        "new tokens, no rows",
        "llama-lora",
        "incompatible",
        UNTRAINED,
        tokenizer=words(GROWN),
        only_real=True,
    ),
    Case("M5", "input rows alone", "llama-grown-input-only", codes=UNTRAINED, shows=MISMATCH),
    Case(
        "M5",
        "output rows alone, tokenizer unknown",
        "llama-grown-plain",
        codes=UNTRAINED,
        shows=MISMATCH,
        edit=HEAD_ALONE,
        config={"modules_to_save": ["lm_head"]},
    ),
    Case(
        "M5",
        "output rows alone, tokens in use",
        "llama-grown-plain",
        "incompatible",
        UNTRAINED,
        MISMATCH,
        HEAD_ALONE,
        {"modules_to_save": ["lm_head"]},
        tokenizer=words(GROWN),
    ),
    Case("M8", "llama shrunk", "llama-shrunk", shows=MISMATCH),
    Case("M8", "qwen2 shrunk on a tied base", QWEN_SHRUNK, shows=MISMATCH),
    Case(
        "M8",
        "shrunk below ids in use",
        "llama-shrunk",
        "incompatible",
        ("token-index-out-of-range",),
        MISMATCH,
        tokenizer=words(VOCABULARY),
    ),
    Case(
        "M9",
        "two numbers of rows",
        "llama-grown-plain",
        "incompatible",
        ("vocabulary-conflict",),
        MISMATCH,
        cut_rows("lm_head", GROWN - 2),
    ),
    Case(
        "M9",
        "one side grown, the other not",
        "llama-grown-plain",
        "incompatible",
        ("vocabulary-conflict",),
        MISMATCH,
        cut_rows("lm_head", VOCABULARY),
    ),
    Case(
        "M10",
        "saved names that the base lacks",
        "llama-saved-both",
        codes=("base-overwritten",),
        shows=("overwritten",),
        config={"modules_to_save": ["wte", "output"]},
    ),
    Case("E1", "LoRA on both tables", "llama-lora-on-tables"),
    Case(
        "E2",
        "LoRA on grown tables",
        "llama-lora-on-tables-grown",
        codes=("base-overwritten",),
        shows=MISMATCH,
    ),
    Case(
        "E2",
        "LoRA on grown tables without them",
        "llama-lora-on-tables-grown",
        codes=UNTRAINED,
        shows=MISMATCH,
        edit=without(".base_layer."),
    ),
    Case(
        "T5",
        "trained token beyond the rows",
        "llama-lora-and-tokens",
        "incompatible",
        ("token-index-out-of-range",),
        ("IndexError",),
        config={"trainable_token_indices": [3, VOCABULARY + 5]},
        only_real=True,
    ),
    Case(
        "T5e",
        "more indices than rows",
        "llama-lora-and-tokens",
        "incompatible",
        ("shape-mismatch",),
        MISMATCH,
        config={"trainable_token_indices": [3, 5, 7]},
    ),
    Case(
        "T5e",
        "indices lost",
        "llama-lora-and-tokens",
        "incompatible",
        ("tensors-unexpected",),
        ("unexpected",),
        config={"trainable_token_indices": None},
    ),
    Case("TI1", "tied base, saved embedding", "tied-saved-embedding"),
    Case("TI2", "tied base, saved head", TIED_HEAD),
    Case("TI3", "tied base, grown", "tied-grown", shows=MISMATCH),
    Case(
        "TI4",
        "tied base, LoRA on the head",
        TIED_LORA_HEAD,
        codes=("base-overwritten", "merge-unsafe"),
        shows=("overwritten",),
        edit=reshaped("base_layer", lambda tensor: tensor + 1),
    ),
    Case("TIt", "tied base, trained tokens", "tied-tokens"),
    Case(
        "A1",
        "tokenizer as long as the rows",
        "llama-grown-plain",
        shows=MISMATCH,
        tokenizer=words(GROWN),
    ),
    Case(
        "A2",
        "padded rows, tokenizer between",
        "llama-padded",
        shows=MISMATCH,
        tokenizer=words(PADDED - 10),
    ),
    Case("A3", "tokenizer shorter than the base", "llama-lora", tokenizer=words(VOCABULARY - 20)),
    Case(
        "A4",
        "shrunk with its own tokenizer",
        "llama-shrunk",
        shows=MISMATCH,
        tokenizer=words(SHRUNK),
    ),
    Case("A5", "pad alone above the rows", "llama-lora", tokenizer=words(VOCABULARY + 1, pad=True)),
    Case(
        "A6",
        "tokenizer longer than the grown rows",
        "llama-grown-plain",
        "incompatible",
        ("token-index-out-of-range",),
        MISMATCH,
        tokenizer=words(GROWN + 6),
    ),
    Case(
        "A7",
        "tokenizer as the base, rows grown",
        "llama-grown-plain",
        shows=MISMATCH,
        tokenizer=words(VOCABULARY),
    ),
    Case(
        "S9",
        "emptied tables",
        "llama-grown-plain",
        "incompatible",
        ("empty-tensors",),
        MISMATCH,
        both(
            reshaped("lm_head", lambda t: torch.zeros(0)),
            reshaped("embed_tokens", lambda t: torch.zeros(0)),
        ),
    ),
)
