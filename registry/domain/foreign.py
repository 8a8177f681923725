"""Files named adapter_config.json that belong to other tools than PEFT, told by their keys."""

from __future__ import annotations

from collections.abc import Mapping

# Tool -> keys of which one is enough. None of them is a key of PEFT.
_TELLING_KEYS: tuple[tuple[str, frozenset[str]], ...] = (
    ("mlx-lm", frozenset({"fine_tune_type", "lora_parameters", "lora_layers"})),
    ("AdapterHub (adapter-transformers)", frozenset({"model_class"})),
    ("kohya-ss sd-scripts", frozenset({"network_module", "network_dim", "ss_network_module"})),
    ("LyCORIS", frozenset({"lycoris_config", "algo"})),
    ("diffusers", frozenset({"_diffusers_version", "_class_name"})),
    ("NVIDIA NeMo", frozenset({"peft_scheme", "nemo_version"})),
    ("OpenDelta", frozenset({"delta_type", "opendelta_version"})),
    ("ms-swift", frozenset({"swift_type"})),
    ("LitGPT", frozenset({"lora_query", "lora_r"})),
    ("LoRA code from before PEFT (alpaca-lora, loralib)", frozenset({"enable_lora"})),
)
# Tool -> keys that tell only together.
_TELLING_SETS: tuple[tuple[str, frozenset[str]], ...] = (
    ("mlx-lm", frozenset({"adapter_path", "num_layers"})),
    ("mlx-vlm", frozenset({"rank", "alpha", "dropout"})),
    ("transformers (a model's config.json)", frozenset({"architectures", "model_type"})),
)
_NEMO_KEYS = ("_target_", "target")


def foreign_tool(document: Mapping[str, object]) -> str | None:
    """The tool that the file is for, None when its keys tell of none.

    To be asked only of a file without a `peft_type`: PEFT ignores what it does not know, so a
    PEFT config stays one whatever keys another trainer has added.
    """
    keys = document.keys()
    for tool, telling in _TELLING_KEYS:
        if keys & telling:
            return tool
    for tool, together in _TELLING_SETS:
        if together <= keys:
            return tool
    if isinstance(document.get("config"), dict) and "hidden_size" in keys:
        return "AdapterHub (adapter-transformers)"
    if str(document.get("version", "")).startswith("adapters."):
        return "AdapterHub (adapter-transformers)"
    nested = document.get("peft")
    if isinstance(nested, dict) and "peft_scheme" in nested:
        return "NVIDIA NeMo"
    if any("nemo" in str(document.get(key, "")).lower() for key in _NEMO_KEYS):
        return "NVIDIA NeMo"
    return None


def merged_linear(document: Mapping[str, object]) -> bool:
    """True for LoRA over fused projections as PEFT had it before 0.3: a list in `enable_lora`
    that is not all False; the two matrices then have shapes that no later version reads."""
    enabled = document.get("enable_lora")
    return isinstance(enabled, list) and any(enabled)
