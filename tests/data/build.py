"""The repositories of the tests, the demo and the bench, made out of nothing.

`populate(hub)` publishes the canonical adapter, its variants and the corpus. What they are made
of is in the files beside this one: `weights` (header and hole), `shapes` and `bases`,
`adapters`, `tokenizers`, `corpus`, `pickles` and `broken`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.data.adapters import Lora, lora_adapter
from tests.data.bases import CORPUS, Base, llama_2_7b, load_base, qwen25_05b
from tests.data.corpus import base_files, base_tokenizer, corpus_repositories
from tests.data.tokenizers import tokenizer_files
from tests.data.weights import Files
from tests.hub import LocalHub

LLAMA = "meta-llama/Llama-2-7b-chat-hf"
QWEN = "Qwen/Qwen2.5-0.5B-Instruct"
GROWN, PADDED, SHRUNK, OTHER = 33004, 33024, 31000, 33008
CANONICAL = Lora(
    rank=1024,
    targets=("q_proj", "v_proj", "gate_proj", "up_proj"),
    dtype="BF16",
    input_rows=GROWN,
    output_rows=GROWN,
)


@dataclass(frozen=True)
class Case:
    """An adapter made here: what is special about it, and its files, given where the corpus is."""

    repo_id: str
    base: str
    summary: str
    build: Callable[[Path | None], Files]


def grown_tokenizer(length: int, *, base_length: int = 32000) -> Files:
    """The base's tokenizer with new words behind it, the last new token for padding."""
    words = [f"term{number}" for number in range(length - base_length - 1)]
    return tokenizer_files(length, added=(*words, "<pad>"), pad="<pad>")


def canonical_adapter(corpus: Path | None = CORPUS) -> Files:
    """Rank 1024 on q, v, gate and up, with embeddings and head of 33004 rows."""
    return lora_adapter(load_base(LLAMA, corpus), CANONICAL, tokenizer=grown_tokenizer(GROWN))


def _variant(lora: Lora, tokenizer: Callable[[], Files]) -> Callable[[Path | None], Files]:
    return lambda corpus: lora_adapter(load_base(LLAMA, corpus), lora, tokenizer=tokenizer())


def _small(**changes: int | None) -> Lora:
    """Rank 16 on q and v, so that a variant differs in its rows alone."""
    return replace(Lora(rank=16, alpha=32, dtype="BF16"), **changes)  # type: ignore[arg-type]


CASES = (
    Case("acme/chat-lora", LLAMA, "grown to 33004, rank 1024", canonical_adapter),
    Case(
        "acme/chat-lora-padded",
        LLAMA,
        "33024 rows, tokenizer of 33004",
        _variant(_small(input_rows=PADDED, output_rows=PADDED), lambda: grown_tokenizer(GROWN)),
    ),
    Case(
        "acme/chat-lora-shrunk",
        LLAMA,
        "31000 rows, fewer than the base",
        _variant(_small(input_rows=SHRUNK, output_rows=SHRUNK), lambda: tokenizer_files(SHRUNK)),
    ),
    Case(
        "acme/chat-lora-conflicting",
        LLAMA,
        "embedding of 33004 rows, head of 33008",
        _variant(_small(input_rows=GROWN, output_rows=OTHER), lambda: grown_tokenizer(GROWN)),
    ),
    Case(
        "acme/chat-lora-one-sided",
        LLAMA,
        "embedding of 33004 rows, no head",
        _variant(_small(input_rows=GROWN), lambda: grown_tokenizer(GROWN)),
    ),
    Case(
        "acme/chat-lora-pad-only",
        LLAMA,
        "tokenizer of 32001, no row tensors",
        _variant(_small(), lambda: grown_tokenizer(32001)),
    ),
    Case(
        "acme/qwen-lora",
        QWEN,
        "tokenizer of 151665, rows of 151936",
        lambda corpus: lora_adapter(
            load_base(QWEN, corpus),
            Lora(rank=16, dtype="BF16"),
            tokenizer=base_tokenizer(QWEN, corpus),
        ),
    ),
)


def publish_cases(
    hub: LocalHub, cases: Sequence[Case] = CASES, corpus: Path | None = CORPUS
) -> Sequence[Case]:
    """Publish generated adapters and the bases they name, where those are missing."""
    for base in dict.fromkeys(case.base for case in cases):
        if base not in hub.store.repositories:
            hub.add_commit(base, base_files(base, corpus), title="Upload model")
    for case in cases:
        hub.add_commit(case.repo_id, case.build(corpus), title="Upload adapter")
    return cases


def populate(hub: LocalHub, corpus: Path | None = CORPUS) -> dict[str, str]:
    """Publish everything: what it is called -> its id on the local Hub."""
    published = corpus_repositories(hub, corpus)
    cases = publish_cases(hub, corpus=corpus)
    return {case.summary: case.repo_id for case in cases} | published


__all__ = [
    "CASES",
    "Base",
    "Case",
    "Lora",
    "canonical_adapter",
    "corpus_repositories",
    "grown_tokenizer",
    "llama_2_7b",
    "load_base",
    "lora_adapter",
    "populate",
    "publish_cases",
    "qwen25_05b",
]
