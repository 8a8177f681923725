"""The PEFT types and the config keys that each knows, as PEFT 0.21.2 has them.

A key that the config class of its type does not know is ignored by PEFT with a warning, so a file
written by a newer version may mean more than what is loaded. A test compares this table with the
classes themselves.
"""

from __future__ import annotations

from collections.abc import Mapping


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_COMMON = _names(
    "auto_mapping base_model_name_or_path inference_mode peft_type peft_version revision "
    "task_type"
    # Taken out of the file before the class sees it.
    " runtime_config"
)
_TARGETS = _names("target_modules exclude_modules modules_to_save init_weights")
_LAYERS = _names("layers_to_transform layers_pattern")
_PROMPT = _names(
    "num_virtual_tokens token_dim num_transformer_submodules num_attention_heads num_layers "
    "modules_to_save"
)
_LORA = _names(
    "r target_modules exclude_modules lora_alpha lora_dropout fan_in_fan_out bias use_rslora "
    "modules_to_save init_lora_weights layers_to_transform layers_pattern rank_pattern "
    "alpha_pattern megatron_config megatron_core trainable_token_indices loftq_config eva_config "
    "corda_config lora_ga_config use_dora velora_config alora_invocation_tokens use_qalora "
    "qalora_group_size monteclora_config layer_replication runtime_config lora_bias "
    "target_parameters use_bdlora arrow_config kasa_config ensure_weight_tying"
)

# PEFT type -> the keys that only some types have.
_OWN_KEYS: Mapping[str, frozenset[str]] = {
    "ADALORA": _LORA
    | _names("target_r init_r tinit tfinal deltaT beta1 beta2 orth_reg_weight total_step"),
    "ADAMSS": _LAYERS
    | _names(
        "r num_subspaces subspace_rank target_modules init_weights modules_to_save use_asa "
        "asa_target_subspaces init_warmup final_warmup mask_interval asa_importance_beta "
        "asa_uncertainty_beta asa_schedule_exponent use_dynamic_rank svd_threshold "
        "random_seed"
    ),
    "ADAPTION_PROMPT": _names("target_modules adapter_len adapter_layers"),
    "BEFT": _names("target_modules modules_to_save init_weights"),
    "BOFT": _LAYERS
    | _TARGETS
    | _names(
        "boft_block_size boft_block_num boft_n_butterfly_factor boft_dropout fan_in_fan_out bias"
    ),
    "C3A": _LAYERS
    | _names("block_size target_modules bias modules_to_save block_size_pattern init_weights"),
    "CARTRIDGE": _PROMPT | _names("num_frozen_tokens"),
    "CPT": _PROMPT
    | _names(
        "cpt_token_ids cpt_mask cpt_tokens_type_mask opt_weighted_loss_type "
        "opt_loss_decay_factor opt_projection_epsilon opt_projection_format_epsilon "
        "tokenizer_name_or_path"
    ),
    "DEFT": _LAYERS
    | _TARGETS
    | _names("r decomposition_method init_scale alpha para fan_in_fan_out deft_dropout bias"),
    "DELORA": _LAYERS
    | _TARGETS
    | _names("r delora_lambda module_dropout bias rank_pattern lambda_pattern"),
    "FOURIERFT": _LAYERS
    | _TARGETS
    | _names("n_frequency scaling random_loc_seed fan_in_fan_out bias n_frequency_pattern"),
    "FROD": _LAYERS
    | _names(
        "target_modules projection_prng_key save_projection frod_dropout fan_in_fan_out bias "
        "modules_to_save init_weights sparse_rate regularization_alpha progressbar "
        "runtime_offload_base_weight"
    ),
    "GLORA": _names(
        "r target_modules bias modules_to_save config_A_B config_C config_D_E init_weights"
    ),
    "GRALORA": _LAYERS
    | _names(
        "r hybrid_r target_modules alpha gralora_dropout gralora_k fan_in_fan_out bias "
        "modules_to_save init_weights"
    ),
    "HIRA": _LAYERS | _TARGETS | _names("r hira_dropout fan_in_fan_out rank_pattern"),
    "HRA": _LAYERS | _TARGETS | _names("r apply_GS bias"),
    "IA3": _names(
        "target_modules exclude_modules feedforward_modules fan_in_fan_out modules_to_save "
        "init_ia3_weights"
    ),
    "LILY": _LAYERS | _TARGETS | _names("r stride_A num_B scaling"),
    "LN_TUNING": _names("target_modules exclude_modules modules_to_save"),
    "LOHA": _LAYERS
    | _TARGETS
    | _names("rank_pattern alpha_pattern r alpha rank_dropout module_dropout use_effective_conv2d"),
    "LOKR": _LAYERS
    | _TARGETS
    | _names(
        "rank_pattern alpha_pattern r alpha rank_dropout module_dropout use_effective_conv2d "
        "decompose_both decompose_factor rank_dropout_scale"
    ),
    "LORA": _LORA,
    "MISS": _LAYERS | _TARGETS | _names("r miss_dropout mini_r bias"),
    "MULTITASK_PROMPT_TUNING": _PROMPT
    | _names(
        "prompt_tuning_init prompt_tuning_init_text tokenizer_name_or_path tokenizer_kwargs "
        "prompt_tuning_init_state_dict_path prompt_tuning_init_task num_ranks num_tasks"
    ),
    "OFT": _LAYERS
    | _TARGETS
    | _names(
        "r oft_block_size module_dropout fan_in_fan_out bias coft eps block_share "
        "use_cayley_neumann num_cayley_neumann_terms"
    ),
    "OSF": _names(
        "effective_rank target_modules rank_pattern init_weights modules_to_save target_svd_config"
    ),
    "PEANUT": _LAYERS | _TARGETS | _names("r depth act_fn scaling"),
    "POLY": _TARGETS | _names("r poly_type n_tasks n_skills n_splits"),
    "PREFIX_TUNING": _PROMPT | _names("init_weights encoder_hidden_size prefix_projection"),
    "PROMPT_TUNING": _PROMPT
    | _names("prompt_tuning_init prompt_tuning_init_text tokenizer_name_or_path tokenizer_kwargs"),
    "PSOFT": _LAYERS
    | _TARGETS
    | _names(
        "r psoft_alpha psoft_dropout fan_in_fan_out ab_svd_init psoft_svd "
        "psoft_svd_lowrank_niter random_seed psoft_orth psoft_mag_b psoft_mag_a "
        "use_cayley_neumann num_cayley_neumann_terms cayley_neumann_eps"
    ),
    "PVERA": _LAYERS
    | _names(
        "r target_modules projection_prng_key save_projection pvera_dropout d_initial "
        "fan_in_fan_out bias modules_to_save init_weights sample_at_inference generator_seed"
    ),
    "P_TUNING": _PROMPT
    | _names(
        "encoder_reparameterization_type encoder_hidden_size encoder_num_layers encoder_dropout"
    ),
    "RANDLORA": _LAYERS
    | _names(
        "r target_modules projection_prng_key save_projection sparse very_sparse "
        "randlora_dropout fan_in_fan_out randlora_alpha bias modules_to_save init_weights"
    ),
    "ROAD": _names("variant group_size init_weights target_modules modules_to_save"),
    "SHADOW": _LAYERS
    | _TARGETS
    | _names(
        "r shadow_alpha shadow_dropout shadow_model shadow_num_hidden_layers "
        "shadow_hidden_size shadow_num_attention_heads shadow_intermediate_size "
        "share_embeddings update_hidden_size auxiliary_loss_weight"
    ),
    "SHIRA": _names(
        "r mask_type random_seed target_modules fan_in_fan_out init_weights modules_to_save"
    ),
    "SUPERTUNING": _names(
        "target_modules modules_to_save sparsity select_top r lora_alpha lora_dropout "
        "init_weights save_precomputed_indices"
    ),
    "TINYLORA": _LAYERS
    | _names(
        "r u weight_tying projection_seed save_projection init_v_bound target_modules "
        "tinylora_dropout fan_in_fan_out bias modules_to_save init_weights"
    ),
    "TRAINABLE_TOKENS": _names("token_indices target_modules init_weights"),
    "UNILORA": _LAYERS
    | _names(
        "r proj_seed theta_d_length target_modules unilora_dropout fan_in_fan_out bias "
        "modules_to_save init_theta_d_bound init_weights save_indices"
    ),
    "VBLORA": _LAYERS
    | _names(
        "r num_vectors vector_length topk target_modules exclude_modules "
        "save_only_topk_weights vblora_dropout fan_in_fan_out bias modules_to_save "
        "init_vector_bank_bound init_logits_std"
    ),
    "VERA": _LAYERS
    | _names(
        "r target_modules projection_prng_key save_projection vera_dropout d_initial "
        "fan_in_fan_out bias modules_to_save init_weights"
    ),
    "WAVEFT": _LAYERS
    | _TARGETS
    | _names(
        "n_frequency scaling wavelet_family use_idwt random_loc_seed fan_in_fan_out bias "
        "n_frequency_pattern proportional_parameters"
    ),
    "XLORA": _names(
        "hidden_size adapters enable_softmax enable_softmax_topk layerwise_scalings "
        "xlora_depth xlora_size xlora_dropout_p use_trainable_adapters softmax_temperature "
        "top_k_lora scaling_pass_value global_scaling_weight"
    ),
}

KNOWN_KEYS: Mapping[str, frozenset[str]] = {
    peft_type: own | _COMMON for peft_type, own in _OWN_KEYS.items()
}
TASK_TYPES = _names("SEQ_CLS SEQ_2_SEQ_LM CAUSAL_LM TOKEN_CLS QUESTION_ANS FEATURE_EXTRACTION")
# Types that earlier versions had, and what became of them.
REMOVED_TYPES: Mapping[str, str] = {
    "BONE": "BONE became MISS; a PEFT that still has BONE can convert the adapter",
}
