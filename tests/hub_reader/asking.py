"""What the tests of the reader share: clocks that do not wait, adapters made of a few bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from registry.hub import HubReader, Patience, Timeouts, Timing
from tests.hub import Hole, LocalHub

T = TypeVar("T")

BASE = "acme/base"


@dataclass
class Clock:
    """A clock that only sleeping moves; `slept` holds every wait in order."""

    time: float = 1_700_000_000.0
    slept: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)

    @property
    def timing(self) -> Timing:
        return Timing(
            monotonic=lambda: self.time,
            now=lambda: self.time,
            sleep=self.sleep,
            chance=lambda: 0.0,
        )


def run_reader(
    hub: LocalHub,
    ask: Callable[[HubReader], Awaitable[T]],
    *,
    token: str | None = None,
    clock: Clock | None = None,
    patience: Patience | None = None,
    timeouts: Timeouts | None = None,
    endpoint: str | None = None,
    **more: object,
) -> T:
    """Open a reader of the local Hub, ask it, close it."""

    async def run() -> T:
        async with HubReader(
            endpoint or hub.url,
            token,
            timing=(clock or Clock()).timing,
            patience=patience,
            timeouts=timeouts,
            **more,
        ) as reader:
            return await ask(reader)

    return asyncio.run(run())


def adapter_config(**changes: object) -> str:
    """An adapter_config.json as PEFT writes it, in short."""
    return json.dumps(
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": BASE,
            "revision": None,
            "r": 8,
            "lora_alpha": 16,
            "target_modules": ["q_proj", "v_proj"],
            "bias": "none",
            **changes,
        }
    )


def lora_tensors(layers: int = 2, rank: int = 8, width: int = 64) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a LoRA adapter on q_proj and v_proj."""
    tensors: dict[str, tuple[int, ...]] = {}
    for layer in range(layers):
        for module in ("q_proj", "v_proj"):
            stem = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            tensors[f"{stem}.lora_A.weight"] = (rank, width)
            tensors[f"{stem}.lora_B.weight"] = (width, rank)
    return tensors


def safetensors_file(tensors: Mapping[str, tuple[int, ...]], *, pad: int = 0) -> Hole:
    """A file with a true header and a hole for its data; `pad` spaces lengthen the header."""
    fields: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, shape in tensors.items():
        size = 4
        for count in shape:
            size *= count
        fields[name] = {
            "dtype": "F32",
            "shape": list(shape),
            "data_offsets": [position, position + size],
        }
        position += size
    text = json.dumps(fields).encode() + b" " * pad
    head = len(text).to_bytes(8, "little") + text
    return Hole(head, len(head) + position)


def adapter_files(**changes: object) -> dict[str, str | bytes | Hole]:
    return {
        "adapter_config.json": adapter_config(**changes),
        "adapter_model.safetensors": safetensors_file(lora_tensors()),
    }


def small_tokenizer(tokens: int = 10, *, added: tuple[str, ...] = ("<pad>",)) -> str:
    """A tokenizer.json of `tokens` base tokens and some added ones."""
    vocab = {f"t{index}": index for index in range(tokens)}
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [
                {"id": tokens + index, "content": content, "special": True}
                for index, content in enumerate(added)
            ],
            "model": {"type": "BPE", "vocab": vocab, "merges": []},
        }
    )
