"""Names and shapes of known architectures, as transformers builds them (tied heads left out)."""

from __future__ import annotations

from collections.abc import Iterator

Shapes = dict[str, tuple[int, ...]]


def llama(
    *,
    layers: int,
    hidden: int,
    intermediate: int,
    vocabulary: int,
    keys: int,
    queries: int | None = None,
    tied: bool = False,
    attention_bias: bool = False,
    head_norm: int | None = None,
    gemma_norms: bool = False,
) -> Shapes:
    """Llama and what is built like it: Qwen2 (`attention_bias`), Gemma 3 (`head_norm`, the width
    of one head, and `gemma_norms`). `keys` and `queries` are widths, heads times head size."""
    queries = queries or hidden
    shapes: Shapes = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for layer in range(layers):
        at = f"model.layers.{layer}"
        for name, rows in (("q", queries), ("k", keys), ("v", keys)):
            shapes[f"{at}.self_attn.{name}_proj.weight"] = (rows, hidden)
            if attention_bias:
                shapes[f"{at}.self_attn.{name}_proj.bias"] = (rows,)
        shapes[f"{at}.self_attn.o_proj.weight"] = (hidden, queries)
        if head_norm:
            shapes[f"{at}.self_attn.q_norm.weight"] = (head_norm,)
            shapes[f"{at}.self_attn.k_norm.weight"] = (head_norm,)
        shapes[f"{at}.mlp.gate_proj.weight"] = (intermediate, hidden)
        shapes[f"{at}.mlp.up_proj.weight"] = (intermediate, hidden)
        shapes[f"{at}.mlp.down_proj.weight"] = (hidden, intermediate)
        shapes[f"{at}.input_layernorm.weight"] = (hidden,)
        shapes[f"{at}.post_attention_layernorm.weight"] = (hidden,)
        if gemma_norms:
            shapes[f"{at}.pre_feedforward_layernorm.weight"] = (hidden,)
            shapes[f"{at}.post_feedforward_layernorm.weight"] = (hidden,)
    shapes["model.norm.weight"] = (hidden,)
    if not tied:
        shapes["lm_head.weight"] = (vocabulary, hidden)
    return shapes


def gpt2(*, layers: int, hidden: int, vocabulary: int, positions: int) -> Shapes:
    """GPT-2: Conv1D weights are stored transposed, [in, out]."""
    shapes: Shapes = {
        "transformer.wte.weight": (vocabulary, hidden),
        "transformer.wpe.weight": (positions, hidden),
    }
    for layer in range(layers):
        at = f"transformer.h.{layer}"
        shapes |= _norm(f"{at}.ln_1", hidden)
        shapes |= _conv1d(f"{at}.attn.c_attn", hidden, 3 * hidden)
        shapes |= _conv1d(f"{at}.attn.c_proj", hidden, hidden)
        shapes |= _norm(f"{at}.ln_2", hidden)
        shapes |= _conv1d(f"{at}.mlp.c_fc", hidden, 4 * hidden)
        shapes |= _conv1d(f"{at}.mlp.c_proj", 4 * hidden, hidden)
    return shapes | _norm("transformer.ln_f", hidden)


def distilbert(*, layers: int, hidden: int, vocabulary: int, positions: int) -> Shapes:
    shapes: Shapes = {
        "distilbert.embeddings.word_embeddings.weight": (vocabulary, hidden),
        "distilbert.embeddings.position_embeddings.weight": (positions, hidden),
    }
    shapes |= _norm("distilbert.embeddings.LayerNorm", hidden)
    for layer in range(layers):
        at = f"distilbert.transformer.layer.{layer}"
        for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
            shapes |= _linear(f"{at}.attention.{name}", hidden, hidden)
        shapes |= _norm(f"{at}.sa_layer_norm", hidden)
        shapes |= _linear(f"{at}.ffn.lin1", hidden, 4 * hidden)
        shapes |= _linear(f"{at}.ffn.lin2", 4 * hidden, hidden)
        shapes |= _norm(f"{at}.output_layer_norm", hidden)
    shapes |= _linear("vocab_transform", hidden, hidden) | _norm("vocab_layer_norm", hidden)
    return shapes | {"vocab_projector.bias": (vocabulary,)}


def roberta(*, layers: int, hidden: int, vocabulary: int, positions: int) -> Shapes:
    shapes: Shapes = {
        "roberta.embeddings.word_embeddings.weight": (vocabulary, hidden),
        "roberta.embeddings.token_type_embeddings.weight": (1, hidden),
    }
    shapes |= _norm("roberta.embeddings.LayerNorm", hidden)
    shapes["roberta.embeddings.position_embeddings.weight"] = (positions, hidden)
    for layer in range(layers):
        at = f"roberta.encoder.layer.{layer}"
        for name in ("query", "key", "value"):
            shapes |= _linear(f"{at}.attention.self.{name}", hidden, hidden)
        shapes |= _linear(f"{at}.attention.output.dense", hidden, hidden)
        shapes |= _norm(f"{at}.attention.output.LayerNorm", hidden)
        shapes |= _linear(f"{at}.intermediate.dense", hidden, 4 * hidden)
        shapes |= _linear(f"{at}.output.dense", 4 * hidden, hidden)
        shapes |= _norm(f"{at}.output.LayerNorm", hidden)
    shapes["lm_head.bias"] = (vocabulary,)
    return shapes | _linear("lm_head.dense", hidden, hidden) | _norm("lm_head.layer_norm", hidden)


def m2m100(*, layers: int, hidden: int, vocabulary: int) -> Shapes:
    """M2M-100 and NLLB: one table shared by encoder, decoder and head."""
    shapes: Shapes = {"model.shared.weight": (vocabulary, hidden)}
    for side in ("encoder", "decoder"):
        for layer in range(layers):
            for name, shape in _m2m100_layer(side, hidden):
                shapes[f"model.{side}.layers.{layer}.{name}"] = shape
        shapes |= _norm(f"model.{side}.layer_norm", hidden)
    return shapes


def _m2m100_layer(side: str, hidden: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    attentions = ("self_attn", "encoder_attn") if side == "decoder" else ("self_attn",)
    for attention in attentions:
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            yield from _linear(f"{attention}.{name}", hidden, hidden).items()
        yield from _norm(f"{attention}_layer_norm", hidden).items()
    yield from _linear("fc1", hidden, 4 * hidden).items()
    yield from _linear("fc2", 4 * hidden, hidden).items()
    yield from _norm("final_layer_norm", hidden).items()


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _conv1d(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (inputs, outputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
