"""Shapes of the base's parameters as a load meets them: plainly, and along the plan."""

from __future__ import annotations

from dataclasses import dataclass

from registry.domain.base_view import BaseView
from registry.domain.labels import LabelRows, is_label_module
from registry.domain.tensors import Shape


@dataclass(frozen=True)
class Expected:
    """`rows` are the vocabulary rows after the plan's resize, None without one.

    `labels` is the tensor whose rows are the number of labels; without the plan the base has
    `naive_labels`.
    """

    base: BaseView
    rows: int | None
    labels: LabelRows | None
    naive_labels: int

    @property
    def changing(self) -> tuple[str | None, ...]:
        """Modules whose shape the plan may change."""
        label = None if self.labels is None else self.labels.module
        return (self.base.input_embedding, self.base.output_head, label)

    def planned(self, module: str, leaf: str = "weight") -> Shape | None:
        """The shape along the plan, None when not known or when the file itself decides it."""
        if self.labels is not None and is_label_module(module, self.labels):
            return None
        shape = self.base.parameter(module, leaf)
        if not shape or self.rows is None or self.base.side_of(module) is None:
            return shape
        return (self.rows, *shape[1:])

    def naive(self, module: str, leaf: str = "weight") -> Shape | None:
        """The shape without the plan, None when not known."""
        if self.labels is not None and is_label_module(module, self.labels):
            width = self.labels.shape[1:] if leaf == "weight" else ()
            return (self.naive_labels, *width)
        return self.base.parameter(module, leaf)
