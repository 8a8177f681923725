"""A tensor name of an adapter file: which module it belongs to and which part of the adapter it is.

PEFT writes `base_model.model.` + the module's path in the bare transformers model + the part, and
leaves the adapter's own name out (`lora_A.weight`, in the model `lora_A.default.weight`). It takes
names literally: a tensor under any other name is dropped without a word, or lands on a base
parameter that happens to have it. Wrappers (torch.compile, FSDP, DDP), other trainers and older
versions leave names behind that a person can read and PEFT cannot.

`parse_key` reads both. Its `canonical` is the name that PEFT expects as far as the form alone
settles it; whether the base has the module is for the caller to ask, and `canonical_candidates`
lists the names worth asking about.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache


class Part(StrEnum):
    """What a tensor is to its module. Values are the segments that PEFT writes, where it has any.

    SAVED and BIAS are parameters under their own name (`X.weight`, `X.bias`): a saved module, a
    resized embedding, a trained bias, or base weights that were saved along; the config says which.
    BASE_LAYER is the parameter below a LoRA layer (`X.base_layer.weight`).
    ORIGINAL is the untrained copy that older versions saved beside a module (`X.original_module`).
    OTHER is a part of a PEFT type than LoRA; PROMPT has no module.
    """

    LORA_A = "lora_A"
    LORA_B = "lora_B"
    LORA_E = "lora_E"
    LORA_EMBEDDING_A = "lora_embedding_A"
    LORA_EMBEDDING_B = "lora_embedding_B"
    MAGNITUDE = "lora_magnitude_vector"
    TOKEN_DELTA = "trainable_tokens_delta"  # noqa: S105
    SAVED = "saved"
    BIAS = "bias"
    BASE_LAYER = "base_layer"
    ORIGINAL = "original_module"
    PROMPT = "prompt"
    OTHER = "other"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class AdapterKey:
    """One file key. `module` is its path in the bare model (`model.layers.0.self_attn.q_proj`).

    `canonical` equals `file_key` when the name has PEFT's form, differs when another name is
    certain from the form alone, and is None when it is not. `leaf` is the last segment after the
    part (`weight`, `bias`, or empty). `base_layers` counts wrappers between module and part: PEFT
    nests the adapters of several `target_parameters` of one module. `adapter_name` is the name
    that was left in, if one was.
    """

    file_key: str
    module: str
    part: Part
    canonical: str | None
    leaf: str = ""
    base_layers: int = 0
    adapter_name: str | None = None

    @property
    def is_standard(self) -> bool:
        return self.canonical == self.file_key


PROMPT_TYPES = frozenset(
    {
        *{"PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING"},
        *{"CPT", "CARTRIDGE"},
    }
)
_PROMPT_KEYS = frozenset({"prompt_embeddings", "prefix_task_cols", "prefix_task_rows"})

# How the segments of a PEFT type's own parameters begin, where it is not the type in lower case
# and an underscore (`IA3` -> `ia3_`). Compared with PEFT's own classes by a test.
_PART_PREFIXES = {
    "ADALORA": "lora_",
    "ADAPTION_PROMPT": "adaption_",
    "LOHA": "hada_",
    "XLORA": "internal_xlora_classifier",
}
_NAMED_PARTS = {
    "lora_A": Part.LORA_A,
    "lora_B": Part.LORA_B,
    "lora_E": Part.LORA_E,
    "lora_embedding_A": Part.LORA_EMBEDDING_A,
    "lora_embedding_B": Part.LORA_EMBEDDING_B,
    "lora_magnitude_vector": Part.MAGNITUDE,
    "trainable_tokens_delta": Part.TOKEN_DELTA,
    "base_layer": Part.BASE_LAYER,
    "original_module": Part.ORIGINAL,
    "modules_to_save": Part.SAVED,
    # kohya-ss and diffusers spell the two matrices so.
    "lora_down": Part.LORA_A,
    "lora_up": Part.LORA_B,
    # AdaLoRA's bookkeeping, not read back from files.
    "ranknum": Part.OTHER,
}
# Parts that are a parameter of the layer itself; the others are modules with a `weight`.
_BARE_PARTS = frozenset(
    {Part.LORA_E, Part.LORA_EMBEDDING_A, Part.LORA_EMBEDDING_B, Part.TOKEN_DELTA}
)
# Parts whose name alone shows that the tensor belongs to an adapter.
_ADAPTER_PARTS = frozenset(
    {
        *{Part.LORA_A, Part.LORA_B, Part.LORA_E, Part.LORA_EMBEDDING_A, Part.LORA_EMBEDDING_B},
        *{Part.MAGNITUDE, Part.TOKEN_DELTA, Part.OTHER},
    }
)
# Names that wrappers insert anywhere in a path; no module of transformers has one of them.
_WRAPPERS = frozenset(
    {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}
)
# What may stand before `base_model` when a wrapper's own state dict was saved.
_OUTER_NAMES = frozenset({"module", "pretrained_model", "peft_model", "model"})
_DEFAULT = "default"
_PREFIX = "base_model.model."
# Nearly every tensor of nearly every adapter has this form; it is read without taking the name
# apart, unless a segment needs a second look.
_MATRICES = (".lora_A.weight", ".lora_B.weight")
_SPECIAL_SEGMENT = re.compile(
    r"(?:^|\.)(?:lora_|base_|modules_to|original_m|_orig|_fsdp|_check|_forw|trainable_|rank|\.|$)"
)

# Where transformers moved the parts of vision-language models in 4.52.
_MOVED_MODULES = (
    ("language_model.model.", "model.language_model."),
    ("language_model.lm_head", "lm_head"),
    ("model.", "model.language_model."),
    ("visual.", "model.visual."),
    ("vision_tower.", "model.vision_tower."),
    ("vision_model.", "model.vision_model."),
    ("multi_modal_projector.", "model.multi_modal_projector."),
)


@lru_cache(maxsize=65_536)
def parse_key(name: str, peft_type: str) -> AdapterKey:
    """Read one tensor name of an adapter of this PEFT type. Never raises.

    Rules: PEFT 0.21, `tuners_utils._remove_adapter_name_from_state_dict_key` and the
    `_remap_adapter_state_dict_for_load` of each tuner.
    """
    if name.endswith(_MATRICES) and name.startswith(_PREFIX) and peft_type == "LORA":
        module, _, rest = name[len(_PREFIX) :].rpartition(".lora_")
        if not _SPECIAL_SEGMENT.search(module):
            part = Part.LORA_A if rest[0] == "A" else Part.LORA_B
            return AdapterKey(name, module, part, name, "weight")
    reading = _read(name, peft_type)
    return AdapterKey(
        name,
        ".".join(reading.module),
        reading.part,
        _canonical(name, reading, peft_type),
        reading.leaf,
        reading.base_layers,
        reading.adapter_name,
    )


def _canonical(name: str, reading: _Reading, peft_type: str) -> str | None:
    """The name that PEFT expects; None where it is not certain, or would be read otherwise."""
    if not reading.certain:
        return None
    canonical = reading.name()
    if canonical == name:
        return canonical
    again = _read(canonical, peft_type)
    return canonical if again.certain and again.name() == canonical else None


def canonical_candidates(name: str, peft_type: str = "LORA") -> tuple[str, ...]:
    """Names under which PEFT may expect this tensor, the likeliest first; the base decides.

    Beside the canonical form: the path with a leading `model.` or `transformer.` more or less, with
    a segment that may be an adapter's name kept, and with the module names that transformers gave
    to vision-language models before and after 4.52.
    """
    reading = _read(name, peft_type)
    if reading.part is Part.UNKNOWN:
        return ()
    if reading.part is Part.PROMPT:
        return (reading.name(),)
    paths = [reading.module]
    if reading.other_path:
        paths.append(reading.other_path)
    paths += [path for known in tuple(paths) for path in _other_paths(known)]
    return tuple(dict.fromkeys(reading.name(path) for path in paths))


# --- reading -----------------------------------------------------------------------------------

_Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Reading:
    """A name taken apart. `segment` is the part as PEFT spells it, `tail` what follows it.

    `other_path` is the second way to read the path where a segment may be an adapter's name.
    """

    prefix: str
    module: _Path
    part: Part
    segment: str
    tail: _Path
    certain: bool
    base_layers: int = 0
    adapter_name: str | None = None
    other_path: _Path = ()

    @property
    def leaf(self) -> str:
        return self.tail[-1] if self.tail else ""

    def name(self, module: _Path | None = None) -> str:
        path = self.module if module is None else module
        wrappers = ("base_layer",) * self.base_layers
        segment = (self.segment,) if self.segment else ()
        return self.prefix + ".".join((*path, *wrappers, *segment, *self.tail))


def _read(name: str, peft_type: str) -> _Reading:
    if name in _PROMPT_KEYS:
        return _Reading("", (), Part.PROMPT, name, (), True)
    segments = tuple(part for part in name.split(".") if part not in _WRAPPERS)
    prefix, path, found = _split_prefix(segments, peft_type)
    if not path or "" in path:
        return _Reading("", segments, Part.UNKNOWN, "", (), False)
    at, part = _find_part(path, peft_type)
    reading = _read_part(prefix, path, at, part, peft_type)
    if found is None or (not found and reading.part not in _ADAPTER_PARTS):
        return replace(reading, certain=False)
    return reading


def _split_prefix(segments: _Path, peft_type: str) -> tuple[str, _Path, bool | None]:
    """The prefix PEFT expects, the path below it, and whether the file has a prefix (None: one
    that cannot be right)."""
    expected = "base_model." if peft_type in PROMPT_TYPES else _PREFIX
    doubtful = False
    if "base_model" in segments:
        begin = segments.index("base_model")
        doubtful = not _OUTER_NAMES.issuperset(segments[:begin])
        segments = segments[begin:]
    if peft_type in PROMPT_TYPES:
        found = segments[:1] == ("base_model",)
        return expected, segments[1:] if found else segments, None if doubtful else found
    path = segments
    while path[:2] == ("base_model", "model"):
        path = path[2:]
    if len(path) < len(segments):
        return expected, path, None if doubtful else True
    if path[:1] == ("base_model",):
        # Parameters of the tuner itself (`base_model.vera_A`) have no `model.`; modules do.
        if path[1:] and path[1].startswith(_own_prefix(peft_type)):
            return "base_model.", path[1:], None if doubtful else True
        return expected, path[1:], None
    return expected, path[1:] if path[:1] == ("module",) else path, False


def _own_prefix(peft_type: str) -> str:
    return _PART_PREFIXES.get(peft_type, f"{peft_type.lower()}_")


def _find_part(path: _Path, peft_type: str) -> tuple[int, Part]:
    """The position of the first segment that names a part; the path's length when none does."""
    own = _own_prefix(peft_type)
    for at, segment in enumerate(path):
        part = _NAMED_PARTS.get(segment)
        if part is not None:
            return at, part
        if segment.startswith(own):
            return at, Part.OTHER
    return len(path), Part.BIAS if path[-1] == "bias" else Part.SAVED


def _read_part(prefix: str, path: _Path, at: int, part: Part, peft_type: str) -> _Reading:
    module, tail = path[:at], path[at + 1 :]
    if at == len(path):
        return _Reading(prefix, path[:-1], part, "", path[-1:], True)
    if part is Part.SAVED:
        return _read_saved(prefix, module, tail)
    if part is Part.ORIGINAL:
        return _Reading(prefix, module + tail[:-1], part, "", tail[-1:], False)
    if part is Part.BASE_LAYER:
        return _read_below(prefix, path, at, peft_type)
    if part is Part.OTHER:
        return _read_other(prefix, module, path[at], tail)
    if part is Part.TOKEN_DELTA:
        wrapped = module[-1:] == ("token_adapter",)
        segment = "token_adapter.trainable_tokens_delta" if wrapped else path[at]
        return _read_bare(prefix, module[:-1] if wrapped else module, part, segment, tail)
    if part in _BARE_PARTS or (peft_type == "ADALORA" and part is not Part.MAGNITUDE):
        return _read_bare(prefix, module, part, part.value, tail)
    if part is Part.MAGNITUDE:
        return _read_magnitude(prefix, module, tail)
    return _read_matrix(prefix, module, part, tail)


def _read_saved(prefix: str, module: _Path, tail: _Path) -> _Reading:
    """`X.modules_to_save[.name].weight`; the saved module may have modules of its own."""
    if not tail:
        return _Reading(prefix, module, Part.UNKNOWN, "modules_to_save", (), False)
    part = Part.BIAS if tail[-1] == "bias" else Part.SAVED
    if tail[0] == _DEFAULT and len(tail) > 1:
        path = module + tail[1:-1]
        return _Reading(prefix, path, part, "", tail[-1:], True, 0, _DEFAULT)
    # Without `default`, the first segment is a module or another adapter's name.
    path, other = module + tail[:-1], module + tail[1:-1] if len(tail) > 1 else ()
    certain = len(tail) == 1
    return _Reading(prefix, path, part, "", tail[-1:], certain, 0, None, other)


def _read_below(prefix: str, path: _Path, at: int, peft_type: str) -> _Reading:
    """Below `base_layer`: the base's own parameter, or a nested adapter of another parameter."""
    below = at
    while below < len(path) and path[below] == "base_layer":
        below += 1
    if below == len(path):
        return _Reading(prefix, path[:at], Part.UNKNOWN, "base_layer", (), False)
    inner, part = _find_part(path[below:], peft_type)
    if inner == 0 and part in _ADAPTER_PARTS:
        nested = _read_part(prefix, path[:at] + path[below:], at, part, peft_type)
        return replace(nested, base_layers=below - at)
    return _Reading(prefix, path[:at], Part.BASE_LAYER, "", path[below:], True, below - at)


def _read_other(prefix: str, module: _Path, segment: str, tail: _Path) -> _Reading:
    """Parts of other PEFT types: the layout of each is PEFT's; only its default name is known."""
    if _DEFAULT not in tail:
        return _Reading(prefix, module, Part.OTHER, segment, tail, True)
    at = tail.index(_DEFAULT)
    rest = tail[:at] + tail[at + 1 :]
    return _Reading(prefix, module, Part.OTHER, segment, rest, True, 0, _DEFAULT)


def _read_bare(prefix: str, module: _Path, part: Part, segment: str, tail: _Path) -> _Reading:
    """`X.lora_embedding_A[.name]`: nothing follows the part but an adapter's name."""
    name = tail[0] if tail else None
    return _Reading(prefix, module, part, segment, (), len(tail) <= 1, 0, name)


def _read_magnitude(prefix: str, module: _Path, tail: _Path) -> _Reading:
    """`X.lora_magnitude_vector`; PEFT reads it with `.weight` as well."""
    if tail == ("weight",):
        return _Reading(prefix, module, Part.MAGNITUDE, Part.MAGNITUDE.value, tail, True)
    known = len(tail) <= 1 or (len(tail) == 2 and tail[1] == "weight")
    name = tail[0] if tail else None
    return _Reading(prefix, module, Part.MAGNITUDE, Part.MAGNITUDE.value, (), known, 0, name)


def _read_matrix(prefix: str, module: _Path, part: Part, tail: _Path) -> _Reading:
    """`X.lora_A[.name].weight`, and `.bias` with lora_bias."""
    leaf = tail[-1:] if tail[-1:] in (("weight",), ("bias",)) else ("weight",)
    names = tail[:-1] if tail[-1:] == leaf else tail
    certain = tail[-1:] == leaf and len(names) <= 1
    name = names[0] if names else None
    return _Reading(prefix, module, part, part.value, leaf, certain, 0, name)


def _other_paths(path: Sequence[str]) -> list[_Path]:
    """Other places where the base may have the module, by what tools and versions have done."""
    if not path:
        return []
    text = ".".join(path)
    variants = [f"model.{text}", f"transformer.{text}"]
    variants += [text.removeprefix(lost) for lost in ("model.", "transformer.", "module.")]
    variants += [
        new + text.removeprefix(old) for old, new in _MOVED_MODULES if text.startswith(old)
    ]
    return [tuple(variant.split(".")) for variant in dict.fromkeys(variants) if variant]
