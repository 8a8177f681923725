"""What to run through a model so that an adapter has to show itself, by task.

A probe is one short batch: no padding, fixed ids, the largest id the input side has, and whatever
the adapter needs to become active (its invocation tokens, the ids it trained).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

_LENGTH = 16
_SEED = 2026
# Ids under these names stand for something that is not text, or change how positions are counted.
_NOT_TEXT = ("image", "video", "audio", "vision", "speech", "pad_token", "boi", "eoi", "mask_token")
_MOST_TRAINED = 64
_FIELDS = {"AutoModelForQuestionAnswering": ("start_logits", "end_logits")}
_SEQUENCE_CLASSES = ("AutoModelForSequenceClassification",)
_LABEL_CLASSES = (*_SEQUENCE_CLASSES, "AutoModelForTokenClassification")
_WHOLE_SEQUENCE = ("logits", "last_hidden_state")


@dataclass(frozen=True)
class Probe:
    """`inputs` go to the model; `ids` are its text; `columns` are those to compare, None for all.

    `ids_above` are ids at or above the base's own rows that the adapter trained: they cannot be
    compared with the plain base.
    """

    inputs: Mapping[str, torch.Tensor]
    ids: tuple[int, ...]
    columns: int | None
    ids_above: tuple[int, ...] = ()


@dataclass(frozen=True)
class ProbeSite:
    """What a probe must know of the model: rows before and after the plan, and the task's class."""

    auto_class: str
    config: Any
    peft_config: Any
    device: torch.device
    base_input_rows: int | None
    input_rows: int | None
    base_output_rows: int | None
    output_rows: int | None
    trained_ids: tuple[int, ...] = ()
    extra: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @property
    def has_vocabulary_head(self) -> bool:
        return self.auto_class not in (*_LABEL_CLASSES, *_FIELDS, "AutoModel")

    @property
    def is_seq2seq(self) -> bool:
        return bool(getattr(self.config, "is_encoder_decoder", False))


def make_forward_probe(site: ProbeSite, length: int = _LENGTH) -> Probe:
    """Holds the largest id of the input side; compared with nothing, so all ids may be in it."""
    rows = site.input_rows or site.base_input_rows or 2
    special = [*_must_hold(site, rows), rows - 1]
    ids = _ids(site, rows, special, length)
    return Probe(_inputs(site, ids), ids, None)


def make_effect_probe(site: ProbeSite, length: int = _LENGTH) -> Probe:
    """Only ids and columns that the plain base has too: new rows differ for other reasons.

    On a base that did not grow it holds what the forward probe holds.
    """
    rows = min((r for r in (site.base_input_rows, site.input_rows) if r), default=2)
    above = tuple(token for token in site.trained_ids if token >= rows)
    widths = [r for r in (site.base_output_rows, site.output_rows) if r]
    columns = min(widths) if site.has_vocabulary_head and widths else None
    ids = make_forward_probe(site, length).ids
    if max(ids) >= rows:
        ids = _ids(site, rows, _must_hold(site, rows), length)
    return Probe(_inputs(site, ids), ids, columns, above)


def read_output(site: ProbeSite, output: Any) -> torch.Tensor:
    """The tensor that the task is about, in float32: [batch, …, width]."""
    names = _FIELDS.get(site.auto_class)
    if names is not None:
        return torch.stack([getattr(output, name) for name in names], dim=-1).float()
    for name in _WHOLE_SEQUENCE:
        value = getattr(output, name, None)
        if isinstance(value, torch.Tensor):
            return value.float()
    first = output[0]
    if not isinstance(first, torch.Tensor):
        raise TypeError(f"The model's output {type(output).__name__} has no tensor to look at.")
    return first.float()


def expected_shape(site: ProbeSite) -> tuple[int | None, ...]:
    """The output's shape as the task has it; None where a length may vary (virtual tokens)."""
    if site.auto_class in _SEQUENCE_CLASSES:
        return (1, int(site.config.num_labels))
    if site.auto_class in _LABEL_CLASSES:
        return (1, None, int(site.config.num_labels))
    if site.auto_class in _FIELDS:
        return (1, None, 2)
    if site.auto_class == "AutoModel":
        return (1, None, _hidden_size(site.config))
    return (1, None, site.output_rows)


def _hidden_size(config: Any) -> int | None:
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    for name in ("hidden_size", "d_model", "dim", "n_embd"):
        size = getattr(text, name, None)
        if isinstance(size, int):
            return size
    return None


def _must_hold(site: ProbeSite, rows: int) -> list[int]:
    invocation = getattr(site.peft_config, "alora_invocation_tokens", None) or []
    held = [*site.trained_ids[:_MOST_TRAINED], *invocation]
    return [token for token in held if 0 <= token < rows]


def _ids(site: ProbeSite, rows: int, held: list[int], length: int) -> tuple[int, ...]:
    """Some ordinary ids, then those that must be there, the last one an end of sequence.

    Invocation tokens keep their order and stand after the text they answer to.
    """
    choose = random.Random(_SEED)  # noqa: S311 - equal probes, not secrets
    avoided = set(_token_ids(site.config, _NOT_TEXT))
    ordinary: list[int] = []
    for _ in range(100 * length):
        if len(ordinary) == length:
            break
        token = choose.randrange(rows)
        if token not in avoided:
            ordinary.append(token)
    ends = [token for token in _token_ids(site.config, ("eos_token",)) if token < rows]
    if site.auto_class in _SEQUENCE_CLASSES and ends:
        # Some classifiers read the state of the last end of sequence, and want exactly one.
        ordinary = [token for token in ordinary if token not in ends]
        return (*ordinary, *(token for token in held if token not in ends), ends[0])
    return (*ordinary, *held, *ordinary[:2])


def _token_ids(config: Any, words: Iterable[str]) -> list[int]:
    found: list[int] = []
    parts = [config]
    if hasattr(config, "get_text_config"):
        parts.append(config.get_text_config())
    for part in parts:
        for name, value in part.to_dict().items():
            if name.endswith(("_token_id", "_token_index")) and any(w in name for w in words):
                values = value if isinstance(value, list) else [value]
                found += [v for v in values if isinstance(v, int)]
    return found


def _inputs(site: ProbeSite, ids: tuple[int, ...]) -> dict[str, torch.Tensor]:
    tokens = torch.tensor([ids], device=site.device)
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    if site.is_seq2seq and site.auto_class not in (*_SEQUENCE_CLASSES, *_FIELDS):
        start = getattr(site.config, "decoder_start_token_id", None)
        first = start if isinstance(start, int) else ids[0]
        inputs["decoder_input_ids"] = torch.tensor([[first, *ids[:-1]]], device=site.device)
    return inputs | dict(site.extra)
