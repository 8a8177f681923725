"""One adapter on one base, taken apart: what every rule of the planner reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from registry.domain.adapter_config import AdapterConfig
from registry.domain.base_view import BaseView
from registry.domain.keys import AdapterKey, Part, parse_key
from registry.domain.targets import TargetRule
from registry.domain.tensors import Layout, Shape, TensorSpec, once_per_layout

# Parts that PEFT's LoRA layers own; one of them makes its module an adapted one.
LORA_PARTS = frozenset(
    {
        *{Part.LORA_A, Part.LORA_B, Part.LORA_E, Part.MAGNITUDE},
        *{Part.LORA_EMBEDDING_A, Part.LORA_EMBEDDING_B},
    }
)
# Their first axis is the rank.
_FIRST_MATRICES = frozenset({Part.LORA_A, Part.LORA_EMBEDDING_A})


class FileTensor(NamedTuple):
    """A tensor of the file under the name that it has once the plan renamed it.

    `spec.name` is its name in the file, `key` the effective name taken apart. A named tuple: an
    adapter has hundreds, and a frozen dataclass takes three times as long to make.
    """

    spec: TensorSpec
    key: AdapterKey

    @property
    def shape(self) -> Shape:
        return self.spec.shape

    @property
    def module(self) -> str:
        return self.key.module

    @property
    def parameter(self) -> str:
        """The name in the bare model, for tensors that are a parameter under their own name."""
        return f"{self.key.module}.{self.key.leaf}" if self.key.module else self.key.leaf


class Keyed(NamedTuple):
    """The tensors of a file beside their keys, and what these tell without a base.

    `ranks` has the number of adapted modules of each rank, None for types without ranks.
    """

    tensors: tuple[FileTensor, ...]
    modules: frozenset[str]
    ranks: Mapping[str, int] | None


@once_per_layout
def read_keys(layout: Layout, peft_type: str) -> Keyed:
    """Take every name of a file apart."""
    tensors = tuple([FileTensor(spec, parse_key(spec.name, peft_type)) for spec in layout])
    ranks = Counter(
        spec.shape[0] for spec, key in tensors if key.part in _FIRST_MATRICES and spec.shape
    )
    return Keyed(
        tensors,
        frozenset({key.module for _, key in tensors}),
        MappingProxyType({str(rank): count for rank, count in sorted(ranks.items())}) or None,
    )


@dataclass(frozen=True)
class Pair:
    """`tensors` are those that the plan keeps, `others` those of them that are no part of a LoRA
    layer. `saved_root(module)` is the saved module that holds a path, None when it is in none;
    `rank(module)` the rank that PEFT gives it. `adapted` are the modules with tensors of LoRA,
    `nested` those of them where adapters wrap each other.
    """

    config: AdapterConfig
    base: BaseView
    tensors: tuple[FileTensor, ...]
    others: tuple[FileTensor, ...]
    targets: TargetRule
    rank: Callable[[str], int | None]
    saved_root: Callable[[str], str | None]
    adapted: frozenset[str]
    nested: frozenset[str]

    @property
    def is_lora(self) -> bool:
        return self.config.peft_type in ("LORA", "ADALORA")

    @property
    def wraps_parameters(self) -> bool:
        """True where PEFT adapts what is no module of the plain base."""
        return bool(self.config.target_parameters or self.config.layer_replication)
