"""The base's config.json as transformers' config object, read alike for rehearsals and loads.

How a machine computes attention or experts is not the checkpoint's to say. transformers takes the
wish from the file, and a name such as `org/kernel` (or `flash_attention_2` where that package is
absent) makes it fetch and run code of a repository of that name. So the wish is left out, at every
depth, and the library chooses as it does for a config without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING

from registry.domain.base_model import FILE_NAME, parse_base_config
from registry.domain.refs import shown
from registry.errors import FileNotFound, InvalidRequest

# transformers.configuration_utils sets any of these from the file's members.
_WISHES = frozenset(
    f"{before}{part}_implementation{after}"
    for part in ("attn", "experts")
    for before in ("", "_")
    for after in ("", "_internal")
)
_FLOATS = ("Infinity", "-Infinity", "NaN")


def make_config(raw: Mapping[str, Any], num_labels: int | None = None) -> Any:
    """The config object of the members of config.json; `num_labels` wins over the file's.

    Raises InvalidRequest for a model type that transformers does not have, and whatever its class
    raises for the members.
    """
    kind = raw.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise InvalidRequest(f"transformers has no model type {shown(repr(kind))}.")
    values = {key: value for key, value in _cleaned(raw).items() if key != "auto_map"}
    if kind == "mistral" and "layer_types" in values:
        # As AutoConfig does: these are published under the older type.
        kind = values["model_type"] = "ministral"
    if num_labels is not None and num_labels != len(values.get("id2label") or ()):
        # As a keyword of from_pretrained does: the labels' names follow their number.
        values = {k: v for k, v in values.items() if k not in ("id2label", "label2id")}
        values["num_labels"] = num_labels
    return CONFIG_MAPPING[kind].from_dict(values)


def read_config_file(folder: Path, num_labels: int | None = None) -> Any:
    """The same from the config.json of a local snapshot.

    Raises FileNotFound, ConfigInvalid, and what `make_config` raises.
    """
    try:
        data = (folder / FILE_NAME).read_bytes()
    except OSError as error:
        raise FileNotFound(f"{folder} holds no {FILE_NAME}.") from error
    config = make_config(parse_base_config(data).raw, num_labels)
    config.name_or_path = str(folder)
    return config


def _cleaned(value: Any) -> Any:
    """A copy without wishes at any depth, in which infinities and NaN are numbers: transformers
    writes them as {"__float__": "Infinity"}, and reads them back where it opens the file itself."""
    if isinstance(value, Mapping):
        if set(value) == {"__float__"} and value["__float__"] in _FLOATS:
            return float(value["__float__"])
        return {key: _cleaned(member) for key, member in value.items() if key not in _WISHES}
    return [_cleaned(member) for member in value] if isinstance(value, list) else value
