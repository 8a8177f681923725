"""The steps of a load plan as values, as printed JSON, and the digest over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from registry.domain.canonical import canonical_json, sha256_digest
from registry.domain.refs import Digest
from registry.errors import InvalidRequest

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Side = Literal["input", "output"]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class LoadBase:
    """`auto_class.from_pretrained(repo_id, revision=revision, **kwargs)`.

    `kwargs` holds `dtype` (torch spelling) and `num_labels` when classifier rows decide it.
    """

    auto_class: str
    repo_id: str
    revision: str
    kwargs: Mapping[str, str | int]

    def to_json(self) -> dict[str, Json]:
        return {
            "op": "load_base",
            "auto_class": self.auto_class,
            "repo_id": self.repo_id,
            "revision": self.revision,
            "kwargs": dict(self.kwargs),
        }


@dataclass(frozen=True)
class LoadTokenizer:
    """Load the tokenizer; `length` is what `len(tokenizer)` then is."""

    of: Literal["adapter", "base"]
    repo_id: str
    revision: str
    length: int
    # Where in the repository the tokenizer lies; None for its root.
    subfolder: str | None = None

    def to_json(self) -> dict[str, Json]:
        document: dict[str, Json] = {
            "op": "load_tokenizer",
            "of": self.of,
            "repo_id": self.repo_id,
            "revision": self.revision,
            "length": self.length,
        }
        if self.subfolder is not None:
            document["subfolder"] = self.subfolder
        return document


@dataclass(frozen=True)
class ResizeEmbeddings:
    """Resize input and output embeddings to exactly `rows`, up or down, without mean resizing."""

    rows: int

    def to_json(self) -> dict[str, Json]:
        return {"op": "resize_embeddings", "rows": self.rows, "mean_resizing": False}


@dataclass(frozen=True)
class FillRows:
    """Set rows `first` to `end` (exclusive) of one side to the mean of the base's own rows."""

    side: Side
    first: int
    end: int

    def to_json(self) -> dict[str, Json]:
        return {
            "op": "fill_rows",
            "side": self.side,
            "first": self.first,
            "end": self.end,
            "with": "mean",
        }


@dataclass(frozen=True)
class RenameKeys:
    """File key -> key under which PEFT takes it; `dropped` keys are copies of a kept tensor."""

    renames: Mapping[str, str]
    dropped: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        return {"op": "rename_keys", "renames": dict(self.renames), "dropped": list(self.dropped)}


@dataclass(frozen=True)
class LoadAdapter:
    """`PeftModel.from_pretrained(base, repo_id, revision=revision, subfolder=subfolder)`.

    `overwrites` declares the base parameters that the file replaces, by their names in the
    plain base (`model.embed_tokens.weight`, `…q_proj.bias`), sorted: biases that the config trains,
    embeddings saved without being in modules_to_save. The loader refuses any other (rule 2).
    Printed as a member `overwrites` only when there are some.
    """

    repo_id: str
    revision: str
    subfolder: str | None
    kwargs: Mapping[str, str | int | bool] = field(default_factory=dict)
    overwrites: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        document: dict[str, Json] = {
            "op": "load_adapter",
            "repo_id": self.repo_id,
            "revision": self.revision,
            "subfolder": self.subfolder,
            "kwargs": dict(self.kwargs),
        }
        if self.overwrites:
            document["overwrites"] = list(self.overwrites)
        return document


Step = LoadBase | LoadTokenizer | ResizeEmbeddings | FillRows | RenameKeys | LoadAdapter


@dataclass(frozen=True)
class Plan:
    """Steps in the contract's order. `digest` says what is loaded, not where from."""

    digest: Digest
    steps: tuple[Step, ...]

    def to_json(self) -> dict[str, Json]:
        return {
            "schema_version": SCHEMA_VERSION,
            "digest": self.digest,
            "steps": [step.to_json() for step in self.steps],
        }


def compute_plan_digest(
    adapter_digest: Digest | None, base_digest: Digest | None, steps: tuple[Step, ...]
) -> Digest:
    """Contract section 3: repo ids and revisions stay out, so equal content has an equal plan."""
    bare: list[Json] = []
    for step in steps:
        document = step.to_json()
        bare.append({k: v for k, v in document.items() if k not in ("repo_id", "revision")})
    return sha256_digest(
        canonical_json(
            {
                "schema_version": SCHEMA_VERSION,
                "adapter": adapter_digest,
                "base": base_digest,
                "steps": bare,
            }
        )
    )


def plan_from_json(document: Mapping[str, object]) -> Plan:
    """The inverse of `Plan.to_json`. Raises InvalidRequest naming what is wrong."""
    if not isinstance(document, Mapping):
        raise InvalidRequest("A plan is a JSON object.")
    if document.get("schema_version") != SCHEMA_VERSION:
        raise InvalidRequest(
            f"This version reads plans of schema version {SCHEMA_VERSION}, "
            f"not {document.get('schema_version')!r:.40}."
        )
    digest = _member(document, "digest", str)
    steps = _member(document, "steps", list)
    return Plan(Digest(digest), tuple(_step_from_json(step) for step in steps))


def _step_from_json(document: object) -> Step:
    if not isinstance(document, Mapping):
        raise InvalidRequest("A step of a plan is a JSON object.")
    reader = _READERS.get(str(document.get("op")))
    if reader is None:
        raise InvalidRequest(f"Unknown step {str(document.get('op'))!r:.40} in a plan.")
    return reader(document)


def _read_load_base(document: Mapping[str, object]) -> Step:
    return LoadBase(
        _member(document, "auto_class", str),
        _member(document, "repo_id", str),
        _member(document, "revision", str),
        _scalars(document),
    )


def _read_load_tokenizer(document: Mapping[str, object]) -> Step:
    of = _member(document, "of", str)
    if of not in ("adapter", "base"):
        raise InvalidRequest("load_tokenizer is of the adapter or of the base.")
    return LoadTokenizer(
        "adapter" if of == "adapter" else "base",
        _member(document, "repo_id", str),
        _member(document, "revision", str),
        _member(document, "length", int),
        _text_or_none(document, "subfolder"),
    )


def _read_resize(document: Mapping[str, object]) -> Step:
    rows = _member(document, "rows", int)
    if rows < 1:
        raise InvalidRequest("resize_embeddings takes at least one row.")
    return ResizeEmbeddings(rows)


def _read_fill_rows(document: Mapping[str, object]) -> Step:
    side = _member(document, "side", str)
    if side not in ("input", "output"):
        raise InvalidRequest("fill_rows takes the side input or output.")
    first, end = _member(document, "first", int), _member(document, "end", int)
    return FillRows("input" if side == "input" else "output", first, end)


def _read_rename_keys(document: Mapping[str, object]) -> Step:
    renames = _member(document, "renames", dict)
    dropped = _member(document, "dropped", list)
    return RenameKeys(
        {str(key): str(value) for key, value in renames.items()}, tuple(map(str, dropped))
    )


def _read_load_adapter(document: Mapping[str, object]) -> Step:
    overwrites = _member(document, "overwrites", list) if "overwrites" in document else []
    return LoadAdapter(
        _member(document, "repo_id", str),
        _member(document, "revision", str),
        _text_or_none(document, "subfolder"),
        _scalars(document),
        tuple(map(str, overwrites)),
    )


_READERS: Mapping[str, Callable[[Mapping[str, object]], Step]] = {
    "load_base": _read_load_base,
    "load_tokenizer": _read_load_tokenizer,
    "resize_embeddings": _read_resize,
    "fill_rows": _read_fill_rows,
    "rename_keys": _read_rename_keys,
    "load_adapter": _read_load_adapter,
}

_T = TypeVar("_T")


def _member(document: Mapping[str, object], name: str, kind: type[_T]) -> _T:
    value = document.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InvalidRequest(f"The plan's {name!r} is missing or not of type {kind.__name__}.")
    return value


def _text_or_none(document: Mapping[str, object], name: str) -> str | None:
    return None if document.get(name) is None else _member(document, name, str)


def _scalars(document: Mapping[str, object]) -> dict[str, str | int]:
    """The `kwargs` of a step: names to strings and numbers, nothing that could carry code."""
    kwargs = _member(document, "kwargs", dict)
    for name, value in kwargs.items():
        if not isinstance(name, str) or not isinstance(value, str | int):
            raise InvalidRequest("The kwargs of a step are strings and whole numbers.")
    return kwargs
