"""From facts to a record: which base, which plan, what a rehearsal makes of it.

choosing    which base an adapter goes on
pairs       facts to record
rehearsed   what the real PEFT's word makes of a record
comparing   the file's tensors beside the base's
recording   the one part that writes: a rehearsed record, for every place of its pair
"""

from registry.planning.choosing import BaseChoice, choose_base, differs_from_declared
from registry.planning.comparing import TensorPair, compare_tensors
from registry.planning.pairs import (
    plan_pair,
    shapes_fit,
    unread_record,
    unread_ref,
    with_choice_notes,
)
from registry.planning.recording import save_rehearsed
from registry.planning.rehearsed import Disagreement, find_disagreement, record_rehearsal

__all__ = [
    "BaseChoice",
    "Disagreement",
    "TensorPair",
    "choose_base",
    "compare_tensors",
    "differs_from_declared",
    "find_disagreement",
    "plan_pair",
    "record_rehearsal",
    "save_rehearsed",
    "shapes_fit",
    "unread_record",
    "unread_ref",
    "with_choice_notes",
]
