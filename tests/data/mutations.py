"""Ways to spoil a sound adapter. None of the results may ever be proven.

A mutation gets the file's tensors, the config and the kind; None where it means nothing for this
kind. The plan stays the sound adapter's, as if the planner had been deceived: the gates stand
alone here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from safetensors.torch import load_file

from tests.data.spoiling import (
    Mutation,
    Spoiled,
    configure,
    drop,
    is_copy,
    is_lora,
    names_with,
    on_base,
    rename,
    saved_names,
)

MUTATIONS: dict[str, Mutation] = {}
# What neither shapes nor values can reveal: these load, and only a warning can say so.
INVISIBLE: dict[str, Mutation] = {}


def _register(table: dict[str, Mutation]) -> Callable[[Mutation], Mutation]:
    def add(mutation: Mutation) -> Mutation:
        table[mutation.__name__.replace("_", "-")] = mutation
        return mutation

    return add


spoils = _register(MUTATIONS)
hides = _register(INVISIBLE)


# --- tensors that are not there ------------------------------------------------------------------


@spoils
def drop_a_layer(spoiled: Spoiled) -> Spoiled | None:
    names = names_with(spoiled, ".layers.1.", ".h.1.", ".layer.1.", ".block.1.")
    return drop(spoiled, names)


@spoils
def drop_one_tensor(spoiled: Spoiled) -> Spoiled | None:
    # RandLoRA saves its shared projections under many names; one of them is not missed.
    shared = ("randlora_A", "randlora_B")
    names = [n for n in sorted(spoiled.tensors) if not is_copy(n) and not n.endswith(shared)]
    return drop(spoiled, names[-1:])


@spoils
def drop_a_lora_b(spoiled: Spoiled) -> Spoiled | None:
    return drop(spoiled, names_with(spoiled, "lora_B.weight")[:1])


@spoils
def drop_every_lora_b(spoiled: Spoiled) -> Spoiled | None:
    return drop(spoiled, names_with(spoiled, "lora_B."))


@spoils
def drop_every_lora_a(spoiled: Spoiled) -> Spoiled | None:
    return drop(spoiled, names_with(spoiled, "lora_A."))


@spoils
def drop_a_target(spoiled: Spoiled) -> Spoiled | None:
    targets = spoiled.config.get("target_modules")
    target = sorted(targets)[0] if isinstance(targets, list) and targets else "\0"
    return drop(
        spoiled, [n for n in names_with(spoiled, f".{target}.") if n not in saved_names(spoiled)]
    )


@spoils
def drop_a_saved_module(spoiled: Spoiled) -> Spoiled | None:
    names = saved_names(spoiled)
    module = names[0].rsplit(".", 1)[0] if names else "\0"
    return drop(spoiled, [name for name in names if name.startswith(module)])


@spoils
def drop_an_expert(spoiled: Spoiled) -> Spoiled | None:
    return drop(spoiled, names_with(spoiled, ".experts.2."))


@spoils
def drop_the_magnitudes(spoiled: Spoiled) -> Spoiled | None:
    return drop(spoiled, names_with(spoiled, "lora_magnitude_vector"))


@spoils
def drop_the_token_delta(spoiled: Spoiled) -> Spoiled | None:
    return (
        drop(spoiled, names_with(spoiled, "trainable_tokens_delta"))
        if len(spoiled.tensors) > 1
        else None
    )


# --- tensors that are too much -------------------------------------------------------------------


@spoils
def add_a_layer_the_base_lacks(spoiled: Spoiled) -> Spoiled | None:
    names = names_with(spoiled, ".layers.1.", ".h.1.", ".layer.1.", ".block.1.")
    for name in names:
        more = name
        for part in ("layers", "h", "layer", "block"):
            more = more.replace(f".{part}.1.", f".{part}.7.")
        spoiled.tensors[more] = spoiled.tensors[name].clone()
    return spoiled if names else None


@spoils
def add_an_unknown_tensor(spoiled: Spoiled) -> Spoiled | None:
    spoiled.tensors["base_model.model.classifier_of_old.weight"] = torch.ones(3, 32)
    return spoiled


@spoils
def add_quantisation_leftovers(spoiled: Spoiled) -> Spoiled | None:
    names = names_with(spoiled, "lora_A.weight")
    for name in names[:2]:
        stem = name.replace("lora_A.weight", "base_layer.weight.absmax")
        spoiled.tensors[stem] = torch.ones(8)
    return spoiled if names else None


@spoils
def add_a_weight_of_the_base(spoiled: Spoiled) -> Spoiled | None:
    if spoiled.kind.family not in ("llama", "llama-tied", "qwen2", "mixtral"):
        return None
    if spoiled.config["peft_type"] == "LN_TUNING" or "norm" in (
        spoiled.config.get("modules_to_save") or []
    ):
        return None
    spoiled.tensors["base_model.model.model.norm.weight"] = torch.full((32,), 1.5)
    return spoiled


# --- names ---------------------------------------------------------------------------------------


@spoils
def prefix_of_torch_compile(spoiled: Spoiled) -> Spoiled | None:
    return rename(spoiled, lambda name: f"_orig_mod.{name}")


@spoils
def prefix_of_fsdp(spoiled: Spoiled) -> Spoiled | None:
    return rename(
        spoiled, lambda n: n.replace("base_model.model.", "base_model.model._fsdp_wrapped_module.")
    )


@spoils
def prefix_of_data_parallel(spoiled: Spoiled) -> Spoiled | None:
    return rename(spoiled, lambda name: f"module.{name}")


@spoils
def prefix_doubled(spoiled: Spoiled) -> Spoiled | None:
    return rename(
        spoiled, lambda n: n.replace("base_model.model.", "base_model.model.base_model.model.")
    )


@spoils
def prefix_lost(spoiled: Spoiled) -> Spoiled | None:
    # Where transformers renames weights, PEFT adds the prefix again on the way.
    if spoiled.kind.family == "mixtral":
        return None
    return rename(spoiled, lambda name: name.removeprefix("base_model.model."))


@spoils
def names_of_another_tool(spoiled: Spoiled) -> Spoiled | None:
    return rename(spoiled, lambda n: n.replace("lora_A", "lora_down").replace("lora_B", "lora_up"))


@spoils
def another_adapter_name_left_in(spoiled: Spoiled) -> Spoiled | None:
    return rename(
        spoiled,
        lambda n: n.replace("lora_A.weight", "lora_A.chat.weight").replace(
            "lora_B.weight", "lora_B.chat.weight"
        ),
    )


@spoils
def factors_exchanged(spoiled: Spoiled) -> Spoiled | None:
    if not names_with(spoiled, "lora_A.weight"):
        return None
    marked = {n.replace("lora_A.", "lora_X."): t for n, t in spoiled.tensors.items()}
    marked = {n.replace("lora_B.", "lora_A."): t for n, t in marked.items()}
    spoiled.tensors = {n.replace("lora_X.", "lora_B."): t for n, t in marked.items()}
    return spoiled


# --- shapes --------------------------------------------------------------------------------------


@spoils
def factors_transposed(spoiled: Spoiled) -> Spoiled | None:
    names = [
        n
        for n in names_with(spoiled, "lora_A.weight", "lora_B.weight")
        if spoiled.tensors[n].dim() == 2
    ]
    for name in names:
        spoiled.tensors[name] = spoiled.tensors[name].T
    return spoiled if names else None


@spoils
def rank_of_one_module_halved(spoiled: Spoiled) -> Spoiled | None:
    names = names_with(spoiled, "lora_A.weight")
    if not names or spoiled.tensors[names[0]].shape[0] < 2:
        return None
    for name in (names[0], names[0].replace("lora_A", "lora_B")):
        tensor = spoiled.tensors[name]
        rank = spoiled.tensors[names[0]].shape[0]
        spoiled.tensors[name] = (
            tensor[: tensor.shape[0] // 2]
            if name == names[0]
            else tensor[:, : tensor.shape[1] // 2]
        )
        if name == names[0]:
            assert spoiled.tensors[name].shape[0] * 2 == rank
    return spoiled


@spoils
def empty_tensors(spoiled: Spoiled) -> Spoiled | None:
    for name in spoiled.tensors:
        spoiled.tensors[name] = torch.zeros(0)
    return spoiled


@spoils
def one_more_row(spoiled: Spoiled) -> Spoiled | None:
    tables = [
        name
        for name in spoiled.tensors
        if name.endswith(("embed_tokens.weight", "lm_head.weight", "wte.weight"))
        or name.endswith(("embed_tokens.base_layer.weight", "lm_head.lora_B.weight"))
    ]
    for name in tables[:1]:
        table = spoiled.tensors[name]
        spoiled.tensors[name] = torch.cat([table, table[:1]])
    return spoiled if tables else None


@spoils
def one_label_more(spoiled: Spoiled) -> Spoiled | None:
    if spoiled.kind.labels is None:
        return None
    names = [n for n in saved_names(spoiled) if spoiled.tensors[n].shape[0] == spoiled.kind.labels]
    for name in names:
        head = spoiled.tensors[name]
        spoiled.tensors[name] = torch.cat([head, head[:1]])
    return spoiled if names else None


@spoils
def one_token_less(spoiled: Spoiled) -> Spoiled | None:
    names = names_with(spoiled, "trainable_tokens_delta")
    for name in names:
        spoiled.tensors[name] = spoiled.tensors[name][1:]
    return spoiled if names else None


@spoils
def a_wider_base(spoiled: Spoiled) -> Spoiled | None:
    return None if _learns_no_shape(spoiled) else on_base(spoiled, "wider")


@spoils
def a_base_with_fewer_layers(spoiled: Spoiled) -> Spoiled | None:
    return on_base(spoiled, "shallower") if names_with(spoiled, ".layers.1.") else None


@spoils
def a_base_with_more_layers(spoiled: Spoiled) -> Spoiled | None:
    if spoiled.config.get("layers_to_transform") or not names_with(spoiled, ".layers.1."):
        return None
    return on_base(spoiled, "deeper")


# --- values --------------------------------------------------------------------------------------


@spoils
def every_value_zero(spoiled: Spoiled) -> Spoiled | None:
    for name, tensor in spoiled.tensors.items():
        spoiled.tensors[name] = torch.zeros_like(tensor)
    return spoiled


@spoils
def every_update_zero(spoiled: Spoiled) -> Spoiled | None:
    if saved_names(spoiled) or spoiled.config.get("bias", "none") != "none":
        return None
    if spoiled.config.get("trainable_token_indices"):
        return None
    names = names_with(spoiled, "lora_B.", "lora_embedding_B")
    for name in names:
        spoiled.tensors[name] = torch.zeros_like(spoiled.tensors[name])
    return spoiled if names and not spoiled.kind.overwrites else None


@spoils
def inert_on_a_resized_base(spoiled: Spoiled) -> Spoiled | None:
    """New rows differ from one load to the next; that is no effect of the adapter."""
    if spoiled.kind.rows is None or spoiled.kind.overwrites:
        return None
    base = load_file(spoiled.base_folder / "model.safetensors")
    for name in names_with(spoiled, "lora_B."):
        spoiled.tensors[name] = torch.zeros_like(spoiled.tensors[name])
    for name in saved_names(spoiled):
        plain = name.removeprefix("base_model.model.")
        table = base.get(
            plain, base.get("model.embed_tokens.weight", base.get("transformer.wte.weight"))
        )
        assert table is not None
        saved = spoiled.tensors[name]
        rows = min(table.shape[0], saved.shape[0])
        saved[:rows] = table[:rows]
        for infix in (".modules_to_save.", ".original_module."):
            copy = name.replace(".weight", f"{infix}weight")
            if copy in spoiled.tensors:
                spoiled.tensors[copy] = saved.clone()
    return spoiled


def _put(spoiled: Spoiled, value: float, *, first: bool) -> Spoiled | None:
    names = [n for n, t in sorted(spoiled.tensors.items()) if t.is_floating_point()]
    names = [n for n in names if not is_copy(n)]
    tensor = spoiled.tensors[names[0] if first else names[-1]]
    tensor.view(-1)[0 if first else -1] = value
    return spoiled


@spoils
def a_nan(spoiled: Spoiled) -> Spoiled | None:
    return _put(spoiled, float("nan"), first=False)


@spoils
def a_nan_in_the_first_tensor(spoiled: Spoiled) -> Spoiled | None:
    return _put(spoiled, float("nan"), first=True)


@spoils
def an_infinity(spoiled: Spoiled) -> Spoiled | None:
    return _put(spoiled, float("-inf"), first=True)


@spoils
def a_copy_that_differs(spoiled: Spoiled) -> Spoiled | None:
    names = names_with(spoiled, ".modules_to_save.")
    for name in names:
        spoiled.tensors[name] = spoiled.tensors[name] + 1
    return spoiled if names else None


# --- the config ----------------------------------------------------------------------------------


@spoils
def dora_flag_lost(spoiled: Spoiled) -> Spoiled | None:
    return configure(spoiled, "use_dora", False)


@spoils
def bias_flag_lost(spoiled: Spoiled) -> Spoiled | None:
    return configure(spoiled, "bias", "none")


@spoils
def lora_bias_flag_lost(spoiled: Spoiled) -> Spoiled | None:
    return configure(spoiled, "lora_bias", False)


@spoils
def rank_pattern_lost(spoiled: Spoiled) -> Spoiled | None:
    return configure(spoiled, "rank_pattern", {})


@spoils
def layers_to_transform_lost(spoiled: Spoiled) -> Spoiled | None:
    return configure(spoiled, "layers_to_transform", None)


@spoils
def layer_replication_lost(spoiled: Spoiled) -> Spoiled | None:
    return configure(spoiled, "layer_replication", None)


@spoils
def modules_to_save_lost(spoiled: Spoiled) -> Spoiled | None:
    # For classifiers PEFT names the head itself.
    if spoiled.kind.task in ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS"):
        return None
    return configure(spoiled, "modules_to_save", None)


@spoils
def token_indices_lost(spoiled: Spoiled) -> Spoiled | None:
    return configure(spoiled, "trainable_token_indices", None)


@spoils
def target_parameters_lost(spoiled: Spoiled) -> Spoiled | None:
    return configure(spoiled, "target_parameters", None)


@spoils
def targets_narrower_than_the_file(spoiled: Spoiled) -> Spoiled | None:
    targets = spoiled.config.get("target_modules")
    if not isinstance(targets, list) or len(targets) < 2:
        return None
    return configure(spoiled, "target_modules", sorted(targets)[1:])


@spoils
def targets_that_match_nothing(spoiled: Spoiled) -> Spoiled | None:
    return configure(spoiled, "target_modules", ["no_such_module"])


@spoils
def another_rank(spoiled: Spoiled) -> Spoiled | None:
    rank = spoiled.config.get("r")
    return configure(spoiled, "r", rank * 2) if is_lora(spoiled) and rank else None


@spoils
def a_saved_module_nobody_trained(spoiled: Spoiled) -> Spoiled | None:
    if not is_lora(spoiled) or spoiled.kind.family not in ("llama", "qwen2", "llama-tied"):
        return None
    modules = spoiled.config.get("modules_to_save") or []
    if "norm" in modules:
        return None
    spoiled.config["modules_to_save"] = [*modules, "norm"]
    return spoiled


@spoils
def a_peft_type_that_does_not_exist(spoiled: Spoiled) -> Spoiled | None:
    return configure(spoiled, "peft_type", "BONE")


@spoils
def another_peft_type(spoiled: Spoiled) -> Spoiled | None:
    return configure(spoiled, "peft_type", "LOHA") if is_lora(spoiled) else None


# --- the file itself -----------------------------------------------------------------------------


@spoils
def truncated(spoiled: Spoiled) -> Spoiled | None:
    spoiled.garble = lambda path: path.write_bytes(path.read_bytes()[:-7])
    return spoiled


@spoils
def a_broken_header(spoiled: Spoiled) -> Spoiled | None:
    spoiled.garble = lambda path: path.write_bytes(
        path.read_bytes().replace(b"data_off", b"data_ofs")
    )
    return spoiled


@spoils
def a_pointer_instead_of_the_file(spoiled: Spoiled) -> Spoiled | None:
    text = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    spoiled.garble = lambda path: path.write_bytes(text) and None
    return spoiled


# --- what cannot be seen -------------------------------------------------------------------------


@hides
def rslora_flag_lost(spoiled: Spoiled) -> Spoiled | None:
    return configure(spoiled, "use_rslora", False)


@hides
def another_alpha(spoiled: Spoiled) -> Spoiled | None:
    return configure(spoiled, "lora_alpha", 32) if is_lora(spoiled) else None


@hides
def layers_exchanged(spoiled: Spoiled) -> Spoiled | None:
    if spoiled.kind.family not in ("llama", "qwen2") or not names_with(spoiled, ".layers.0."):
        return None
    if not names_with(spoiled, ".layers.1."):
        return None
    swapped = {".layers.0.": ".layers.1.", ".layers.1.": ".layers.0."}
    spoiled.tensors = {
        next((n.replace(a, b) for a, b in swapped.items() if a in n), n): tensor
        for n, tensor in spoiled.tensors.items()
    }
    return spoiled


@hides
def a_wider_base_for_frequencies(spoiled: Spoiled) -> Spoiled | None:
    return on_base(spoiled, "wider") if _learns_no_shape(spoiled) else None


def _learns_no_shape(spoiled: Spoiled) -> bool:
    """A list of coefficients fits a weight of any size."""
    return spoiled.config["peft_type"] in ("FOURIERFT", "WAVEFT")


@hides
def a_base_of_the_same_shape(spoiled: Spoiled) -> Spoiled | None:
    return on_base(spoiled, "twin")
