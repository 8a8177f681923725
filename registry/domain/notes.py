"""What the configs and the choice of files tell beside the shapes: warnings and information."""

from __future__ import annotations

from registry.domain.adapter_config import AdapterConfig
from registry.domain.assembly import Assembly
from registry.domain.base_model import BaseConfig, auto_classes
from registry.domain.classes import is_offered
from registry.domain.facts import AdapterFacts, BaseFacts, WeightsFormat
from registry.domain.issues import Issue, make_issue
from registry.domain.pair import LORA_PARTS
from registry.domain.refs import is_commit_sha, shown

# Initialisations that subtract a part of the base's weights when the adapter is loaded.
_REWRITING = ("pissa", "olora", "corda", "loftq", "lora_ga")
_RANDOM = "pissa_niter"
_MAX_KEYS = 8
# PEFT has these types, but they can be neither rehearsed without weights nor proven (measured with
# PEFT 0.21.2; all others do at least one of the two).
UNJUDGED_TYPES = {
    "XLORA": "it mixes other adapters, which lie elsewhere",
    "ADAMSS": "PEFT needs scikit-learn for it, which the runner does not have",
}


def note_adapter(adapter: AdapterFacts, config: AdapterConfig) -> list[Issue]:
    """What the adapter's own config and files say, whatever the base is."""
    issues: list[Issue] = []
    if adapter.weights is not None and adapter.weights.format is WeightsFormat.PICKLE:
        issues.append(make_issue("weights-pickle", "The weights are in adapter_model.bin."))
    if config.peft_type in UNJUDGED_TYPES:
        reason = UNJUDGED_TYPES[config.peft_type]
        issues.append(
            make_issue("peft-type-unsupported", f"{config.peft_type} is not judged: {reason}.")
        )
    if config.unknown_keys:
        keys = ", ".join(shown(key, 40) for key in sorted(config.unknown_keys)[:_MAX_KEYS])
        issues.append(make_issue("config-unknown-keys", f"PEFT does not know {keys}."))
    if config.peft_type == "LORA" and "lora_alpha" not in config.declared:
        issues.append(
            make_issue("scale-unverifiable", "The config has no lora_alpha; PEFT then takes 8.")
        )
    init = config.init_weights
    if isinstance(init, str) and init.lower().startswith(_REWRITING):
        message = f"The config sets the initialisation {shown(init, 40)}."
        issues.append(make_issue("rewrites-base-weights", message))
        if init.lower().startswith(_RANDOM):
            message = f"The initialisation {shown(init, 40)} draws random numbers at each load."
            issues.append(make_issue("not-reproducible", message))
    return issues


def note_base(base: BaseFacts, config: AdapterConfig, base_config: BaseConfig) -> list[Issue]:
    """What the base's config and files say."""
    issues: list[Issue] = []
    if config.revision is None or not is_commit_sha(config.revision):
        named = shown(config.revision) if config.revision else "none"
        issues.append(
            make_issue(
                "base-unpinned",
                f"The config names no commit of the base (revision: {named}); "
                f"the plan pins {base.ref.commit_sha}.",
            )
        )
    if base_config.remote_code:
        issues.append(
            make_issue(
                "base-remote-code",
                f"transformers does not know {shown(str(base_config.model_type))}; "
                "the base's classes are code in its repository.",
            )
        )
    elif not auto_classes(base_config.model_type):
        named = shown(base_config.model_type) if base_config.model_type else "no model_type"
        issues.append(
            make_issue(
                "base-architecture-unknown",
                f"The base's config names {named}; transformers has no model of that type.",
            )
        )
    if base_config.quantization is not None:
        issues.append(
            make_issue(
                "base-quantized", f"The base is quantised ({shown(base_config.quantization, 40)})."
            )
        )
    if base.weights is not None and base.weights.format is WeightsFormat.PICKLE:
        issues.append(
            make_issue("base-weights-pickle", "The base has no safetensors file, only pickles.")
        )
    return issues


def note_pair(adapter: AdapterFacts, base: BaseFacts, assembly: Assembly) -> list[Issue]:
    """What the two say together: tokenizers, generation configs, tied matrices."""
    issues = [*_note_tokenizers(adapter, base), *_note_rows(assembly)]
    digests = (adapter.generation_config_digest, base.generation_config_digest)
    if None not in digests and digests[0] != digests[1]:
        issues.append(
            make_issue(
                "generation-config-differs",
                "The adapter's generation_config.json is another than the base's.",
            )
        )
    pair = assembly.pair
    model_type = pair.base.config.model_type
    if auto_classes(model_type) and not is_offered(assembly.auto_class, model_type):
        issues.append(
            make_issue(
                "base-architecture-unknown",
                f"transformers has no {assembly.auto_class} for {shown(str(model_type))}.",
            )
        )
    sides = {pair.base.input_embedding, pair.base.tree.output_head} - {None}
    adapted = sorted(
        tensor.module
        for tensor in pair.tensors
        if tensor.key.module in sides and tensor.key.part in LORA_PARTS
    )
    if pair.base.tied and pair.is_lora and adapted:
        issues.append(
            make_issue(
                "merge-unsafe",
                f"{adapted[0]} is adapted and shares its weights with the other side: merging "
                "would change both.",
                tensor=adapted[0],
            )
        )
    return issues


def _note_tokenizers(adapter: AdapterFacts, base: BaseFacts) -> list[Issue]:
    own, theirs = adapter.tokenizer, base.tokenizer
    used = own or theirs
    if used is not None and used.length is None:
        whose = "adapter" if own is not None else "base"
        reason = shown(used.reason or "the files do not tell")
        return [make_issue("tokenizer-unknown", f"The {whose}'s tokenizer: {reason}.")]
    if own is None or theirs is None or own.chat_template == theirs.chat_template:
        return []
    if own.chat_template is None:
        message = "The adapter's tokenizer has no chat template, the base's has one."
    elif theirs.chat_template is None:
        message = "The adapter's tokenizer has a chat template, the base's has none."
    else:
        message = "The adapter's chat template is another than the base's."
    return [make_issue("chat-template-differs", message)]


def _note_rows(assembly: Assembly) -> list[Issue]:
    """The base's header beside its config, where neither side has the config's number."""
    base = assembly.pair.base
    declared = base.config.vocab_size
    rows = (base.tree.embedding_rows, base.tree.output_rows)
    known = [count for count in rows if count is not None]
    if declared is None or not known or declared in known:
        return []
    return [
        make_issue(
            "base-rows-disagree",
            f"The base's weights have {known[0]} rows, its config says vocab_size {declared}; "
            "the plan goes by the weights.",
        )
    ]
