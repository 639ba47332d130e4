"""Other programs' names for our settings, commands and values: only data, no decisions.

From PEFT, TRL and transformers, Unsloth, axolotl, LLaMA-Factory, mlx-lm, torchtune, litgpt, vLLM
and llama.cpp; also the names of our own fields. Each entry has our spelling first, as it is typed
(`--lr`, `--backend qlora`, `--backend or --init-from`, or `status RUN` if no flag is needed), then
the names that mean it. Of alternatives between bars, the first that the current command has is
used. Names are in lower case with underscores. A test checks that everything listed exists.
"""

from __future__ import annotations

from collections.abc import Mapping


def _by_name(table: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
    """Each name of the values with the parts of its key."""
    return {
        name: tuple(meant.split(" | ")) for meant, names in table.items() for name in names.split()
    }


PEER_SETTINGS = _by_name(
    {
        "--model | --base | export-gguf PATH": """
            model_name_or_path model_path model_dir checkpoint_dir""",
        "--model | --base": """
            base_model base_model_name_or_path model_name model_id pretrained_model_name_or_path""",
        "--base | --model": "base_dir",
        "--model": "hf_model",
        "--tokenizer": "tokenizer_name tokenizer_type tokenizer_name_or_path",
        "--data | --data-dir": """
            dataset dataset_name dataset_path data_path data_file datasets train_file train_data
            train_dataset""",
        "--data-dir | --data": "dataset_dir",
        "--row-cache": "use_row_cache",
        "--prompts | --data | validate FILE...": "input_file",
        "--data": "eval_dataset test_file",
        "--output-dir | --output": """
            out_dir outdir output_path save_path save_dir export_dir export_path""",
        "--output | --output-dir": "output_file out outfile",
        "--output-dir": "mlx_path merged_model_dir",
        "--output": "gguf_path",
        "--force": "overwrite_output_dir overwrite yes",
        "--adapter | --init-from | --checkpoint | export-adapter RUN": """
            adapter_name_or_path adapter_path adapter_dir adapter_file lora_path""",
        "--init-from": "resume_adapter_file",
        "--init-from | --adapter | --checkpoint": "lora_model_dir lora_weights",
        "--adapter | --init-from | --checkpoint": "peft_model peft_model_id",
        "--run | --checkpoint | --adapter | status RUN | export-adapter RUN": "run_dir",
        "--report-to": "metric_logger logger logger_name tracker tracking log_with loggers",
        "--report-to wandb": "wandb use_wandb",
        "--report-to tensorboard": "tensorboard use_tensorboard",
        "--report-to mlflow": "mlflow use_mlflow",
        "--keep-best": "load_best_model_at_end save_best",
        "--resume": "resume_from_checkpoint resume_from auto_resume auto_resume_from_checkpoints",
        "--rank": "r lora_r lora_rank lora_dim",
        "--alpha": "lora_alpha",
        "--dropout": "lora_dropout",
        "--rslora": "use_rslora peft_use_rslora",
        "--targets": """
            target_modules lora_target_modules lora_target lora_attn_modules lora_modules
            lora_keys""",
        "--targets all": "lora_target_linear",
        "--targets q": "lora_query",
        "--targets k": "lora_key",
        "--targets v": "lora_value",
        "--targets o": "lora_projection",
        "--targets gate,up,down": "lora_mlp apply_lora_to_mlp",
        "--targets all,lm_head": "lora_head",
        "--backend": "finetuning_type fine_tune_type train_type tuner_type",
        "--backend lora": "use_peft",
        "--kernel": "force_kernel",
        "--learn all": "train_on_inputs train_on_prompt",
        "--learn last": "mask_history",
        "--backend qlora": """
            load_in_4bit use_4bit bnb_4bit qlora quantization_bit quant_bits bits quantize""",
        "--backend qlora | --type": "quantization",
        "--base-quant nf4": "bnb_4bit_quant_type",
        "--qlora-double-quant": """
            bnb_4bit_use_double_quant use_double_quant double_quant double_quantization""",
        "--dtype": """
            bnb_4bit_compute_dtype precision torch_dtype compute_dtype mixed_precision fp16
            float16 half""",
        "--type | --backend qlora": "quantization_method",
        "--type": "outtype ftype",
        "--block-size | --nf4-block-size": "q_group_size group_size",
        "--graph": "graph_source",
        "--nf4-cache": "dense_copies",
        "--nf4-cache-dir": "cache_dir",
        "--qlora-proxy-max-layers": "proxy_max_layers",
        "--qlora-lm-head-only": "lm_head_only",
        "--qlora-max-skip-rate": "max_skip_rate",
        "--qlora-require-full-proxy-stack": "require_full_proxy_stack",
        "--qlora-allow-partial-proxy-stack": "allow_partial_proxy_stack",
        "--epochs": "num_epochs num_train_epochs n_epochs max_epochs",
        "--max-steps": """
            iters iterations max_iters steps num_steps max_train_steps max_steps_per_epoch""",
        "--optimizer adamw8bit": "use_8bit_adam",
        "--optimizer": "optim optimizer_type optimizer_name optimizer_class",
        "--lr": "learning_rate peak_lr",
        "--schedule": "lr_scheduler lr_scheduler_type scheduler lr_schedule",
        "--warmup": "warmup_steps warmup_ratio num_warmup_steps lr_warmup_steps",
        "--weight-decay": "wd",
        "--max-grad-norm": """
            grad_clip gradient_clip gradient_clipping gradient_clip_val clip_grad_norm""",
        "--batch-size": """
            per_device_train_batch_size per_device_batch_size train_batch_size micro_batch_size
            per_gpu_train_batch_size bs""",
        "--grad-accum": """gradient_accumulation_steps gradient_accumulation grad_accumulation_steps
            accumulate_grad_batches""",
        "--batch-size and --grad-accum": "global_batch_size",
        "--seq-len": """
            max_seq_length max_seq_len sequence_len sequence_length seq_length model_max_length
            cutoff_len context_length block_len""",
        "--activation-memory": """
            gradient_checkpointing use_gradient_checkpointing grad_checkpoint
            activation_checkpointing enable_activation_checkpointing""",
        "--activation-memory offload": "enable_activation_offloading activation_offloading",
        "--max-new-tokens | --seq-len": "max_length max_tokens",
        "--seed": "random_seed random_state data_seed manual_seed",
        "--dtype bf16": "bf16 bfloat16",
        "--dtype f32": "fp32 float32",
        "--device cpu": "no_cuda use_cpu cpu",
        "--device cuda": "gpu cuda use_cuda",
        "--device metal": "use_mps_device mps",
        "--device": "infer_device",
        "--nproc": "nproc_per_node num_processes num_gpus n_gpus gpus world_size",
        "--threads": "num_threads num_workers dataloader_num_workers",
        "--validation-split-ratio": """
            val_size valid_size val_set_size test_size eval_size val_split_fraction split_ratio
            validation_split_percentage""",
        "--eval-every": """
            eval_steps eval_strategy evaluation_strategy eval_interval evals_per_epoch
            steps_per_eval run_val_every_n_steps""",
        "--early-stopping-patience": "patience early_stopping load_best_model_at_end",
        "--checkpoint-every": """save_steps save_every save_interval save_strategy saves_per_epoch
            checkpointing_steps""",
        "--keep-checkpoints": "save_total_limit",
        "--log-every": "logging_steps log_interval log_steps log_every_n_steps steps_per_report",
        "--config": "config_file recipe",
        "--dry-run": "dryrun",
        "--verbose": "debug",
        "--template": "chat_template prompt_template prompt_style",
        "--system-prompt": "system default_system system_message",
        "--max-new-tokens": "n_predict num_predict max_gen_len max_generated_tokens",
        "--temperature": "temp",
        "--top-k": "topk",
        "--top-p": "topp",
        "--repetition-penalty": "repeat_penalty",
        "--interactive": "chat interactive_first",
        "--prompts": "prompt_file prompts_file",
        "--prompt": "input_prompt text",
        "--count | --generate": "limit num_samples",
        "--format": "save_method",
        "--format | --for | --to": "export_format output_format",
        "--to | --for": "target_format",
        "--backend lora | --adapter | --checkpoint": "lora",
    }
)
"""Other programs' names of flags, variables and config keys; no command here has these names."""

_ADAPTER_IS = (
    "--checkpoint | --backend or --init-from | export-adapter RUN | convert-adapter SRC"
    " | import-adapter DIR | lint DIR"
)

OWN_SETTINGS = _by_name(
    {
        "--checkpoint | --adapter | status RUN | export-adapter RUN | convert-adapter SRC": "run",
        "--adapter | --resume | export-adapter RUN | convert-adapter SRC": "checkpoint",
        _ADAPTER_IS: "adapter",
        "--adapter | --checkpoint": "init_from",
        "--model": "base",
        "--base | export-gguf PATH": "model",
        "validate FILE...": "data",
        "--data | validate FILE...": "data_dir",
        "--output-dir": "output",
        "--output": "output_dir",
        "--to | --format | --type": "for",
        "--for | --format | --type": "to",
        "--for | --to | --type": "format",
        "--format | --for | --to | --backend": "type",
        "--nf4-block-size": "block_size",
        "--block-size": "nf4_block_size",
        "--qlora-no-double-quant": "no_double_quant",
        "--no-double-quant": "qlora_no_double_quant qlora_double_quant",
        "--qlora-ce-last-k": "ce_last_k",
    }
)
"""The same for our own names, in the commands that lack them."""

METRICS = (
    "Each run writes its metrics to telemetry.jsonl in its folder; `vox mens report` reads it, and"
    " --report-to passes them on; a logger's own variables (WANDB_PROJECT, ...) decide the rest"
)
ANSWERS = "The assistant's text is learned, with --learn all every token; see `vox mens preview`"
DEVICES = (
    "Each process uses one device (--device); --nproc starts several, which share each step and,"
    " where it does not fit (--shard), the base; nothing else is configured"
)
OPTIMIZER = "An optimizer has only --optimizer, --lr, --weight-decay and --max-grad-norm"
PACKED = "The rows of a batch are always packed and never see each other"
MEMORY = (
    "This is chosen for you; --batch-size, --seq-len, --activation-memory and --backend qlora"
    " decide the memory"
)
LOCAL = "Nothing is downloaded or uploaded, and code in a model folder is never run"
PLAIN_LORA = "Only LoRA is trained: --rank, --alpha, --dropout, --rslora and --targets"
SUPERVISED = "`vox mens train` only does supervised fine-tuning"
FOUR_BITS = "There are no 8-bit bases; --backend qlora stores the base in 4 bits (NF4)"
SAMPLING = "Sampling is set by --temperature, --top-k, --top-p, --repetition-penalty and --seed"
EVERY_LAYER = "Every layer gets an adapter; --targets and --rank decide its size"
ROWS = "A row's format is recognised by its keys, without a flag; see `vox mens preview`"

_ABSENT_BY_REASON = {
    METRICS: """
        logging_dir run_name wandb_project wandb_entity wandb_name wandb_mode wandb_watch
        wandb_run_id wandb_log_model comet use_swanlab swanlab_project plot_loss
        logging_first_step logging_strategy""",
    ANSWERS: """
        mask_prompt mask_inputs completion_only_loss assistant_only_loss roles_to_train
        train_on_responses_only""",
    DEVICES: """
        deepspeed fsdp fsdp_config devices num_nodes nnodes device_map local_rank ddp_timeout
        ddp_find_unused_parameters tensor_parallel_size accelerate_config gpu_ids""",
    OPTIMIZER: "adam_beta1 adam_beta2 adam_epsilon betas optim_args",
    PACKED: """
        packing packed sample_packing eval_sample_packing multipack pad_to_sequence_len
        pad_to_max_length padding_free group_by_length neat_packing packing_strategy""",
    MEMORY: """
        flash_attention flash_attn use_flash_attention use_flash_attention_2
        attn_implementation xformers_attention sdp_attention torch_compile compile use_unsloth
        use_liger_kernel enable_liger_kernel liger_kernel tf32 low_cpu_mem_usage max_memory""",
    LOCAL: """
        push_to_hub hub_model_id hub_token hub_strategy hub_private_repo token hf_token
        access_token use_auth_token hf_path upload_repo trust_remote_code revision
        model_revision use_modelscope use_openmind""",
    PLAIN_LORA: """
        use_dora peft_use_dora loftq_config init_lora_weights pissa_init neftune_noise_alpha
        loraplus_lr_ratio lora_plus modules_to_save lora_modules_to_save additional_target
        lora_bias bias full_finetuning freeze_trainable_layers use_galore use_badam
        lora_fan_in_fan_out rank_pattern alpha_pattern peft_type""",
    SUPERVISED: """
        stage task_type do_train do_eval do_predict rl rlhf dpo_beta pref_beta pref_loss
        reward_model ref_model loss_type""",
    FOUR_BITS: "load_in_8bit use_8bit int8 q_bits",
    SAMPLING: """
        min_p typical_p do_sample num_beams top_h mirostat frequency_penalty presence_penalty
        dynatemp_range""",
    EVERY_LAYER: """
        num_layers lora_layers layers_to_transform peft_layers_to_transform layers_pattern""",
    ROWS: """
        dataset_text_field prompt_column response_column columns field_messages
        message_field_role message_field_content dataset_prepared_path dataset_format
        data_format text_column formatting preprocessing_num_workers max_samples""",
}

ABSENT_SETTINGS: Mapping[str, str] = {
    name: reason for reason, names in _ABSENT_BY_REASON.items() for name in names.split()
}
"""Settings of other programs that do not exist here, and what to do instead."""

PEER_COMMANDS = _by_name(
    {
        "mens train": "finetune fine_tune finetune_lora finetune_full sft lora fit tune",
        "mens train --backend qlora": "qlora",
        "mens train --resume": "resume",
        "mens generate --interactive": "chat webchat",
        "mens generate --prompt": "ask complete",
        "mens generate | mens train": "run",
        "mens generate": "infer inference predict sample",
        "mens eval": "evaluate benchmark bench perplexity score test",
        "mens compare": "diff",
        "mens runs": "ls list experiments",
        "mens push": "upload publish push_to_hub",
        "mens watch": "progress tail follow monitor",
        "mens report": "plot plots curves dashboard",
        "mens serve": "server api deploy",
        "mens merge": "fuse merge_lora merge_and_unload",
        "mens export-adapter | mens export-gguf": "export save",
        "mens export-gguf": "gguf to_gguf convert_to_gguf",
        "mens export-adapter --for peft | mens import-adapter": "peft",
        "mens convert-adapter": "convert_lora",
        "mens import-adapter | mens import-gguf": "import load",
        "mens import-gguf": "from_gguf gguf_to_hf",
        "mens quantize": "quant quantise bnb",
        "mens corpus validate | mens preview": "preprocess prepare",
        "mens preview": "tokenize",
        "mens preview | mens lint": "inspect",
        "mens preview | mens status": "show",
        "mens corpus": "dataset data",
        "mens corpus check": "dedup dedupe deduplicate leakage",
        "mens lint": "verify",
        "mens status": "logs ps",
        "mens doctor": "env info system probe",
        "mens init": "new create",
        "mens init | mens train": "start",
        "mens train --print-config": "config",
        "mens train --dry-run": "plan",
        "ci mens-gate": "gate",
        "--version": "version",
        "--help": "help",
    }
)
"""Other programs' commands. Commands of `vox` with the same name are found without this table."""

NO_DOWNLOAD = "A model is downloaded where it is used: --model org/name --allow-download"
LOG_IN = "Log in to the hub with its own command: hf auth login"
NO_BROWSER = "There is no web page; every command runs in a terminal"

RECIPE = "It is one fixed recipe; put its settings into a file for `vox mens train` with --config"
STAGES = "Its stages are commands of the corpus group; the last one is `vox mens train`"
EDITOR = "Editors, reviews and workflows are not part of this program"

COMMAND_NOTES: Mapping[str, str] = {
    **dict.fromkeys(("dogfood", "train_uv"), RECIPE),
    "pipeline": STAGES,
    **dict.fromkeys(("system_prompt_template", "review", "fix", "workflow"), EDITOR),
    **dict.fromkeys(("download", "pull", "fetch", "get"), NO_DOWNLOAD),
    "login": LOG_IN,
    **dict.fromkeys(("webui", "ui", "train_webui", "board", "studio", "gradio"), NO_BROWSER),
    **dict.fromkeys(
        ("dpo", "ppo", "orpo", "kto", "grpo", "rm", "reward", "rloo", "pretrain", "distill"),
        SUPERVISED,
    ),
}
"""Notes on commands of other programs that have no equivalent here."""

PEER_WORDS = _by_name(
    {
        "f16 | bf16": "fp16 float16 half 16_true",
        "f32": "fp32 float32 float 32_true",
        "bf16": "bf16_true bf16_mixed",
        "q8_0": "q4_k_m q5_k_m q6_k int8",
        "nf4 | qlora": "4bit bnb bnb_4bit bitsandbytes bnb.nf4",
        "nf4": "fp4",
        "adamw": "adam adamw_torch adamw_hf adamw_torch_fused adamw_apex_fused torch.optim.adamw",
        "adamw8bit": "adamw_8bit adamw_bnb_8bit paged_adamw_8bit adam8bit pagedadamw8bit",
        "lion": "lion_32bit paged_lion_32bit",
        "lora": "peft dora",
        "cuda": "cuda:0 gpu:0",
        "metal": "mps:0",
        "constant": "constant_with_warmup",
        "cosine": "cosine_with_restarts cosine_with_min_lr cosine_decay",
        "linear": "linear_decay",
        "wsd": "warmup_stable_decay",
        "hf | peft": "huggingface transformers safetensors",
        "hf": "merged_16bit fast",
        "gguf": "llama.cpp llama_cpp ollama lmstudio",
        "mlx": "mlx_lm",
        "vllm": "sglang",
        "vllm | peft": "tgi",
        "hf | chatml": "auto",
        "chatml": "qwen chat_ml",
        "plain | error": "none",
        "plain": "raw",
        "skip": "ignore drop",
        "error": "raise fail",
        "truncate": "truncation cut",
    }
)
"""Other programs' names of values; the first that is one of the choices is suggested."""
