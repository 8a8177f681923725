"""Small adapters and bases on the local Hub, sound ones and each kind of broken one."""

from tests.data.adapters import Lora, lora_adapter
from tests.data.bases import CORPUS, Base, base_repository, load_base
from tests.data.shapes import llama
from tests.data.tokenizers import tokenizer_files

LAYERS, HIDDEN, ROWS = 2, 64, 320


def tiny_base(repo_id="tiny/llama"):
    """A Llama of two layers: everything a real one has, and read in a moment."""
    return Base(
        repo_id,
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": ROWS,
            "hidden_size": HIDDEN,
            "intermediate_size": 2 * HIDDEN,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "bos_token_id": ROWS - 2,
            "eos_token_id": ROWS - 1,
        },
        llama(layers=LAYERS, hidden=HIDDEN, intermediate=2 * HIDDEN, vocabulary=ROWS, keys=HIDDEN),
        tokenizer_length=ROWS,
    )


def publish_base(hub, repo_id="tiny/llama"):
    base = tiny_base(repo_id)
    hub.add_commit(repo_id, base_repository(base))
    return base


def adapter_files(lora=None, **more):
    return lora_adapter(tiny_base(), lora or Lora(), **more)


def publish_adapter(hub, repo_id, lora=None, **more):
    return hub.add_commit(repo_id, adapter_files(lora, **more))


def grown(rows=ROWS + 5):
    """The canonical case at small scale: new tokens, embedding and head saved at the new rows."""
    return adapter_files(Lora(input_rows=rows, output_rows=rows), tokenizer=tokenizer_files(rows))


# What each adapter of the corpus is to give beside base-unpinned, which all have. Statuses without
# a rehearsal; the outcome of one is the business of the rehearsal's own tests.
CORPUS_BASES = {
    "gpt2-chat": "gpt2",
    "distilgpt2": "distilbert/distilgpt2",
    "llama32-1b": "meta-llama/Llama-3.2-1B",
    "qwen25-tokenizer-shorter": "Qwen/Qwen2.5-0.5B-Instruct",
    "gemma3-270m-local-base": "google/gemma-3-270m",
    "nllb-seq2seq": "facebook/nllb-200-distilled-600M",
    "distilbert-imdb": "distilbert-base-uncased",
    "gpt2-score-head": "gpt2",
    "roberta-agnews-bias-all": "roberta-base",
}


def publish_corpus(hub):
    """Every adapter of the corpus as corpus/<name>, its base beside it, old ids redirected."""
    for repo_id in dict.fromkeys(CORPUS_BASES.values()):
        hub.add_commit(repo_id, base_repository(load_base(repo_id)))
    hub.redirect("distilgpt2", "distilbert/distilgpt2")
    for name in CORPUS_BASES:
        folder = CORPUS / "adapters" / name
        files = {path.name: path for path in folder.iterdir() if path.name != "PROVENANCE.json"}
        hub.add_commit(f"corpus/{name}", files)
