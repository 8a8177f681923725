"""What the demo's Hub holds: the canonical adapter, its variants, real ones, and a tiny twin."""

from __future__ import annotations

from tests.data.build import CASES, publish_cases
from tests.data.corpus import ADAPTERS, corpus_repositories
from tests.data.tiny import ROWS, tiny_adapter, tiny_base
from tests.data.tokenizers import tokenizer_files
from tests.hub import LocalHub

TOKEN = "hf_demo_reader"
TINY_BASE, TINY_TWIN = "demo/tiny-llama", "acme/tiny-chat-lora"
TINY_ROWS = ROWS + 10
REFERENCES = (*(case.repo_id for case in CASES), *(adapter.repo_id for adapter in ADAPTERS))
# The corpus adapter whose config names a folder of its author's machine.
LOCAL_BASE = "corpus/gemma3-270m-local-base"
NAMED_BASE = "google/gemma-3-270m"


def populate(hub: LocalHub) -> None:
    """Headers and holes for everything; real weights for the tiny pair alone."""
    corpus_repositories(hub)
    publish_cases(hub, CASES)
    hub.add_token(TOKEN, user="demo", may_read=("meta-llama/Llama-3.2-1B",))
    hub.add_commit(TINY_BASE, tiny_base(), title="Upload model")
    twin = tiny_adapter(
        TINY_BASE,
        rows=TINY_ROWS,
        tokenizer=tokenizer_files(TINY_ROWS),
        lora={"modules_to_save": ["lm_head", "embed_tokens"], "r": 8},
    )
    hub.add_commit(TINY_TWIN, twin, title="Upload adapter")
