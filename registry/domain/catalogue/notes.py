"""Codes that a plan can live with: warnings, information, advice.

`key-names-nonstandard` stands here with its commoner severity; without a certain rename it is an
error, and then it means `incompatible`.
"""

from __future__ import annotations

from registry.domain.catalogue.kinds import IssueKind, Severity
from registry.domain.status import Status


def _warning(code: str, title: str, cause: str, fix: str) -> IssueKind:
    return IssueKind(code, Severity.WARNING, None, 0, title, cause, fix)


def _info(code: str, title: str, cause: str, fix: str) -> IssueKind:
    return IssueKind(code, Severity.INFO, None, 0, title, cause, fix)


def _advice(code: str, title: str, cause: str, fix: str) -> IssueKind:
    return IssueKind(code, Severity.ADVICE, None, 0, title, cause, fix)


WARNINGS = (
    _warning(
        "base-overwritten",
        "The adapter overwrites base weights",
        "Tensors of the file replace parameters of the base itself, so switching the adapter off "
        "does not give the base back.",
        "Do not share this loaded base with other adapters.",
    ),
    _warning(
        "base-quantized",
        "The base is quantised",
        "Shapes of packed weights say little, and loading needs the quantiser's library.",
        "Install the library that the base's quantization_config names, or name the dense base.",
    ),
    _warning(
        "weights-pickle",
        "The adapter's weights are a pickle",
        "Only adapter_model.bin is there. It is read without running it; proofs take safetensors.",
        "Ask the author for adapter_model.safetensors.",
    ),
    _warning(
        "base-rows-disagree",
        "The base's weights and config disagree",
        "The weights have another number of vocabulary rows than the base's config says.",
        "Ask the base's author which is right; transformers may refuse to load it.",
    ),
    _warning(
        "base-weights-pickle",
        "The base's weights are a pickle",
        "The base offers no safetensors file; proofs take safetensors only.",
        "Name a revision or mirror of the base with safetensors files.",
    ),
    _warning(
        "rewrites-base-weights",
        "Loading rewrites base weights",
        "This initialisation (PiSSA, OLoRA, …) subtracts a part of the base when it is loaded.",
        "Do not share the loaded base; or convert the adapter to plain LoRA when saving.",
    ),
    _warning(
        "config-unknown-keys",
        "Unknown keys in the adapter's config",
        "PEFT ignores keys that it does not know, and what they switch on with them.",
        "Load it with the PEFT version or fork that wrote the config.",
    ),
    _warning(
        "tokenizer-unknown",
        "The tokenizer's length is unknown",
        "The tokenizer files do not tell their length without running the tokenizer.",
        "Save the tokenizer as a fast tokenizer (tokenizer.json).",
    ),
    _warning(
        "bias-not-saved",
        "Trained biases are not in the file",
        "The config says that biases were trained; the file holds none.",
        "Save the adapter again with PEFT, or set bias to none if none were trained.",
    ),
    _warning(
        "scale-unverifiable",
        "The scale cannot be seen",
        "The config leaves out the value that scales the update; PEFT takes its default.",
        "Write lora_alpha into adapter_config.json.",
    ),
    _warning(
        "not-reproducible",
        "Two loads differ",
        "The load uses random numbers or operations without a fixed order.",
        "Convert the adapter to plain LoRA when saving.",
    ),
    _warning(
        "merge-unsafe",
        "Merging would lose or spoil the adapter",
        "Merged weights are not base plus update: through tied weights, or through rounding.",
        "Serve it unmerged; or untie the head and merge in float32.",
    ),
    _warning(
        "tower-not-exercised",
        "A tower was not exercised",
        "The adapter touches a vision or audio tower and the probe was text only.",
        "Try the loaded model on an image or a sound yourself.",
    ),
    _warning(
        "chat-template-differs",
        "The chat template is another",
        "The adapter's tokenizer formats chats otherwise than the base's.",
        "Serve with the adapter's tokenizer.",
    ),
    _warning(
        "generation-config-differs",
        "The generation config is another",
        "The adapter ships a generation_config.json that the base does not have; PEFT ignores it.",
        "Set the adapter's generation config when serving.",
    ),
    _warning(
        "proof-out-of-memory",
        "The proof did not fit",
        "The device has too little memory for base and adapter. The adapter is not at fault.",
        "Prove it on a larger device.",
    ),
    _warning(
        "proof-timeout",
        "The proof took too long",
        "The proof was stopped at its deadline. The adapter is not at fault.",
        "Prove it again, on a faster device.",
    ),
    _warning(
        "sandbox-missing",
        "No sandbox for proofs",
        "Proofs run other people's files and need bubblewrap or a container.",
        "Install bubblewrap, or set LOADPLAN_SANDBOX=process inside a container.",
    ),
)

INFOS = (
    _info(
        "vocabulary-grown",
        "The vocabulary was grown",
        "The adapter was trained with more vocabulary rows than the base has.",
        "Follow the plan: it resizes the base to the file's rows before the adapter is loaded.",
    ),
    _info(
        "vocabulary-shrunk",
        "The vocabulary was shrunk",
        "The adapter was trained with fewer vocabulary rows than the base has.",
        "Follow the plan: it resizes the base to the file's rows before the adapter is loaded.",
    ),
    _info(
        "tokenizer-longer-than-rows",
        "The tokenizer is longer than the rows",
        "The only tokens above the base's rows are for padding; nothing reads their rows.",
        "Nothing to do; pad with attention masks as usual.",
    ),
    _info(
        "labels-from-file",
        "The number of labels comes from the file",
        "The saved classifier's rows say how many labels the base must be built with.",
        "Follow the plan: it loads the base with num_labels.",
    ),
    _info(
        "base-unpinned",
        "The config pins no base revision",
        "The adapter's config does not say which commit of the base it was trained on.",
        "Follow the plan: it pins the base's commit. Set revision when you save.",
    ),
    _info(
        "base-differs-from-declared",
        "Another base than declared",
        "This record is for a base that the caller named, not for the declared one.",
        "Nothing to do if that is what you meant.",
    ),
    IssueKind(
        "key-names-nonstandard",
        Severity.INFO,
        Status.INCOMPATIBLE,
        1,
        "Tensor names that PEFT does not match",
        "A wrapper, an export or an older library left its mark in the names; PEFT would load "
        "nothing and only warn.",
        "Follow the plan, which renames them; or save the adapter again with PEFT.",
    ),
    _info(
        "lossy-cast",
        "Values are rounded on loading",
        "The model's dtype is narrower than the file's.",
        "Load the base in the file's dtype if the difference matters.",
    ),
)

ADVICE = (
    _advice(
        "rank-high",
        "A high rank",
        "The rank is so high that a large share of the parameters is trained.",
        "Start at rank 8 or 16 and raise it only if the result improves.",
    ),
    _advice(
        "full-embeddings-saved",
        "Whole embeddings are saved",
        "Full embedding or head matrices dominate the file.",
        "Save full layers only when they really changed; trainable_token_indices saves new rows.",
    ),
    _advice(
        "duplicate-tensors-saved",
        "Tensors are saved twice",
        "The file holds copies of saved modules that PEFT does not read.",
        "Save the adapter again with PEFT; it writes each module once.",
    ),
    _advice(
        "new-tokens-need-training",
        "New tokens need training data",
        "Rows of new tokens start without meaning.",
        "Train with enough text that uses the new tokens, and ship the tokenizer with the adapter.",
    ),
)

NOTES = WARNINGS + INFOS + ADVICE
