"""The nine real adapters and their bases, published on a local Hub; stand-ins where absent."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tests.data.adapters import PREFIX, Lora, lora_adapter
from tests.data.bases import CORPUS, STAND_INS, base_repository, load_base
from tests.data.tokenizers import slow_tokenizer_files, tokenizer_files
from tests.data.weights import Files, Tensors
from tests.hub import LocalHub

GATED = "meta-llama/Llama-3.2-1B"
QWEN_ADDED = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|q{i}|>" for i in range(19)))
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)
# Whose adapter in the corpus carries the base's own tokenizer.
BASE_TOKENIZERS = {
    "gpt2": "gpt2-chat",
    "distilbert/distilgpt2": "gpt2-chat",
    "distilbert-base-uncased": "distilbert-imdb",
    "roberta-base": "roberta-agnews-bias-all",
    "Qwen/Qwen2.5-0.5B-Instruct": "qwen25-tokenizer-shorter",
}


@dataclass(frozen=True)
class CorpusAdapter:
    """One adapter of the corpus: its folder's name, its base, and the same made here."""

    name: str
    base: str
    lora: Lora
    tokenizer: bool = False
    declared_base: str | None = None
    more_tensors: Tensors = field(default_factory=dict)

    @property
    def repo_id(self) -> str:
        return f"corpus/{self.name}"


def _saved(**shapes: tuple[int, ...]) -> Tensors:
    return {PREFIX + name.replace("__", "."): ("F32", shape) for name, shape in shapes.items()}


_ROBERTA_SAVED = _saved(
    classifier__dense__weight=(768, 768),
    classifier__dense__bias=(768,),
    classifier__out_proj__weight=(4, 768),
    classifier__out_proj__bias=(4,),
    classifier__modules_to_save__dense__bias=(768,),
    classifier__modules_to_save__out_proj__bias=(4,),
    classifier__original_module__dense__bias=(768,),
    classifier__original_module__out_proj__bias=(4,),
)
ADAPTERS = (
    CorpusAdapter("gpt2-chat", "gpt2", Lora(targets=("c_attn",), alpha=32), tokenizer=True),
    CorpusAdapter(
        "distilgpt2",
        "distilbert/distilgpt2",
        Lora(rank=16, targets=("attn.c_attn", "attn.c_proj"), alpha=32),
    ),
    CorpusAdapter("llama32-1b", "meta-llama/Llama-3.2-1B", Lora(alpha=32)),
    CorpusAdapter("qwen25-tokenizer-shorter", "Qwen/Qwen2.5-0.5B-Instruct", Lora(), tokenizer=True),
    CorpusAdapter(
        "gemma3-270m-local-base",
        "google/gemma-3-270m",
        Lora(rank=4, alpha=4),
        declared_base="/mnt/workspace/models/gemma-3-270m-it",
    ),
    CorpusAdapter(
        "nllb-seq2seq",
        "facebook/nllb-200-distilled-600M",
        Lora(rank=4, task_type="SEQ_2_SEQ_LM"),
    ),
    CorpusAdapter(
        "distilbert-imdb",
        "distilbert-base-uncased",
        Lora(targets=("q_lin", "v_lin"), labels=2, classifier="classifier", task_type="SEQ_CLS"),
        tokenizer=True,
        more_tensors=_saved(
            classifier__bias=(2,), pre_classifier__weight=(768, 768), pre_classifier__bias=(768,)
        ),
    ),
    CorpusAdapter(
        "gpt2-score-head",
        "gpt2",
        Lora(targets=("c_attn", "c_proj"), alpha=32, labels=2, task_type="SEQ_CLS"),
    ),
    CorpusAdapter(
        "roberta-agnews-bias-all",
        "roberta-base",
        Lora(
            rank=4,
            targets=("query", "key", "value"),
            bias="all",
            labels=4,
            classifier="classifier.out_proj",
            task_type="SEQ_CLS",
        ),
        tokenizer=True,
        more_tensors=_ROBERTA_SAVED,
    ),
)


def adapter_files(adapter: CorpusAdapter, corpus: Path | None = CORPUS) -> Files:
    """The published files of the corpus adapter, or the stand-in's."""
    folder = corpus / "adapters" / adapter.name if corpus else None
    if folder and folder.is_dir():
        return {path.name: path for path in folder.iterdir() if path.name != "PROVENANCE.json"}
    base = load_base(adapter.base, corpus)
    return lora_adapter(
        base,
        adapter.lora,
        tokenizer=base_tokenizer(adapter.base, corpus) if adapter.tokenizer else None,
        more_tensors=adapter.more_tensors,
        declared_base=adapter.declared_base,
    )


def base_files(repo_id: str, corpus: Path | None = CORPUS) -> Files:
    """The base's repository: config, header and hole, and its tokenizer."""
    return base_repository(load_base(repo_id, corpus), tokenizer=base_tokenizer(repo_id, corpus))


def base_tokenizer(repo_id: str, corpus: Path | None = CORPUS) -> Files:
    """The base's own tokenizer where an adapter of the corpus carries it, else one as long."""
    folder = corpus / "adapters" / BASE_TOKENIZERS.get(repo_id, "") if corpus else None
    if folder and repo_id in BASE_TOKENIZERS and folder.is_dir():
        return {path.name: path for path in folder.iterdir() if path.name in TOKENIZER_FILES}
    if repo_id == "Qwen/Qwen2.5-0.5B-Instruct":
        return slow_tokenizer_files(151665 - len(QWEN_ADDED), QWEN_ADDED)
    length = load_base(repo_id, None).tokenizer_length
    assert length is not None
    return tokenizer_files(length)


def publish_bases(hub: LocalHub, corpus: Path | None = CORPUS) -> tuple[str, ...]:
    """Publish all nine bases. Llama-3.2-1B is gated, `distilgpt2` redirects."""
    for repo_id in STAND_INS:
        hub.add_commit(repo_id, base_files(repo_id, corpus), title="Upload model")
    hub.redirect("distilgpt2", "distilbert/distilgpt2")
    hub.set_gated(GATED)
    return tuple(STAND_INS)


def corpus_repositories(hub: LocalHub, corpus: Path | None = CORPUS) -> dict[str, str]:
    """Publish every base and adapter of the corpus: adapter's name -> its id on the local Hub."""
    publish_bases(hub, corpus)
    for adapter in ADAPTERS:
        hub.add_commit(adapter.repo_id, adapter_files(adapter, corpus), title="Upload adapter")
    return {adapter.name: adapter.repo_id for adapter in ADAPTERS}
