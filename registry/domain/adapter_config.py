"""adapter_config.json as PEFT 0.3 to 0.21 and people's editors write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Keys are module names or patterns, values ranks or alphas, as PEFT's rank_pattern has them.
Pattern = Mapping[str, int | float]


@dataclass(frozen=True)
class AdapterConfig:
    """What PEFT would read. Fields that a PEFT type does not have keep their defaults.

    `target_modules` is a tuple of names, or one string that PEFT matches as a regular expression
    (`all-linear` included), or None for the type's default. `declared` holds the names of the keys
    that the file really has: an absent `lora_alpha` means 8 to PEFT, and we say so.
    `raw` is the parsed JSON object, for storage and digests.
    """

    peft_type: str
    task_type: str | None
    base_model_name_or_path: str | None
    revision: str | None
    r: int | None = None
    lora_alpha: float | None = None
    target_modules: tuple[str, ...] | str | None = None
    exclude_modules: tuple[str, ...] | str | None = None
    target_parameters: tuple[str, ...] | None = None
    modules_to_save: tuple[str, ...] | None = None
    rank_pattern: Pattern = field(default_factory=dict)
    alpha_pattern: Pattern = field(default_factory=dict)
    bias: str = "none"
    use_dora: bool = False
    use_rslora: bool = False
    lora_bias: bool = False
    fan_in_fan_out: bool = False
    init_weights: str | bool | None = None
    layers_to_transform: tuple[int, ...] | None = None
    layers_pattern: tuple[str, ...] | None = None
    layer_replication: tuple[tuple[int, int], ...] | None = None
    # A tuple of ids for the input embedding, or module name -> ids.
    trainable_token_indices: tuple[int, ...] | Mapping[str, tuple[int, ...]] | None = None
    alora_invocation_tokens: tuple[int, ...] | None = None
    ensure_weight_tying: bool = False
    has_auto_mapping: bool = False
    peft_version: str | None = None
    unknown_keys: tuple[str, ...] = ()
    declared: frozenset[str] = frozenset()
    raw: Mapping[str, object] = field(default_factory=dict)


def parse_adapter_config(data: bytes) -> AdapterConfig:
    """Parse the file. Raises ConfigInvalid, ForeignFormat (naming the tool) or NotAPeftAdapter."""
