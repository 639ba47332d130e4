"""The settings of a training run by name. Written by docs/setting_types.py; run `make docs`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypedDict


class TrainingSettings(TypedDict, total=False):
    """Settings of `plan_training` and `train_adapter`, named as in a config file."""

    model: str | Path | None
    """Base model folder (save_pretrained)."""
    allow_download: bool
    """Download a model that is named as on the Hugging Face Hub (org/name@revision)."""
    init_from: str | Path | None
    """Adapter file to start from, with fresh optimizer state."""
    backend: Literal["lora", "qlora"]
    """lora: the base as stored. qlora: the base in NF4."""
    kernel: Literal["burn_lora", "candle_qlora"] | None
    """Refuse to run on any other kernel."""
    base_quant: Literal["none", "nf4"] | None
    """How the base is stored in memory."""
    tokenizer: Literal["vox", "hf"]
    """Vocabulary."""
    targets: str | None
    """Projections to adapt, comma-separated: all, q, k, v, o, gate, up, down, lm_head."""
    graph: Literal["auto", "native", "transformers"]
    """Whose code computes the base: native, or transformers, which is proven first."""
    rank: int
    """Adapter rank."""
    alpha: float
    """Adapter alpha."""
    dropout: float
    """Dropout of the adapter."""
    rslora: bool
    """Scale by alpha/sqrt(rank)."""
    qlora_graph: Literal["full", "proxy"] | None
    """What QLoRA trains: the transformer, or a bounded proxy."""
    qlora_no_double_quant: bool
    """Keep the magnitudes of NF4 blocks in f32."""
    nf4_block_size: int
    """Values per block, 32 to 4096."""
    nf4_cache: Literal["auto", "none", "layer", "step"]
    """How long to keep dense copies of NF4 weights."""
    nf4_cache_dir: str | Path | None
    """Folder that keeps quantised bases for later runs."""
    qlora_ce_last_k: int | None
    """Learn only the last N supervised tokens of a row."""
    qlora_max_skip_rate: float | None
    """Largest share of rows that may be skipped, 0 to 1."""
    qlora_proxy_max_layers: int | None
    """Largest number of middle layers in the proxy; 0 is only the LM head."""
    qlora_lm_head_only: bool
    """Train only the LM head (proxy without middle layers)."""
    qlora_require_full_proxy_stack: bool
    """Refuse a base that lacks an output projection."""
    qlora_allow_partial_proxy_stack: bool
    """Fall back to the LM head, even with --device cuda."""
    epochs: int
    """Passes over the rows."""
    max_steps: int | None
    """Largest number of optimizer steps."""
    lr: float
    """Peak learning rate."""
    schedule: Literal["constant", "linear", "cosine", "inverse_sqrt", "wsd"]
    """Learning rate schedule after the warm-up."""
    warmup: int
    """Warm-up steps."""
    optimizer: Literal["adamw", "lion", "adamw8bit"]
    """Optimizer."""
    weight_decay: float
    """Weight decay."""
    max_grad_norm: float
    """Clip the gradients of a step to this norm."""
    seq_len: int
    """Largest number of tokens per row."""
    batch_size: int
    """Rows per forward pass."""
    grad_accum: int
    """Forward passes per optimizer step."""
    share_prefixes: Literal["auto", "never"]
    """Compute once what rows of a step begin with alike."""
    micro_batches: int | None
    """Spread the rows of a step over a multiple of N forward passes."""
    seed: int
    """Random seed."""
    template: str
    """Template of a row; auto: the base's own if it has one."""
    system_prompt: str | None
    """System prompt for rows without one."""
    history: Literal["error", "last", "split"]
    """Answers that the template rewrites later: refuse, learn the last, or split the row."""
    learn: Literal["answers", "last", "all"]
    """What is learned of a row: its answers, the last one, or every token."""
    on_control_text: Literal["text", "error", "skip", "keep"]
    """Rows that spell a control token: keep as text, refuse, skip or make it."""
    template_date: str
    """The date that a chat template prints."""
    min_rating: int | None
    """Skip rows with a lower rating, 1 to 5."""
    context_filter: str | None
    """Use only rows whose category contains this."""
    on_bad_row: Literal["error", "skip"]
    """What to do with rows that cannot be used."""
    on_long_row: Literal["truncate", "skip", "error"]
    """What to do with rows longer than --seq-len."""
    text_chunk_chars: int
    """Most characters of a row of plain text or Markdown."""
    trajectory_weighting_enabled: bool
    """Weigh rows by category and rating."""
    trajectory_tool_trace_boost: float
    """Factor for categories with tool_trace or trajectory."""
    trajectory_failure_category_boost: float
    """Factor for categories with fail or error."""
    trajectory_quality_floor: int | None
    """Lowest rating for --trajectory-quality-boost."""
    trajectory_quality_boost: float
    """Factor for rows of at least that rating."""
    curriculum: bool
    """Learn easy rows first: order each epoch by difficulty."""
    validation_split_ratio: float
    """Share of rows held out."""
    eval_every: int | None
    """Steps between evaluations."""
    early_stopping_patience: int | None
    """Evaluations without improvement before stopping."""
    device: Literal["cpu", "cuda", "metal", "best"]
    """Device to compute on."""
    dtype: Literal["auto", "f32", "bf16"]
    """Arithmetic of the base."""
    threads: int | None
    """CPU threads."""
    activation_memory: Literal["auto", "none", "selective", "full", "offload"]
    """Compute activations again instead of keeping them: less memory, more time."""
    shard: Literal["auto", "always", "never"]
    """Whether several processes hold the base together, each a part."""
    device_memory: float | None
    """Memory in GiB that a process may use."""
    row_cache: bool
    """Keep the rows of large files as token ids, for a quick next start."""
    row_cache_dir: str | Path | None
    """Folder that keeps them."""
    deployment_target: Literal["workstation", "mobile_edge"]
    """What the adapter is for."""
    base_model_family: str | None
    """Family of the base, for manifest and card."""
    upstream_model_id: str | None
    """Name of the base where it was published."""
    license_class: str | None
    """Licence of the base, such as apache-2.0."""
    attribution_required: bool
    """Say that the base's licence asks for attribution."""
    preset: str | None
    """Named settings: auto, tiny, safe, 4080, a100, distributed, mobile_edge, vox-gen."""
    log_every: int
    """Steps between progress lines."""
    checkpoint_every: int | None
    """Steps between checkpoints."""
    keep_checkpoints: int
    """Number of checkpoints to keep."""
    keep_best: bool
    """Keep the checkpoint with the lowest held-out loss too, as checkpoints/best."""
    max_runtime_secs: int | None
    """Stop after this many seconds, with a checkpoint."""
    check_rows: bool
    """Keep a few rows as token ids in the run folder, to check merges with."""
    report_to: str | None
    """Loggers to report to as well, comma-separated: none, tensorboard, wandb, mlflow, trackio."""
    samples: int
    """Held-out rows that are answered before and after training; keeps their text."""
