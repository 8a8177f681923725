"""An adapter's tensors beside the shapes that the base, as published, has room for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.keys import AdapterKey, Part, parse_key
from registry.domain.library_tables import CONV1D_MODEL_TYPES
from registry.domain.targets import make_rank_rule
from registry.domain.tensors import Shape, TensorSpec

_OWN_NAME = frozenset({Part.SAVED, Part.BIAS, Part.BASE_LAYER})


@dataclass(frozen=True)
class TensorPair:
    """`base_shape` is what the unchanged base would take this tensor in: the parameter's own shape
    for whole modules, for low-rank parts the shape that the module and the rank ask for. None, and
    `differs` None, where that is not known.
    """

    name: str
    dtype: str
    shape: Shape
    base_shape: Shape | None

    @property
    def differs(self) -> bool | None:
        return None if self.base_shape is None else self.shape != self.base_shape

    def to_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "base_shape": None if self.base_shape is None else list(self.base_shape),
            "differs": self.differs,
        }


def compare_tensors(adapter: AdapterFacts, base: BaseFacts | None) -> tuple[TensorPair, ...]:
    """Every tensor of the file; those that differ first, then the unknown, then by name."""
    layout = adapter.weights.layout if adapter.weights else None
    if layout is None:
        return ()
    config = adapter.config
    asked = _Asked(base, make_rank_rule(config) if config else lambda module: None)
    peft_type = config.peft_type if config else ""
    pairs = (
        TensorPair(spec.name, spec.dtype, spec.shape, asked.shape_for(spec, peft_type))
        for spec in layout
    )
    return tuple(sorted(pairs, key=lambda pair: (_ORDER[pair.differs], pair.name)))


_ORDER = {True: 0, None: 1, False: 2}


class _Asked:
    """What a base asks of the tensors for its modules."""

    def __init__(self, base: BaseFacts | None, rank: Callable[[str], int | None]) -> None:
        self._parameters = _parameters_of(base)
        model_type = base.config.model_type if base and base.config else None
        self._transposed = model_type in CONV1D_MODEL_TYPES
        self._quantized = bool(base and base.config and base.config.quantization)
        self._rank = rank

    def shape_for(self, spec: TensorSpec, peft_type: str) -> Shape | None:
        key = parse_key(spec.name, peft_type)
        if key.part in _OWN_NAME:
            return self._find(f"{key.module}.{key.leaf or 'weight'}")
        weight = self._find(f"{key.module}.weight")
        if weight is None or self._quantized:
            return None
        return self._low_rank(key, spec.shape, weight)

    def _low_rank(self, key: AdapterKey, shape: Shape, weight: Shape) -> Shape | None:
        """Linear layers ([out, in], or [in, out] where they are Conv1D) and embeddings."""
        if len(weight) != 2 or not shape:
            return None
        out, into = reversed(weight) if self._transposed else weight
        rank = self._rank(key.module)
        match key.part:
            case Part.LORA_A:
                return (rank or shape[0], into)
            case Part.LORA_B if key.leaf == "bias":
                return (out,)
            case Part.LORA_B:
                return (out, rank or shape[-1])
            case Part.MAGNITUDE:
                return (out,)
            # Embeddings are stored [rows, width] in every architecture.
            case Part.LORA_EMBEDDING_A:
                return (rank or shape[0], weight[0])
            case Part.LORA_EMBEDDING_B:
                return (weight[1], rank or shape[-1])
            case Part.TOKEN_DELTA:
                return (shape[0], weight[1])
            case _:
                return None

    def _find(self, name: str) -> Shape | None:
        """Files often leave out the model's own prefix: `h.0…` for `transformer.h.0…`."""
        while name not in self._parameters:
            _, dot, name = name.partition(".")
            if "." not in name or not dot:
                return None
        return self._parameters[name]


def _parameters_of(base: BaseFacts | None) -> Mapping[str, Shape]:
    if base is None:
        return {}
    layout = base.tree or (base.weights.layout if base.weights else None)
    return {spec.name: spec.shape for spec in layout or ()}
