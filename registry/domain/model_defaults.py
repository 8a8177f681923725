"""Defaults of transformers 5.23's config classes, and types whose files it renames. Tables; a test
compares them with the library."""

from __future__ import annotations

from collections.abc import Mapping


def _types(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Model types whose checkpoints the library renames or refuses to take literally while it loads
# them (experts apart, see `registry.domain.modules`): names in their files are not module names.
RENAMED_MODEL_TYPES = _types(
    """
    altclip aria audio-spectrogram-transformer audioflamingo3 axk1 axk2 aya_vision bailing_hybrid
    beit chinese_clip_vision_model clip_text_model clip_vision_model cohere_asr colqwen2
    conditional_detr cosmos3_edge cosmos3_omni d_fine deepseek_ocr2 deepseek_v4 deformable_detr deit
    detr dinov2 dinov2_with_registers dinov3_convnext dinov3_vit dots3_note dots3_note_audio_encoder
    dots3_note_vision_encoder emu3 ernie4_5_moe ernie4_5_vl_moe esm exaone_moe flint fuyu gemma3
    gemma3n_text gemma4_unified glm5_next glm5_next_text glmasr got_ocr2 gradium_phonon_tts
    granite_speech granite_speech_plus granitemoe granitemoehybrid granitemoeshared gte hrm_text
    hunyuan_vl hy_v3 hy_v4 hyperclovax_vision_v2 ijepa inkling2 inkling2_text inkling_mm_model
    internvl jev jina_embeddings_v3 kimi_k25 kimi_linear kolibri1 laguna lfm3 lfm3_vl_vision llava
    llava_next llava_next_video llava_onevision lw_detr maskformer mimi mimi_decoder mimi_encoder
    mimo_v2_flash minimax minimax_m2 minimax_m3_vl mistral3 mistral_large4 mistral_large4_text
    mixtral mlcd mllama molmo2 molmo2_text musicflamingo nemo_speechlm nemotron_h nemotron_h_omni
    nomic_bert olmo_hybrid paddleocr_vl paligemma phimoe pi0 pixio pp_chart2table pp_doclayout_v2
    pp_doclayout_v3 pp_doclayout_v4 qianfan_ocr qwen2_5_omni_thinker qwen2_5_vl qwen2_audio qwen2_vl
    qwen3_5_moe_text qwen3_5_text qwen3_omni_moe_thinker qwen4_exp_text radio rf_detr rt_detr
    rt_detr_v2 sam3_tracker sam3_tracker_video sapiens2 segformer shieldgemma2 siglip2_vision_model
    siglip_vision_model step3p5_vision step3p7 swin t5gemma2_encoder timesfm2_5 timm_wrapper tipsv2
    tipsv2_dpt tipsv2_text_model tipsv2_vision_model ultrabert ultravbert unlimited_ocr
    vibevoice_asr video_llava videomae vipllava vit vit_mae vit_msn vivit voxtral voxtral_realtime
    yolos
    """
)

# Defaults of the config classes of language models.
ENCODER_DECODER_MODEL_TYPES = _types(
    """
    bart bigbird_pegasus blenderbot blenderbot-small canary cohere_asr dia encoder-decoder florence2
    fsmt led longt5 m2m_100 marian mbart moonshine moonshine_streaming mt5 mvp nllb-moe pegasus
    pegasus_x pix2struct plbart pop2piano pp_formulanet pp_formulanet_text prophetnet seamless_m4t
    seamless_m4t_v2 speech-encoder-decoder speech_to_text speecht5 switch_transformers t5 t5gemma
    t5gemma2 udop umt5 vision-encoder-decoder whisper
    """
)
TIED_MODEL_TYPES = _types(
    """
    albert aya_vision bart bert bert-generation big_bird bigbird_pegasus biogpt blenderbot
    blenderbot-small blip blip_text_model bloom camembert canary cohere cohere2 cohere2_moe
    cohere2_vision cohere_compass_text convbert cpmant ctrl data2vec-text deberta deberta-v2
    deepseek_vl deepseek_vl_hybrid diffusion_gemma diffusion_gemma_text distilbert electra ernie
    ernie4_5 ernie4_5_moe ernie4_5_vl_moe ernie4_5_vl_moe_text esm falcon falcon_mamba flaubert
    florence2 fnet fun_asr_nano funnel gemma gemma2 gemma3 gemma3_text gemma3n gemma3n_text gemma4
    gemma4_text gemma4_unified gemma4_unified_assistant gemma4_unified_text glmasr got_ocr2 gpt-sw3
    gpt2 gpt_bigcode gpt_neo gpt_neox_japanese granite_docling granite_docling_text granite_speech
    granite_speech_plus granite_swa gte hunyuan_vl hunyuan_vl_text hyperclovax_vision_v2 ibert
    internvl janus jetmoe jina_embeddings_v3 kimi_k25 kosmos-2 kosmos-2.5 kosmos_2_5_text_model
    kosmos_2_text_model layoutlm led lfm2 lfm2_moe lfm2_vl lfm3 lfm3_vl lighton_ocr longformer
    longt5 luke m2m_100 mamba marian mbart megatron-bert minicpm3 minicpm_ocr mistral3 mobilebert
    modernbert modernbert-decoder moonshine moss_transcribe_diarize mpnet mpt mra mt5 mvp neomme
    nllb-moe nomic_bert nystromformer openai-gpt opt ovis2 paddleocr_vl paddleocr_vl_text paligemma
    pegasus pegasus_x plbart pop2piano pp_chart2table prophetnet qwen2_5_omni_text qwen3_asr
    qwen3_vl_moe_text recurrent_gemma roberta roberta-prelayernorm roc_bert roformer seamless_m4t
    seamless_m4t_v2 shieldgemma2 smollm3 speech_to_text speecht5 squeezebert starcoder2
    switch_transformers t5 t5gemma t5gemma2 t5gemma2_text tapas trocr udop umt5 vaultgemma
    voxtral_realtime whisper xglm xlm xlm-roberta xlm-roberta-xl xlnet xmod yoso youtu zamba zamba2
    zaya
    """
)
# Composite types whose tie is that of their text config; the others have a default of their own.
TIED_BY_TEXT_MODEL_TYPES = _types(
    """
    fast_vlm glm4v glm4v_moe glm_ocr llava llava_next_video llava_onevision minimax_m3_vl
    perception_lm qwen2_5_vl qwen2_vl shieldgemma2 vibevoice video_llama_3
    """
)
# Vocabulary size -> the model types with this default.
VOCABULARY_SIZES: Mapping[int, str] = {
    64: "esmc",
    81: "speecht5",
    260: "blt",
    262: "perceiver",
    320: "reformer",
    1028: "dia",
    2400: "pop2piano",
    3072: "qwen3_omni_moe_talker_text",
    3584: "qwen3_omni_moe_text qwen3_omni_moe_thinker",
    4001: "kyutai_speech_to_text",
    8008: "blenderbot",
    10000: "speech_to_text",
    16384: "canary cohere_asr",
    29056: "megatron-bert",
    30000: "albert nystromformer",
    30145: "flaubert xlm",
    30522: """
        align_text_model bert camembert chinese_clip_text_model convbert data2vec-text distilbert
        electra encoder-decoder ernie flava_text_model funnel git ibert layoutlm longformer
        mobilebert prophetnet roc_bert speech-encoder-decoder squeezebert tapas
        vision-encoder-decoder xlm-roberta xmod
    """,
    30524: "blip blip_text_model",
    30527: "mpnet",
    30528: "nomic_bert",
    30720: "cpmant",
    32000: """
        arcee aria aria_text dbrx deepseek_vl deepseek_vl_hybrid diffllama fnet gpt_neox_japanese
        granite granite4_vision granite4_vision_text granite_speech granite_speech_plus granitemoe
        granitemoe_swa granitemoehybrid granitemoeshared hyperclovax hyperclovax_vision_v2 idefics
        idefics2 idefics3 janus jetmoe llama llava llava_next llava_next_video minimax ministral
        mistral mixtral moshi perception_lm siglip2_text_model siglip_text_model smolvlm
        tipsv2_text_model ultrabert ultravbert video_llava videoprism_text_model vipllava
        voxtral_realtime_text xlnet zamba zamba2
    """,
    32064: "phi3 phimoe",
    32128: "longt5 switch_transformers t5",
    32768: "doge mamba2 moonshine moonshine_streaming",
    33201: "udop",
    40478: "openai-gpt",
    42024: "fsmt",
    42384: "biogpt",
    48000: "helium",
    49152: "starcoder2",
    49408: """
        aimv2_text_model clip_text_model clipseg_text_model groupvit_text_model
        metaclip_2_text_model owlv2_text_model owlvit_text_model sam3_lite_text
        sam3_lite_text_text_model xclip_text_model
    """,
    50000: "pp_formulanet pp_formulanet_text roformer",
    50005: "plbart",
    50244: "pix2struct pix2struct_text_model",
    50257: "gpt-sw3 gpt2 gpt_bigcode gpt_neo",
    50265: """
        bart blenderbot-small bridgetower_text_model clap_text_model deberta florence2 led mbart mra
        pegasus roberta roberta-prelayernorm trocr yoso
    """,
    50267: "luke mvp",
    50272: "blip-2 instructblip instructblipvideo opt",
    50277: "rwkv",
    50280: "falcon_mamba mamba",
    50304: "nanochat olmo olmo2 olmo3 olmoe stablelm xlstm",
    50358: "bert-generation big_bird",
    50368: "modernbert modernbert-decoder modernvbert mpt",
    50400: "codegen gptj",
    50432: "gpt_neox",
    51200: "phi",
    51865: "whisper",
    58101: "marian",
    59264: "glmasr",
    59392: "glm_ocr glm_ocr_text",
    65024: "falcon",
    65037: "kosmos-2 kosmos_2_text_model",
    65536: "chameleon jamba lfm2 lfm2_moe lfm2_vl",
    73448: "minicpm3",
    76800: "iquestcoder",
    96103: "bigbird_pegasus pegasus_x",
    98304: "mellum",
    100352: "flex_olmo granite_swa laguna olmo_hybrid",
    102400: "deepseek_ocr2 deepseek_ocr2_text deepseek_v2 exaone4 exaone4_5 exaone_moe",
    103424: """
        ernie4_5 ernie4_5_moe ernie4_5_vl_moe ernie4_5_vl_moe_text paddleocr_vl paddleocr_vl_text
    """,
    108481: "kosmos-2.5 kosmos_2_5_text_model",
    120832: "hy_v3 hy_v4",
    128000: "bamba falcon_h1 kolibri1 lfm3 lfm3_vl",
    128100: "deberta-v2",
    128112: "m2m_100 nllb-moe",
    128256: "bitnet cwm eurobert evolla mllama mllama_text_model smollm3 youtu",
    128512: "internlm3",
    128815: "step3p7",
    129280: "deepseek_v3 deepseek_v32 deepseek_v4 kimi_k25 unlimited_ocr unlimited_ocr_text",
    131072: """
        apertus cosmos3_edge cosmos3_edge_text longcat_flash ministral3 mistral3 mistral4
        nemo_speechlm nemotron_h nemotron_h_omni neomme voxtral voxtral_realtime
    """,
    133800: "granite_docling granite_docling_text",
    150144: "flint",
    150272: "jais2",
    151424: "glm4v_moe glm4v_moe_text",
    151552: "glm glm4 glm46v glm4_moe glm4v glm4v_text glmga",
    151808: "hrm_text",
    151860: "got_ocr2 pp_chart2table",
    151936: """
        audioflamingo3 beam cosmos3_omni fun_asr_nano internvl lighton_ocr llava_onevision molmo2
        molmo2_text moss_transcribe_diarize musicflamingo ovis2 qianfan_ocr qwen2 qwen2_audio
        qwen2_moe qwen3 qwen3_asr qwen3_moe qwen3_next qwen3_vl qwen3_vl_moe qwen3_vl_moe_text
        qwen3_vl_text vibevoice vibevoice_asr video_llama_3
    """,
    152064: """
        dots1 dots3_note dots3_note_text qwen2_5_omni_text qwen2_5_omni_thinker qwen2_5_vl
        qwen2_5_vl_text qwen2_vl qwen2_vl_text
    """,
    152128: "fast_vlm",
    152576: "mimo_v2_flash",
    154880: "glm4_moe_lite glm5_next glm5_next_text glm_moe_dsa",
    155136: "seed_oss",
    157184: "bailing_hybrid",
    163840: "axk1 axk2 kimi_linear",
    168064: "glm_image_text",
    184622: "emu3 emu3_text_model",
    196608: "solar_open",
    200064: "minimax_m2 minimax_m3_vl minimax_m3_vl_text phi4_multimodal",
    200192: "afmoe",
    201024: "inkling2 inkling2_text inkling_mm_model inkling_text",
    201088: "gpt_oss",
    202048: "llama4 llama4_text muse_glimmer muse_glimmer_text muse_spark muse_spark_text",
    204800: "mistral_large4 mistral_large4_text",
    246534: "ctrl",
    248320: """
        minicpm_ocr minicpmv4_6 minicpmv4_7 qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text
        qwen4_exp qwen4_exp_text
    """,
    250002: "altclip_text_model jina_embeddings_v3",
    250048: "gte",
    250112: "mt5 umt5",
    250300: "rembert",
    250880: "bloom xlm-roberta-xl",
    256000: """
        aya_vision cohere cohere2 cohere2_moe cohere2_vision cohere_compass cohere_compass_text
        gemma gemma2 nemotron recurrent_gemma t5gemma vaultgemma
    """,
    256008: "xglm",
    256102: "seamless_m4t seamless_m4t_v2",
    257152: "paligemma",
    262144: """
        diffusion_gemma diffusion_gemma_text embedding_gemma2_text fuyu gemma4 gemma4_text
        gemma4_unified gemma4_unified_assistant gemma4_unified_text persimmon
    """,
    262208: "gemma3 gemma3_text shieldgemma2 t5gemma2 t5gemma2_text",
    262272: "zaya",
    262400: "gemma3n gemma3n_text",
    290943: "hunyuan_v1_dense hunyuan_v1_moe hunyuan_vl hunyuan_vl_text",
}

# Model type -> number of labels, where the class does not have transformers' usual 2.
LABELS: Mapping[str, int] = {"bart": 3, "openai_privacy_filter": 33}
