"""How many labels a classification base must be built with, from the saved classifier's rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from registry.domain.tensors import Shape

CLASSIFICATION_TASKS = frozenset({"SEQ_CLS", "TOKEN_CLS"})
# transformers' own default for `num_labels`.
DEFAULT_LABELS = 2

_HEADS = (
    *("classifier", "score", "classification_head", "sequence_summary", "logits_proj"),
    "final_layer",
)
_PROJECTIONS = ("out_proj", "linear_out", "summary")


@dataclass(frozen=True)
class LabelRows:
    """The tensor whose first dimension is the number of labels."""

    tensor: str
    module: str
    shape: Shape

    @property
    def labels(self) -> int:
        return self.shape[0]


def find_label_rows(weights: Iterable[tuple[str, str, Shape]]) -> LabelRows | None:
    """Look through (tensor, module, shape) of saved weights for the classifier's last layer.

    That is `score`, `classifier` or what the class has in their place, or the last layer below one
    (roberta's head has a dense layer before its `out_proj`).
    """
    found: list[LabelRows] = []
    for tensor, module, shape in weights:
        if len(shape) != 2:
            continue
        parent, _, last = module.rpartition(".")
        head = parent.rpartition(".")[2] if last in _PROJECTIONS else last
        if head in _HEADS:
            found.append(LabelRows(tensor, module, shape))
    return min(found, key=lambda rows: (rows.module.count("."), rows.module), default=None)


def is_label_module(module: str, rows: LabelRows | None) -> bool:
    """True for the module whose rows follow `num_labels` (its bias as well)."""
    return rows is not None and module == rows.module
