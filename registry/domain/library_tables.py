"""Facts about transformers 5.23 and PEFT 0.21 that the rules look up. A test compares each table
with the installed libraries."""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Model types whose linear layers are transformers' Conv1D: weights are stored [in, out].
CONV1D_MODEL_TYPES = frozenset(
    {"gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp", "clvp_decoder"}
)

# Model types with a checkpoint conversion: PEFT translates LoRA names (and fuses experts) while it
# loads, so a name that the built model lacks proves nothing.
CONVERTED_MODEL_TYPES = _names(
    """
    afmoe altclip aria aria_text audioflamingo3 axk1 axk2 aya_vision bailing_hybrid beam
    cohere2_moe cohere_asr colqwen2 cosmos3_edge cosmos3_omni d_fine deepseek_ocr2 deepseek_v2
    deepseek_v3 deepseek_v32 deepseek_v4 deformable_detr dinov3_convnext dinov3_vit dots1
    dots3_note_audio_encoder dots3_note_vision_encoder emu3 ernie4_5_moe ernie4_5_vl_moe esm
    exaone_moe flex_olmo flint fuyu gemma3 gemma3n_text gemma4_unified glm4_moe glm4_moe_lite
    glm4v_moe glm5_next glm5_next_text glm_moe_dsa glmasr got_ocr2 gradium_phonon_tts
    granite_speech granite_speech_plus granitemoe granitemoehybrid granitemoeshared gte hrm_text
    hunyuan_v1_moe hunyuan_vl hy_v3 hy_v4 hyperclovax_vision_v2 inkling2 inkling2_text
    inkling_mm_model internvl jamba jev jina_embeddings_v3 kimi_k25 kimi_linear kolibri1 laguna
    lfm2_moe lfm3 lfm3_vl_vision llava llava_next llava_next_video llava_onevision longcat_flash
    lw_detr maskformer mellum mimo_v2_flash minimax minimax_m2 minimax_m3_vl mistral3
    mistral_large4 mistral_large4_text mixtral mlcd mllama molmo2 musicflamingo nemo_speechlm
    nemotron_h nomic_bert olmo_hybrid olmoe paddleocr_vl paligemma phimoe pi0 pixio
    pp_chart2table pp_doclayout_v2 pp_doclayout_v3 pp_doclayout_v4 qianfan_ocr
    qwen2_5_omni_thinker qwen2_audio qwen2_moe qwen3_5_moe_text qwen3_5_text qwen3_moe
    qwen3_next qwen3_omni_moe qwen3_omni_moe_text qwen3_omni_moe_thinker qwen3_vl_moe
    qwen4_exp_text radio rt_detr rt_detr_v2 sam3_tracker sam3_tracker_video sapiens2
    shieldgemma2 solar_open step3p5_vision step3p7 swin t5gemma2_encoder timesfm2_5 timm_wrapper
    tipsv2 tipsv2_dpt unlimited_ocr vibevoice_asr video_llava videomae vipllava voxtral
    voxtral_realtime yolos
    """
)

# Modules whose own names the library's conversion changes while PEFT loads LoRA for them: the file
# that PEFT itself saved finds no place there. A pattern of module paths for each type.
RENAMED_AGAIN: dict[str, str] = {
    "inkling2": r"sconv\.weight_proj$|^(model\.)?vision_tower\.embeddings\.position_embedding$",
    "inkling2_text": r"sconv\.weight_proj$",
    "laguna": r"\.mlp\.shared_experts\.",
    "maskformer": r"\.blocks\.\d+\.(attention|intermediate|output)\.",
    "mistral_large4": r"\.mlp\.(gate$|shared_experts\.)",
    "mistral_large4_text": r"\.mlp\.(gate$|shared_experts\.)",
    "pi0": r"^embed_action_time\.",
    "tipsv2": r"^text_model\.embeddings\.token_embedding$",
    "unlimited_ocr": r"^(model\.)?language_model\.",
}

# Encoder-decoders whose input embedding is `shared`, whichever of its uses the files name.
SHARED_EMBEDDING_MODEL_TYPES = _names(
    """
    bart bigbird_pegasus blenderbot blenderbot-small led longt5 m2m_100 mbart mt5 mvp nllb-moe
    pegasus pegasus_x plbart prophetnet switch_transformers t5 udop umt5
    """
)

# Classifiers whose head is neither `score` nor `classifier`: PEFT does not save it unasked.
OTHER_HEAD_MODEL_TYPES = _names(
    "bart bigbird_pegasus flaubert mbart mt5 mvp perceiver plbart t5 umt5 xlm xlnet"
)

# Types whose files name other modules than their classes build: layers that share one block, which
# the file holds once, or parts that each task has of its own.
OWN_PARTS_MODEL_TYPES = frozenset({"perceiver", "zamba", "zamba2"})

_BERT_LIKE = _names(
    """
    bert big_bird deberta deberta-v2 ernie fnet layoutlm megatron-bert mobilebert mra nomic_bert
    nystromformer roc_bert roformer squeezebert tapas yoso
    """
)
_ROBERTA_LIKE = _names(
    """
    bert-generation camembert data2vec-text gte ibert jina_embeddings_v3 longformer mpnet roberta
    roberta-prelayernorm xlm-roberta xlm-roberta-xl xmod
    """
)
# Types of which files leave the tied output head out, and whose path only the type tells.
TIED_HEADS: dict[str, str] = {
    **dict.fromkeys(_BERT_LIKE, "cls.predictions.decoder"),
    **dict.fromkeys(_ROBERTA_LIKE, "lm_head.decoder"),
    **dict.fromkeys(("electra", "convbert"), "generator_lm_head"),
    **dict.fromkeys(("biogpt", "trocr"), "output_projection"),
    **dict.fromkeys(("modernbert", "modernbert-decoder"), "decoder"),
    **dict.fromkeys(("xlm", "flaubert"), "pred_layer.proj"),
    **dict.fromkeys(("t5gemma", "t5gemma2"), "lm_head.out_proj"),
    **dict.fromkeys(("kosmos-2", "kosmos-2.5"), "text_model.lm_head"),
    **dict.fromkeys(("bart", "funnel", "mbart", "mvp", "neomme"), "lm_head"),
    "albert": "predictions.decoder",
    "distilbert": "vocab_projector",
    "gpt_neox_japanese": "embed_out",
    "whisper": "proj_out",
    "xlnet": "lm_loss",
}
