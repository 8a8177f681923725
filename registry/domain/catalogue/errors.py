"""Codes that keep a pair from being loaded, or from being judged."""

from __future__ import annotations

from registry.domain.catalogue.kinds import IssueKind, Severity
from registry.domain.status import Status


def _incompatible(code: str, title: str, cause: str, fix: str) -> IssueKind:
    return IssueKind(code, Severity.ERROR, Status.INCOMPATIBLE, 1, title, cause, fix)


def _unsupported(code: str, title: str, cause: str, fix: str) -> IssueKind:
    return IssueKind(code, Severity.ERROR, Status.UNSUPPORTED, 3, title, cause, fix)


def _blocked(code: str, title: str, cause: str, fix: str, *, exit_code: int = 3) -> IssueKind:
    return IssueKind(code, Severity.ERROR, Status.BLOCKED, exit_code, title, cause, fix)


def _failed(code: str, title: str, cause: str, fix: str) -> IssueKind:
    return IssueKind(code, Severity.ERROR, Status.FAILED, 5, title, cause, fix)


INCOMPATIBLE = (
    _incompatible(
        "vocabulary-conflict",
        "Vocabulary rows contradict each other",
        "Tensors of the file pin different row counts, so no single resize fits them all.",
        "Save the adapter again from the trained model, input and output embeddings together.",
    ),
    _incompatible(
        "token-index-out-of-range",
        "A token id lies beyond the rows",
        "An id that the tokenizer, a config or trainable_token_indices uses has no row.",
        "Publish the embedding rows that the ids need, or correct the ids.",
    ),
    _incompatible(
        "shape-mismatch",
        "A tensor's shape does not fit the base",
        "The tensor was made for a module of another size: mostly another base model.",
        "Name the base that the adapter was trained on.",
    ),
    _incompatible(
        "rank-mismatch",
        "Tensors and config disagree about the rank",
        "PEFT builds the adapter from the config's rank and cannot fill it from these tensors.",
        "Set r (and rank_pattern) in adapter_config.json to what the tensors have.",
    ),
    _incompatible(
        "tensors-missing",
        "Adapter tensors are missing",
        "The config asks for parameters that the file does not hold; PEFT would start them fresh.",
        "Publish the complete file, or narrow target_modules to what was trained.",
    ),
    _incompatible(
        "tensors-unexpected",
        "The file holds tensors that nothing takes",
        "PEFT drops them without a word, so part of the training would be lost.",
        "Correct the config (target_modules, modules_to_save) or name the right base.",
    ),
    _incompatible(
        "modules-to-save-missing",
        "A saved module is not in the file",
        "modules_to_save names a module whose weights are not in the file; PEFT raises KeyError.",
        "Save the adapter again with the module, or remove the name from modules_to_save.",
    ),
    _incompatible(
        "layers-outside-base",
        "The file has more layers than the base",
        "Tensors name layers that the base does not have; PEFT drops them without a word.",
        "Name the base that the adapter was trained on.",
    ),
    _incompatible(
        "empty-tensors",
        "Tensors without content",
        "The file holds tensors of size 0: mostly a ZeRO-3 run that saved only its own part.",
        "Gather the weights before saving (zero_to_fp32, or stage3_gather_16bit_weights_on_save).",
    ),
    _incompatible(
        "dora-flag-missing",
        "DoRA weights without the flag",
        "The file holds DoRA magnitudes, the config does not set use_dora; PEFT drops them.",
        'Set "use_dora": true in adapter_config.json.',
    ),
    _incompatible(
        "targets-not-found",
        "Target modules are not in the base",
        "target_modules names modules that this base does not have.",
        "Correct target_modules or name the base that the adapter was trained on.",
    ),
    _incompatible(
        "weights-missing",
        "The repository holds no adapter weights",
        "There is a config, but neither adapter_model.safetensors nor adapter_model.bin.",
        "Upload adapter_model.safetensors.",
    ),
    _incompatible(
        "weights-misnamed",
        "The weights have another name than PEFT reads",
        "PEFT reads adapter_model.safetensors or adapter_model.bin and looks no further.",
        "Rename the file to adapter_model.safetensors.",
    ),
    _incompatible(
        "weights-lfs-pointer",
        "A Git LFS pointer instead of the weights",
        "The text file that stands for the weights was uploaded, not the weights.",
        "Run `git lfs pull` where the adapter was saved and upload the real file.",
    ),
    _incompatible(
        "weights-truncated",
        "The weights file is cut off",
        "The file ends before its last tensor.",
        "Upload the weights again; the upload broke off.",
    ),
    _incompatible(
        "header-invalid",
        "The safetensors header is broken",
        "The header breaks a rule of the format, so no reader can load the file.",
        "Save the weights again with safetensors and upload the new file.",
    ),
    _incompatible(
        "weights-pickle-unsafe",
        "The pickle wants to run code",
        "The .bin file does more than rebuild tensors; loading it would run someone's code.",
        "Do not load it. Ask the author for a safetensors file.",
    ),
    _incompatible(
        "config-invalid",
        "The config cannot be read",
        "adapter_config.json (or the base's config.json) is not what PEFT can read.",
        "Save the config again with PEFT (save_pretrained).",
    ),
    _incompatible(
        "weights-not-finite",
        "NaN or infinity in the weights",
        "Loaded tensors hold values that are not numbers; outputs would be worthless.",
        "Publish a checkpoint from before the training diverged.",
    ),
    _incompatible(
        "no-effect",
        "The adapter changes nothing",
        "With the adapter the model computes exactly what it computes without it.",
        "Check that the trained weights were saved (lora_B is often all zero otherwise).",
    ),
    _incompatible(
        "new-rows-untrained",
        "New vocabulary rows without trained weights",
        "Token ids above the base's rows are in use and no tensor of the file fills their rows.",
        "Publish the trained embedding rows (modules_to_save or save_embedding_layers=True).",
    ),
)

UNSUPPORTED = (
    _unsupported(
        "not-a-peft-adapter",
        "Not a PEFT adapter",
        "The repository or folder holds no adapter_config.json that PEFT could read.",
        "Name a repository or sub-folder that holds a PEFT adapter.",
    ),
    _unsupported(
        "foreign-format",
        "Another tool's format",
        "The files belong to another tool than PEFT.",
        "Load it with the tool it is for, or convert it to PEFT's format.",
    ),
    _unsupported(
        "peft-type-unsupported",
        "A PEFT type that we cannot judge",
        "This kind of adapter can be neither rehearsed without weights nor proven by our gates.",
        "Load it by hand and compare its outputs with the author's.",
    ),
    _unsupported(
        "base-remote-code",
        "The base needs code from its repository",
        "The base's classes are in its repository; we never run such code.",
        "Name a base of the same weights that transformers knows by itself.",
    ),
    _unsupported(
        "base-architecture-unknown",
        "Unknown base architecture",
        "The base's config names no model type that transformers knows.",
        "Name another base, or ask again when transformers supports it.",
    ),
    _unsupported(
        "resize-incomplete",
        "The base cannot be resized completely",
        "After a resize part of this model would keep the old vocabulary.",
        "Publish the resized and merged model instead.",
    ),
    _unsupported(
        "config-pattern-too-slow",
        "A pattern takes too long to match",
        "A regular expression of the config does not finish within our limit.",
        "Replace the pattern in target_modules by a list of module names.",
    ),
)

BLOCKED = (
    _blocked(
        "base-undeclared",
        "No base is declared",
        "adapter_config.json names no base model.",
        "Ask again with a base.",
    ),
    _blocked(
        "base-local-path",
        "The declared base is a local path",
        "base_model_name_or_path is a folder on the author's machine.",
        "Ask again with a base.",
    ),
    _blocked(
        "base-not-found",
        "The base cannot be found",
        "The declared base does not exist, or is private to a token that we do not have.",
        "Ask again with a base, or set HF_TOKEN.",
    ),
    _blocked(
        "adapter-not-found",
        "The adapter cannot be found",
        "The repository does not exist, or is private to a token that we do not have.",
        "Check the name; for a private repository set HF_TOKEN.",
    ),
    _blocked(
        "revision-not-found",
        "No such revision",
        "The repository has no branch, tag or commit of this name.",
        "Name a branch, tag or commit that the repository has.",
    ),
    _blocked(
        "adapter-gated",
        "The adapter is gated",
        "The adapter's author grants access on request.",
        "Accept the terms on the Hub and set HF_TOKEN.",
        exit_code=4,
    ),
    _blocked(
        "base-gated",
        "The base is gated",
        "The base's author grants access on request.",
        "Accept the terms of the base on the Hub and set HF_TOKEN.",
        exit_code=4,
    ),
)

FAILED = (
    _failed(
        "hub-unreachable",
        "The Hub cannot be reached",
        "No connection could be made, or it broke off each time.",
        "Check the network and HF_ENDPOINT, then ask again.",
    ),
    _failed(
        "hub-rate-limited",
        "The Hub's quota is used up",
        "The Hub asked us to wait.",
        "Wait for the time given, or set HF_TOKEN for a larger quota.",
    ),
    _failed(
        "hub-error",
        "The Hub answered with an error",
        "The Hub could not serve the request.",
        "Ask again later; an earlier record still stands.",
    ),
    _failed(
        "hub-mirror-limited",
        "The mirror offers too little",
        "This mirror lacks the routes that are needed to read the repository.",
        "Set HF_ENDPOINT to the Hub itself, or to a mirror with the API and range requests.",
    ),
)

ERRORS = INCOMPATIBLE + UNSUPPORTED + BLOCKED + FAILED
