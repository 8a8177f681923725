"""What a user's own process does against a Hub: run with HF_ENDPOINT set, prints one JSON.

A process of its own, because huggingface_hub reads its settings once, at import.
"""

from __future__ import annotations

import json
import sys

import peft
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    adapters, base_id = sys.argv[2:], sys.argv[1]
    tokenizer = AutoTokenizer.from_pretrained(base_id)
    probe = torch.tensor([[1, 5, 7]])
    found: dict[str, object] = {"length": len(tokenizer), "text": tokenizer.decode([70, 71])}
    for adapter_id in adapters:
        base = AutoModelForCausalLM.from_pretrained(base_id)
        with torch.no_grad():
            before = base(probe).logits
            model = peft.PeftModel.from_pretrained(base, adapter_id)
            after = model(probe).logits
        found[adapter_id] = {
            "base": float(before.sum()),
            "adapted": float(after.sum()),
            "rank": peft.PeftConfig.from_pretrained(adapter_id).r,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
