"""What the bench reads: 450-tensor adapters of a 7B base, without and with tokenizers.

Real adapters share layouts (97 published files had 35): the 200 here have 40.
"""

from __future__ import annotations

from tests.data.adapters import Lora, lora_adapter
from tests.data.bases import load_base
from tests.data.corpus import base_files
from tests.data.tokenizers import tokenizer_files
from tests.hub import LocalHub

BASE = "meta-llama/Llama-2-7b-chat-hf"
COUNT, LAYOUTS = 200, 40
WITH_TOKENIZER, TOKENIZERS = 50, 5
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PLAIN = tuple(f"bench/plain-{number:03}" for number in range(COUNT))
WORDY = tuple(f"bench/wordy-{number:03}" for number in range(WITH_TOKENIZER))
FIRST = "bench/first"


def populate(hub: LocalHub) -> None:
    base = load_base(BASE, None)
    hub.add_commit(BASE, base_files(BASE, None), title="Upload model")
    tokenizers = [tokenizer_files(32000 + number) for number in range(TOKENIZERS)]
    for number, repo_id in enumerate((FIRST, *PLAIN)):
        rank, rows = 4 * (number % LAYOUTS + 1), 32000 + number % LAYOUTS
        lora = Lora(rank=rank, targets=TARGETS, input_rows=rows, output_rows=rows, dtype="BF16")
        # Equal headers, and another content each: the alpha is its own.
        hub.add_commit(repo_id, lora_adapter(base, lora, config={"lora_alpha": number}))
    for number, repo_id in enumerate(WORDY):
        tokenizer = tokenizers[number % TOKENIZERS]
        lora = Lora(rank=8, targets=TARGETS, dtype="BF16")
        hub.add_commit(repo_id, lora_adapter(base, lora, tokenizer=tokenizer))
