"""What transformers 5.23 knows of each model type. Tables; a test compares them with the library.

A repository's config.json leaves out what its class has as a default, and the tensors of a file
are named by the class that saved it. Both can be looked up without importing the library.
"""

from __future__ import annotations

from collections.abc import Mapping

# One letter per auto class, for the keys of the tables below.
AUTO_CLASSES: Mapping[str, str] = {
    "A": "AutoModel",
    "C": "AutoModelForCausalLM",
    "E": "AutoModelForSeq2SeqLM",
    "S": "AutoModelForSequenceClassification",
    "T": "AutoModelForTokenClassification",
    "Q": "AutoModelForQuestionAnswering",
    "I": "AutoModelForImageTextToText",
    "M": "AutoModelForMaskedLM",
    "P": "AutoModelForSpeechSeq2Seq",
}

# Letters -> the model types for which exactly these auto classes have a model.
MODEL_TYPES: Mapping[str, str] = {
    "": """
        EvollaModel aimv2_text_model align_text_model align_vision_model altclip_text_model
        altclip_vision_model blip_2_vision_model blip_text_model blip_vision_model
        blt_global_transformer blt_local_decoder blt_local_encoder blt_patcher
        bridgetower_text_model bridgetower_vision_model canary_decoder chameleon_vqgan
        chinese_clip_text_model chmv2 clap_audio_model clap_text_model clipseg_text_model
        clipseg_vision_model clvp_decoder clvp_encoder colmodernvbert colpali colqwen2
        csm_depth_decoder_model deepseek_ocr2_encoder deepseek_ocr2_sam_vision_model
        deepseek_ocr2_text deepseek_ocr2_vision depth_anything dia_decoder dia_encoder
        diffusion_gemma_text dots3_note_audio_encoder dots3_note_vision_encoder edgetam_mask_decoder
        edgetam_prompt_encoder edgetam_video_mask_decoder edgetam_video_prompt_encoder
        emu3_text_model emu3_vqgan eomt eomt_dinov3 ernie4_5_vl_moe_text ernie4_5_vl_moe_vision
        esmfold2 fastspeech2_conformer_hifigan flava_image_codebook flava_image_model
        flava_multimodal_model flava_text_model florence_vision gemma4_unified_audio
        gemma4_unified_vision git_vision_model got_ocr2_vision granite4_vision_text
        granite_speech_encoder granite_speech_plus_encoder groupvit_text_model groupvit_vision_model
        idefics2_perceiver idefics2_vision idefics_perciever idefics_vision inkling_audio
        inkling_vision instructblip_qformer instructblip_vision_model instructblipvideo_qformer
        instructblipvideo_vision_model janus_vision_model janus_vqgan jev kosmos_2_5_text_model
        kosmos_2_5_vision_model kosmos_2_text_model kosmos_2_vision_model layoutxlm
        llama4_vision_model lw_detr_vit metaclip_2_text_model metaclip_2_vision_model
        minicpmv4_6_vision minimax_m3_vl_vision mllama_text_model mllama_vision_model molmo2_adapter
        molmo2_vision moonshine_streaming_encoder moshi_depth musicgen_decoder
        musicgen_melody_decoder nougat ovis2_vision owlv2_text_model owlv2_vision_model
        owlvit_text_model owlvit_vision_model paddleocr_vl_text paddleocr_vl_vision
        phi4_multimodal_audio phi4_multimodal_vision pix2struct_text_model pix2struct_vision_model
        pp_chart2table_vision pp_doclayout_v2 pp_formulanet_text pp_formulanet_vision pp_lcnet
        pp_lcnet_v3 pp_lcnet_v4 pp_ocrv5_mobile_det pp_ocrv5_server_det prompt_depth_anything
        qwen2_5_omni qwen2_5_omni_audio_encoder qwen2_5_omni_bigvgan qwen2_5_omni_dit
        qwen2_5_omni_talker qwen2_5_omni_text qwen2_5_omni_token2wav qwen2_5_omni_vision_encoder
        qwen2_vl_vision qwen3_omni_moe qwen3_omni_moe_audio_encoder
        qwen3_omni_moe_talker_code_predictor qwen3_omni_moe_talker_text qwen3_omni_moe_text
        qwen3_omni_moe_vision_encoder rag rf_detr_dinov2 rt_detr_resnet sam2_mask_decoder
        sam2_prompt_encoder sam2_video_mask_decoder sam2_video_prompt_encoder sam3_detr_decoder
        sam3_detr_encoder sam3_geometry_encoder sam3_lite_text_detr_decoder
        sam3_lite_text_detr_encoder sam3_lite_text_geometry_encoder sam3_lite_text_mask_decoder
        sam3_mask_decoder sam3_tracker_mask_decoder sam3_tracker_prompt_encoder
        sam3_tracker_video_mask_decoder sam3_tracker_video_prompt_encoder sam_hq_mask_decoder
        sam_hq_prompt_encoder sam_mask_decoder sam_prompt_encoder sapiens2_head siglip2_text_model
        siglip_text_model slanet slanext slanext_vision speecht5_hifigan step3p5 step3p5_vision
        superglue superpoint t5_gemma_module t5gemma2_decoder t5gemma2_text tipsv2_dpt
        unlimited_ocr_sam_vision_model unlimited_ocr_text unlimited_ocr_vision
        unlimited_ocr_vision_encoder upernet uvdoc_backbone vibevoice_diffusion videomt
        videoprism_text_model vitmatte vitpose vitpose_backbone xclip_text_model xclip_vision_model
        zoedepth
    """,
    "A": """
        aimv2 aimv2_vision_model align altclip audio-spectrogram-transformer audioflamingo3_encoder
        autoformer bark beit bit blip_2_qformer bridgetower chinese_clip chinese_clip_vision_model
        clap clip clip_text_model clip_vision_model clipseg clvp cohere_compass_vision
        conditional_detr convnext convnextv2 cosmos3_edge_text cosmos3_edge_vision csm cvt d_fine
        dab-detr dac data2vec-audio data2vec-vision decision_transformer deformable_detr deimv2 deit
        depth_pro detr dinat dinov2 dinov2_with_registers dinov3_convnext dinov3_vit donut-swin dpr
        dpt edgetam edgetam_video edgetam_vision_model efficientloftr efficientnet embedding_gemma2
        embedding_gemma2_text encodec exaone4_5_vision fastspeech2_conformer
        fastspeech2_conformer_with_hifigan flava focalnet fun_asr_nano_encoder gemma3n_audio
        gemma3n_vision gemma4_audio gemma4_vision glm4v_moe_text glm4v_moe_vision glm4v_text
        glm4v_vision glm5_next_text glm5_next_vision glm_image glm_image_text glm_image_vision
        glm_image_vqmodel glm_ocr_text glm_ocr_vision glmasr_encoder glpn gradium_phonon_tts
        granite_docling_text granite_docling_vision granite_speech5_ctc granite_speech5_encoder
        grounding-dino groupvit hgnet_v2 hiera higgs_audio_v2 higgs_audio_v2_tokenizer hubert
        hunyuan_vl_text hunyuan_vl_vision idefics3_vision ijepa imagegpt informer inkling2_vision
        internvl_vision kimi_k25_vision lasr_ctc lasr_encoder levit lfm3_vl_vision lightglue lw_detr
        mask2former maskformer maskformer-swin metaclip_2 mgp-str mimi mimi_decoder mimi_encoder
        minicpm_ocr_vision minicpmv4_7_vision mistral_large4_text mlcd mlcd_vision_model
        mm-grounding-dino mobilenet_v1 mobilenet_v2 mobilevit mobilevitv2 molmo2_text
        moss_transcribe_diarize_audio muse_glimmer_assistant muse_glimmer_text muse_glimmer_vision
        muse_spark_audio muse_spark_text muse_spark_vision nemotron3_5_asr
        nemotron3_5_transcribe_asr_audio nemotron3_5_transcribe_audio
        nemotron3_5_transcribe_word_timestamp nemotron3_diarization nemotron3_diarization_audio
        nemotron_asr_streaming nemotron_asr_streaming_encoder neucodec omdet-turbo oneformer owlv2
        owlvit parakeet_ctc parakeet_encoder parakeet_rnnt parakeet_tdt patchtsmixer patchtst
        pe_audio pe_audio_encoder pe_audio_video pe_audio_video_encoder pe_video pe_video_encoder
        pixio pixtral pocket_tts pocket_tts_audio_tokenizer pocket_tts_audio_tokenizer_decoder
        pocket_tts_audio_tokenizer_encoder poolformer pp_doclayout_v3 pp_doclayout_v4
        pp_ocrv5_mobile_rec pp_ocrv5_server_rec pp_ocrv6_medium_det pp_ocrv6_small_det
        pp_ocrv6_small_rec pp_ocrv6_tiny_rec pvt pvt_v2 qianfan_ocr_vision qwen2_5_vl_text
        qwen2_5_vl_vision qwen2_audio_encoder qwen2_vl_text qwen3_5_moe_vision qwen3_5_vision
        qwen3_asr_encoder qwen3_vl_moe_text qwen3_vl_moe_vision qwen3_vl_text qwen3_vl_vision
        qwen4_exp_vision radio regnet resnet rf_detr rt_detr rt_detr_v2 sam sam2
        sam2_hiera_det_model sam2_video sam2_vision_model sam3 sam3_lite_text
        sam3_lite_text_text_model sam3_tracker sam3_tracker_video sam3_video sam3_vision_model
        sam3_vit_model sam_hq sam_hq_vision_model sam_vision_model sapiens2 segformer seggpt sew
        sew-d siglip siglip2 siglip2_vision_model siglip_vision_model smolvlm_vision swiftformer
        swin swin2sr swinv2 t5gemma2_encoder table-transformer textnet time_series_transformer
        timesfm timesfm2_5 timesformer timm_backbone timm_wrapper tipsv2 tipsv2_text_model
        tipsv2_vision_model tvp unispeech unispeech-sat univnet uvdoc vibevoice_acoustic_tokenizer
        vibevoice_acoustic_tokenizer_decoder vibevoice_acoustic_tokenizer_encoder
        video_llama_3_vision videomae videoprism videoprism_vision_model vilt
        vision-text-dual-encoder visual_bert vit vit_mae vit_msn vitdet vits vivit vjepa2
        voxtral_encoder voxtral_realtime_encoder voxtral_realtime_text wav2vec2 wav2vec2-bert
        wav2vec2-conformer wavlm xclip xcodec xcodec2 yolos
    """,
    "AC": """
        afmoe aria_text bailing_hybrid bamba beam bert-generation bitnet blt codegen cohere cohere2
        cohere2_moe cpmant cwm dbrx deepseek_v32 deepseek_v4 dots1 dots3_note_text ernie4_5
        ernie4_5_moe exaone_moe falcon_h1 falcon_mamba flex_olmo flint gemma3n_text gemma4_text
        gemma4_unified_text glm4_moe glm4_moe_lite glm_moe_dsa gpt_neox_japanese granite granite_swa
        granitemoe granitemoe_swa granitemoehybrid granitemoeshared hrm_text hy_v3 hy_v4 hyperclovax
        inkling2_text inkling_text internlm3 iquestcoder jais2 kimi_linear kolibri1 laguna lfm2
        lfm2_moe lfm3 llama4_text longcat_flash mamba mamba2 mellum mimo_v2_flash minimax_m2
        minimax_m3_vl_text moshi musicgen musicgen_melody nanochat nemotron_h olmo_hybrid olmoe
        phi4_multimodal qwen3_5_moe_text qwen4_exp_text recurrent_gemma rwkv solar_open vaultgemma
        xglm xlstm youtu zaya
    """,
    "ACE": """
        blenderbot blenderbot-small marian moss_transcribe_diarize pegasus prophetnet
    """,
    "ACES": """
        plbart
    """,
    "ACESQ": """
        bigbird_pegasus
    """,
    "ACESQM": """
        bart mbart mvp
    """,
    "ACI": """
        dots3_note emu3 fuyu gemma3n gemma4 gemma4_unified git got_ocr2 llama4 mllama qwen3_5_moe
        qwen4_exp
    """,
    "ACP": """
        whisper
    """,
    "ACS": """
        cohere_compass_text ctrl deepseek_v2 doge gemma3_text hunyuan_v1_dense hunyuan_v1_moe jamba
        jetmoe minicpm3 modernbert-decoder olmo olmo2 olmo3 openai-gpt phimoe qwen3_5_text zamba
        zamba2
    """,
    "ACSI": """
        gemma3
    """,
    "ACSQ": """
        gptj opt
    """,
    "ACSQM": """
        reformer
    """,
    "ACST": """
        axk1 axk2 biogpt deepseek_v3 gemma gemma2 glm glm4 gpt-sw3 gpt_bigcode gpt_oss helium
        persimmon phi phi3 stablelm starcoder2
    """,
    "ACSTI": """
        qwen3_5
    """,
    "ACSTQ": """
        arcee bloom diffllama exaone4 falcon gpt2 gpt_neo gpt_neox llama minimax ministral
        ministral3 mistral mixtral mpt nemotron qwen2 qwen2_moe qwen3 qwen3_moe qwen3_next seed_oss
        smollm3 xlnet
    """,
    "ACSTQM": """
        bert big_bird camembert data2vec-text electra ernie megatron-bert rembert roberta
        roberta-prelayernorm roc_bert roformer xlm xlm-roberta xlm-roberta-xl xmod
    """,
    "ACT": """
        apertus
    """,
    "AE": """
        audioflamingo3 fsmt glmasr longt5 m2m_100 musicflamingo nemo_speechlm nllb-moe pegasus_x
        qwen2_audio switch_transformers
    """,
    "AEP": """
        granite_speech granite_speech_plus seamless_m4t seamless_m4t_v2 vibevoice_asr voxtral
        voxtral_realtime
    """,
    "AEQ": """
        led
    """,
    "AEST": """
        t5gemma
    """,
    "AESTI": """
        t5gemma2
    """,
    "AESTQ": """
        mt5 t5 umt5
    """,
    "AETP": """
        qwen3_asr
    """,
    "AI": """
        aria aya_vision blip blip-2 chameleon cohere2_vision cohere_compass cosmos3_edge
        cosmos3_omni deepseek_ocr2 deepseek_vl deepseek_vl_hybrid diffusion_gemma ernie4_5_vl_moe
        evolla exaone4_5 fast_vlm florence2 glm46v glm4v glm4v_moe glm5_next glm_ocr glmga
        granite4_vision granite_docling hunyuan_vl hyperclovax_vision_v2 idefics idefics2 idefics3
        inkling2 inkling_mm_model instructblip instructblipvideo internvl janus kimi_k25 kosmos-2
        kosmos-2.5 lfm2_vl lfm3_vl lighton_ocr llava llava_next llava_next_video llava_onevision
        minicpm_ocr minicpmv4_6 minicpmv4_7 minimax_m3_vl mistral3 mistral_large4 molmo2
        muse_glimmer muse_spark ovis2 paddleocr_vl paligemma perception_lm pi0 qianfan_ocr
        qwen2_5_omni_thinker qwen2_5_vl qwen2_vl qwen3_omni_moe_thinker qwen3_vl qwen3_vl_moe
        smolvlm step3p7 udop unlimited_ocr video_llama_3 video_llava vipllava
    """,
    "AM": """
        neomme
    """,
    "AP": """
        canary cohere_asr dia fun_asr_nano kyutai_speech_to_text moonshine moonshine_streaming
        speech_to_text speecht5 vibevoice
    """,
    "AQ": """
        lxmert splinter
    """,
    "ASM": """
        perceiver tapas
    """,
    "ASTI": """
        mistral4
    """,
    "ASTM": """
        esm esmc eurobert gte layoutlm modernvbert nomic_bert ultravbert
    """,
    "ASTQ": """
        canine layoutlmv2 layoutlmv3 lilt markuplm
    """,
    "ASTQM": """
        albert convbert deberta deberta-v2 distilbert flaubert fnet funnel ibert jina_embeddings_v3
        longformer luke mobilebert modernbert mpnet mra nystromformer squeezebert ultrabert yoso
    """,
    "AT": """
        bros openai_privacy_filter
    """,
    "C": """
        gemma4_assistant gemma4_unified_assistant trocr
    """,
    "E": """
        encoder-decoder
    """,
    "I": """
        nemotron_h_omni pix2struct pp_chart2table pp_formulanet shieldgemma2 vision-encoder-decoder
    """,
    "P": """
        pop2piano speech-encoder-decoder
    """,
}

# The attribute under which a model with a head holds the bare model -> model types, with letters
# where only some classes do so; "" where there is no such attribute, "?" where it is unknown.
# Every other type says `model`.
BASE_PREFIXES: Mapping[str, str] = {
    "": """
        blip blip-2 encoder-decoder instructblip instructblipvideo llama4 llama4_text longt5
        mllama:C mt5:EQ pop2piano seamless_m4t seamless_m4t_v2 speech-encoder-decoder
        switch_transformers t5:EQ udop umt5:EQ vision-encoder-decoder
    """,
    "?": "kosmos-2 kosmos-2.5 nemotron_h_omni pix2struct",
    "albert": "albert",
    "backbone": "falcon_mamba mamba mamba2 xlstm",
    "bert": "bert bert-generation big_bird megatron-bert",
    "biogpt": "biogpt",
    "bros": "bros",
    "canine": "canine",
    "convbert": "convbert",
    "cpmant": "cpmant",
    "data2vec_text": "data2vec-text",
    "deberta": "deberta deberta-v2",
    "distilbert": "distilbert",
    "electra": "electra",
    "ernie": "ernie",
    "esm": "esm",
    "esmc": "esmc",
    "fnet": "fnet",
    "funnel": "funnel",
    "git": "git",
    "gpt_neox": "gpt_neox",
    "gpt_neox_japanese": "gpt_neox_japanese",
    "gte": "gte",
    "ibert": "ibert",
    "layoutlm": "layoutlm",
    "layoutlmv2": "layoutlmv2",
    "layoutlmv3": "layoutlmv3",
    "led": "led",
    "lilt": "lilt",
    "longformer": "longformer",
    "luke": "luke",
    "lxmert": "lxmert",
    "markuplm": "markuplm",
    "mobilebert": "mobilebert",
    "mpnet": "mpnet",
    "mra": "mra",
    "nomic_bert": "nomic_bert",
    "nystromformer": "nystromformer",
    "perceiver": "perceiver",
    "prophetnet": "prophetnet",
    "reformer": "reformer",
    "rembert": "rembert",
    "roberta": "camembert jina_embeddings_v3 roberta xlm-roberta xlm-roberta-xl xmod",
    "roberta_prelayernorm": "roberta-prelayernorm",
    "roc_bert": "roc_bert",
    "roformer": "roformer",
    "rwkv": "rwkv",
    "speecht5": "speecht5",
    "splinter": "splinter",
    "tapas": "tapas",
    "transformer": """
        arcee:Q bloom codegen ctrl dbrx diffllama:Q exaone4:Q falcon flaubert gpt-sw3 gpt2
        gpt_bigcode gpt_neo gptj llama:Q ministral:Q mpt mt5:ST nemotron:Q openai-gpt qwen2:Q
        qwen3:Q qwen3_moe:Q qwen3_next:Q seed_oss:Q smollm3:Q squeezebert t5:ST umt5:ST xlm xlnet
    """,
    "yoso": "yoso",
}
