"""Base models without weights: the corpus's own where it is at hand, else the same made here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tests.data import shapes
from tests.data.shapes import Shapes
from tests.data.tokenizers import tokenizer_files
from tests.data.weights import Files, Tensors, sharded_files

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
# The size at which transformers 4 began a new shard when the large models were published.
SHARD_BYTES = 10_000_000_000


@dataclass(frozen=True)
class Base:
    """A base model: its config and its parameters as transformers names them.

    `tokenizer_length` is the length of the tokenizer that `base_repository` puts beside it.
    """

    repo_id: str
    config: Mapping[str, object]
    shapes: Shapes
    tokenizer_length: int | None = None
    dtype: str = "BF16"

    @property
    def model_type(self) -> str:
        return str(self.config["model_type"])

    @property
    def input_name(self) -> str:
        """The input embedding's module path."""
        names = ("embed_tokens", "wte", "word_embeddings", "model.shared")
        return next(
            name.removesuffix(".weight")
            for name in self.shapes
            if name.removesuffix(".weight").endswith(names)
        )

    @property
    def rows(self) -> int:
        return self.shapes[f"{self.input_name}.weight"][0]

    @property
    def width(self) -> int:
        return self.shapes[f"{self.input_name}.weight"][1]


def base_repository(
    base: Base,
    *,
    tensors: Tensors | None = None,
    shard_bytes: int = SHARD_BYTES,
    tokenizer: Files | None = None,
    more: Files | None = None,
) -> Files:
    """config.json, weights of header and hole (sharded above `shard_bytes`), a tokenizer.

    `tensors` replaces the names and shapes that the Hub's file of this base has.
    """
    if tokenizer is None and base.tokenizer_length is not None:
        tokenizer = tokenizer_files(base.tokenizer_length)
    return {
        "config.json": json.dumps(base.config, indent=2) + "\n",
        **sharded_files(tensors or as_on_hub(base), shard_bytes=shard_bytes),
        **(tokenizer or {}),
        **(more or {}),
    }


def as_on_hub(base: Base) -> Tensors:
    """The tensors under the names that the base's file on the Hub has.

    gpt2's file has no model prefix; it, distilgpt2, Llama 2 and RoBERTa hold buffers or layers
    that the model class of their config no longer has, or that this class does not use.
    """
    tensors = {name: (base.dtype, shape) for name, shape in base.shapes.items()}
    if base.model_type == "gpt2":
        positions = int(str(base.config["n_positions"]))
        mask = (base.dtype, (1, 1, positions, positions))
        for layer in range(int(str(base.config["n_layer"]))):
            tensors[f"transformer.h.{layer}.attn.bias"] = mask
        if base.repo_id == "gpt2":
            tensors = {name.removeprefix("transformer."): at for name, at in tensors.items()}
    if base.model_type == "roberta":
        positions = int(str(base.config["max_position_embeddings"]))
        tensors["roberta.embeddings.position_ids"] = ("I64", (1, positions))
        tensors["roberta.pooler.dense.weight"] = (base.dtype, (base.width, base.width))
        tensors["roberta.pooler.dense.bias"] = (base.dtype, (base.width,))
    if base.repo_id.startswith("meta-llama/Llama-2-"):
        for layer in range(int(str(base.config["num_hidden_layers"]))):
            tensors[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = (base.dtype, (64,))
    return tensors


def load_base(repo_id: str, corpus: Path | None = CORPUS) -> Base:
    """The base of the corpus, or the one made here where the corpus has no such folder."""
    made = STAND_INS[repo_id]()
    folder = corpus / "bases" / repo_id.replace("/", "__") if corpus else None
    # The corpus keeps this one under the name by which it was first known.
    if folder and not folder.is_dir():
        folder = folder.with_name(repo_id.rsplit("/", 1)[-1])
    if folder is None or not folder.is_dir():
        return made
    config = json.loads((folder / "config.json").read_text())
    listed = json.loads((folder / "tensors.json").read_text())
    return replace(
        made,
        config=config,
        shapes={name: tuple(shape) for name, shape in listed["tensors"].items()},
        dtype=listed["dtype"],
    )


def llama_2_7b() -> Base:
    return _causal(
        "meta-llama/Llama-2-7b-chat-hf",
        "llama",
        shapes.llama(layers=32, hidden=4096, intermediate=11008, vocabulary=32000, keys=4096),
        heads=(32, 32),
        max_position_embeddings=2048,
        rms_norm_eps=1e-05,
        hidden_act="silu",
        head_dim=128,
        bos_token_id=1,
        eos_token_id=2,
    )


def llama_70b() -> Base:
    """The shape of an 80-layer model with grouped keys; no published repository's."""
    made = shapes.llama(layers=80, hidden=8192, intermediate=28672, vocabulary=32000, keys=1024)
    return _causal("acme/llama-70b", "llama", made, heads=(64, 8), head_dim=128)


def llama_32_1b() -> Base:
    return _causal(
        "meta-llama/Llama-3.2-1B",
        "llama",
        shapes.llama(
            layers=16, hidden=2048, intermediate=8192, vocabulary=128256, keys=512, tied=True
        ),
        heads=(32, 8),
        max_position_embeddings=131072,
        rms_norm_eps=1e-05,
        hidden_act="silu",
        head_dim=64,
        bos_token_id=1,
        eos_token_id=2,
    )


def qwen25_05b() -> Base:
    made = _causal(
        "Qwen/Qwen2.5-0.5B-Instruct",
        "qwen2",
        shapes.llama(
            layers=24,
            hidden=896,
            intermediate=4864,
            vocabulary=151936,
            keys=128,
            tied=True,
            attention_bias=True,
        ),
        heads=(14, 2),
        max_position_embeddings=32768,
        rms_norm_eps=1e-06,
        hidden_act="silu",
        bos_token_id=None,
        eos_token_id=None,
    )
    return replace(made, tokenizer_length=151665)


def gemma3_270m() -> Base:
    layers = 18
    return _causal(
        "google/gemma-3-270m",
        "gemma3_text",
        shapes.llama(
            layers=layers,
            hidden=640,
            intermediate=2048,
            vocabulary=262144,
            keys=256,
            queries=1024,
            tied=True,
            head_norm=256,
            gemma_norms=True,
        ),
        heads=(4, 1),
        max_position_embeddings=131072,
        rms_norm_eps=1e-06,
        hidden_activation="gelu_pytorch_tanh",
        head_dim=256,
        query_pre_attn_scalar=256,
        sliding_window=512,
        layer_types=[
            "full_attention" if layer % 6 == 5 else "sliding_attention" for layer in range(layers)
        ],
        bos_token_id=2,
        eos_token_id=1,
        pad_token_id=0,
    )


def gpt2() -> Base:
    return _gpt2("gpt2", layers=12)


def distilgpt2() -> Base:
    return _gpt2("distilbert/distilgpt2", layers=6)


def distilbert() -> Base:
    config = {
        "architectures": ["DistilBertForMaskedLM"],
        "activation": "gelu",
        "dim": 768,
        "hidden_dim": 3072,
        "max_position_embeddings": 512,
        "model_type": "distilbert",
        "n_heads": 12,
        "n_layers": 6,
        "pad_token_id": 0,
        "tie_word_embeddings": True,
        "vocab_size": 30522,
    }
    made = shapes.distilbert(layers=6, hidden=768, vocabulary=30522, positions=512)
    return Base("distilbert-base-uncased", config, made, 30522)


def roberta() -> Base:
    config = {
        "architectures": ["RobertaForMaskedLM"],
        "bos_token_id": 0,
        "eos_token_id": 2,
        "hidden_act": "gelu",
        "hidden_size": 768,
        "intermediate_size": 3072,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 514,
        "model_type": "roberta",
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "pad_token_id": 1,
        "tie_word_embeddings": True,
        "type_vocab_size": 1,
        "vocab_size": 50265,
    }
    made = shapes.roberta(layers=12, hidden=768, vocabulary=50265, positions=514)
    return Base("roberta-base", config, made, 50265)


def nllb_600m() -> Base:
    sides = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (("attention_heads", 16), ("ffn_dim", 4096), ("layers", 12))
    }
    config = {
        "architectures": ["M2M100ForConditionalGeneration"],
        "activation_function": "relu",
        "bos_token_id": 0,
        "d_model": 1024,
        "decoder_start_token_id": 2,
        "eos_token_id": 2,
        "is_encoder_decoder": True,
        "max_position_embeddings": 1024,
        "model_type": "m2m_100",
        "pad_token_id": 1,
        "scale_embedding": True,
        "tie_word_embeddings": True,
        "vocab_size": 256206,
        **sides,
    }
    made = shapes.m2m100(layers=12, hidden=1024, vocabulary=256206)
    return Base("facebook/nllb-200-distilled-600M", config, made, 256204)


def _gpt2(repo_id: str, *, layers: int) -> Base:
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "activation_function": "gelu_new",
        "bos_token_id": 50256,
        "eos_token_id": 50256,
        "layer_norm_epsilon": 1e-05,
        "model_type": "gpt2",
        "n_embd": 768,
        "n_head": 12,
        "n_layer": layers,
        "n_positions": 1024,
        "tie_word_embeddings": True,
        "vocab_size": 50257,
    }
    made = shapes.gpt2(layers=layers, hidden=768, vocabulary=50257, positions=1024)
    return Base(repo_id, config, made, 50257)


def _causal(
    repo_id: str, model_type: str, made: Shapes, *, heads: tuple[int, int], **more: object
) -> Base:
    """A decoder-only base; what its config and its shapes both say is read from the shapes."""
    classes = {"llama": "Llama", "qwen2": "Qwen2", "gemma3_text": "Gemma3"}
    rows, hidden = made["model.embed_tokens.weight"]
    layers = sum(name.endswith(".mlp.gate_proj.weight") for name in made)
    config = {
        "architectures": [f"{classes[model_type]}ForCausalLM"],
        "hidden_size": hidden,
        "intermediate_size": made["model.layers.0.mlp.gate_proj.weight"][0],
        "model_type": model_type,
        "num_attention_heads": heads[0],
        "num_hidden_layers": layers,
        "num_key_value_heads": heads[1],
        "tie_word_embeddings": "lm_head.weight" not in made,
        "vocab_size": rows,
        **more,
    }
    return Base(repo_id, config, made, rows)


STAND_INS = {
    "meta-llama/Llama-2-7b-chat-hf": llama_2_7b,
    "meta-llama/Llama-3.2-1B": llama_32_1b,
    "Qwen/Qwen2.5-0.5B-Instruct": qwen25_05b,
    "google/gemma-3-270m": gemma3_270m,
    "gpt2": gpt2,
    "distilbert/distilgpt2": distilgpt2,
    "distilbert-base-uncased": distilbert,
    "roberta-base": roberta,
    "facebook/nllb-200-distilled-600M": nllb_600m,
}
