"""Parameters and bytes: of the base along the plan, of the adapter, of both loaded.

The closed form equals PEFT's `get_nb_trainable_parameters`: trainable is what the adapter owns
(saved modules are copies beside the originals), all is the resized base plus that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from registry.domain.base_view import BaseView
from registry.domain.keys import Part
from registry.domain.pair import LORA_PARTS, FileTensor, Pair

# Bytes of one value, by torch's spelling.
DTYPE_BYTES = {
    **dict.fromkeys(("float64", "int64"), 8),
    **dict.fromkeys(("float32", "int32"), 4),
    **dict.fromkeys(("float16", "bfloat16"), 2),
    **dict.fromkeys(("float8_e4m3fn", "float8_e5m2", "int8", "uint8"), 1),
}
# safetensors' spelling -> torch's, for dtypes that a model can be loaded in.
LOADABLE_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}

# PEFT types whose file holds exactly what they train (measured with PEFT 0.21.2).
_COUNTED_TYPES = frozenset(
    {"LORA", "IA3", "LOHA", "LOKR", "HRA", "LN_TUNING", "TRAINABLE_TOKENS", "PROMPT_TUNING"}
)


# First segments of what classes put on top of the bare model; another class leaves it out.
_TASK_HEADS = frozenset(
    {
        *{"score", "classifier", "pre_classifier", "qa_outputs", "classification_head"},
        *{"sequence_summary", "multiple_choice_head", "multi_choice_head", "logits_proj"},
    }
)
_HEADS = _TASK_HEADS | {
    *{"lm_head", "embed_out", "cls", "predictions", "mlm_head", "final_logits_bias"},
    *{"vocab_projector", "vocab_transform", "vocab_layer_norm"},
    *{"generator_predictions", "generator_lm_head", "discriminator_predictions"},
}
_LORA_A, _LORA_B, _LORA_EMBEDDING_A = Part.LORA_A, Part.LORA_B, Part.LORA_EMBEDDING_A
# Parts that are the adapter's by their name alone.
_OWNED = LORA_PARTS | {Part.TOKEN_DELTA, Part.OTHER, Part.PROMPT}


@dataclass(frozen=True)
class Sizes:
    """`trainable` and `everything` count parameters; None when the names at hand do not tell.

    `full_bytes` are spent in the file on whole matrices of the vocabulary, `file_bytes` on all
    its tensors. `largest_rank` is that of the tensors, None for types without ranks.
    """

    trainable: int | None
    everything: int | None
    memory_bytes: int | None
    full_bytes: int
    full_tensors: tuple[str, ...]
    file_bytes: int
    largest_rank: int | None

    @property
    def fraction(self) -> float | None:
        """Trainable of all, six digits: what PEFT prints as a percentage."""
        if self.trainable is None or not self.everything:
            return None
        return round(self.trainable / self.everything, 6)


def measure_sizes(pair: Pair, rows: int | None, dtype: str, base_bytes: int | None) -> Sizes:
    """Count along the plan. `rows` is what it resizes to, `base_bytes` the base's file sizes."""
    adapter = biases = file_bytes = rank = 0
    full: list[FileTensor] = []
    for tensor in pair.tensors:
        spec, key = tensor
        count = prod(spec.shape)
        file_bytes += count * _FILE_BYTES.get(spec.dtype, 1)
        part = key.part
        if part is _LORA_A or part is _LORA_B or part in _OWNED:
            adapter += count
            is_first = part is _LORA_A or part is _LORA_EMBEDDING_A
            if is_first and spec.shape and spec.shape[0] > rank:
                rank = spec.shape[0]
            continue
        if _is_saved(pair, tensor):
            adapter += count
        elif _is_trained_bias(pair, tensor):
            biases += count
        if _is_full(pair, tensor):
            full.append(tensor)
    trainable = adapter + biases if _is_counted(pair) else None
    base = _count_base(pair, rows)
    everything = None if base is None or trainable is None else base + adapter
    width = DTYPE_BYTES.get(dtype, 4)
    memory: int | None = None
    if pair.base.config.quantization is not None:
        # Packed weights: their file is the best there is to go by.
        memory = None if base_bytes is None else base_bytes + adapter * width
    elif base is not None:
        memory = (base + adapter) * width
    return Sizes(
        trainable,
        everything,
        memory,
        sum(_bytes(tensor) for tensor in full),
        tuple(tensor.spec.name for tensor in full),
        file_bytes,
        rank or None,
    )


def _is_counted(pair: Pair) -> bool:
    """False where PEFT trains something else than the file holds (it fuses experts' adapters)."""
    if pair.config.peft_type not in _COUNTED_TYPES:
        return False
    return not pair.base.converted or not any(".experts." in m for m in pair.adapted)


def _is_saved(pair: Pair, tensor: FileTensor) -> bool:
    own_name = tensor.key.part in (Part.SAVED, Part.BIAS)
    return own_name and pair.saved_root(tensor.module) is not None


def _is_trained_bias(pair: Pair, tensor: FileTensor) -> bool:
    """`bias` other than none trains biases of the base itself."""
    return (
        pair.config.bias != "none"
        and tensor.key.leaf == "bias"
        and tensor.key.part in (Part.BIAS, Part.BASE_LAYER)
        and pair.saved_root(tensor.module) is None
    )


def _is_full(pair: Pair, tensor: FileTensor) -> bool:
    return (
        tensor.key.part in (Part.SAVED, Part.BASE_LAYER)
        and pair.base.side_of(tensor.module) is not None
        and len(tensor.shape) == 2
    )


def _count_base(pair: Pair, rows: int | None) -> int | None:
    """Parameters of the base after the resize, the head once when tied; None when not known."""
    base = pair.base
    if not base.tree.parameters or base.config.quantization is not None:
        return None
    left_out = frozenset() if base.tree.exact else _TASK_HEADS if base.has_head else _HEADS
    total = sum(count for root, count in base.names.counts.items() if root not in left_out)
    if not base.tree.exact and not _has_pooler(pair):
        total -= base.names.poolers
    head = base.tree.parameters.get(f"{base.output_head}.weight")
    if head is not None and base.tied:
        total -= prod(head.shape)
    sides = {side for side in (base.input_embedding, base.output_head) if side}
    if rows is not None:
        total += sum(_grown(base, side, rows) for side in sides)
    return total + _count_unlisted(pair, sides)


def _has_pooler(pair: Pair) -> bool:
    """Encoders' files hold a pooler; a class builds it for whole texts, unless its head (then a
    nested one, such as roberta's) has a dense layer of its own."""
    task = pair.config.task_type
    if task == "SEQ_CLS":
        return not any(tensor.module == "classifier.dense" for tensor in pair.others)
    return task not in ("TOKEN_CLS", "QUESTION_ANS") and not pair.base.has_head


def _grown(base: BaseView, side: str, rows: int) -> int:
    """How many parameters a side gains by the resize (weight and bias)."""
    if base.tied and side == base.output_head:
        return 0
    specs = (base.tree.parameters.get(f"{side}.{leaf}") for leaf in ("weight", "bias"))
    shapes = (spec.shape for spec in specs if spec is not None)
    return sum((rows - shape[0]) * prod(shape[1:]) for shape in shapes if shape)


def _count_unlisted(pair: Pair, sides: Iterable[str]) -> int:
    """What the built model has and the base's file does not: the head of the task."""
    if pair.base.tree.exact:
        return 0
    known = pair.base.tree.parameters
    return sum(
        prod(tensor.shape)
        for tensor in pair.others
        if tensor.key.part in (Part.SAVED, Part.BIAS)
        and tensor.parameter not in known
        and tensor.module not in sides
        and pair.saved_root(tensor.module) is not None
    )


def _bytes(tensor: FileTensor) -> int:
    return prod(tensor.shape) * _FILE_BYTES.get(tensor.spec.dtype, 1)


_FILE_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
}
