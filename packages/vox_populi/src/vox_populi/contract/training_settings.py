"""The settings of a training run by name. Written by docs/setting_types.py; run `make docs`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypedDict


class TrainingSettings(TypedDict, total=False):
    """Settings of `plan_training` and `train_adapter`, named as in a config file."""

    model: str | Path | None
    """Base model folder (save_pretrained)."""
    init_from: str | Path | None
    """Adapter file to start from, with fresh optimizer state."""
    backend: Literal["lora", "qlora"]
    """lora: a base as it is stored. qlora: a base in NF4."""
    kernel: Literal["burn_lora", "candle_qlora"] | None
    """Refuse to run on another kernel."""
    base_quant: Literal["none", "nf4"] | None
    """How the base is held."""
    tokenizer: Literal["vox", "hf"]
    """Vocabulary."""
    targets: str | None
    """Projections to adapt, comma-separated: all, q, k, v, o, gate, up, down, lm_head."""
    rank: int
    """Adapter rank."""
    alpha: float
    """Adapter alpha."""
    dropout: float
    """Dropout of the adapter."""
    rslora: bool
    """Scale by alpha/sqrt(rank)."""
    qlora_graph: Literal["full", "proxy"] | None
    """What QLoRA trains: the transformer, or a bounded proxy of it."""
    qlora_no_double_quant: bool
    """Keep the magnitudes of NF4 blocks in f32."""
    nf4_block_size: int
    """Values that share a magnitude, 32 to 4096."""
    nf4_cache: Literal["auto", "none", "layer", "step"]
    """How long dense copies of NF4 weights live."""
    nf4_cache_dir: str | Path | None
    """Keep quantised bases here for the next runs."""
    qlora_ce_last_k: int | None
    """Learn only the last N supervised tokens of a row."""
    qlora_max_skip_rate: float | None
    """Refuse data of which more is skipped, 0 to 1."""
    qlora_proxy_max_layers: int | None
    """Most middle layers of the proxy; 0 is the LM head alone."""
    qlora_lm_head_only: bool
    """Proxy without middle layers."""
    qlora_require_full_proxy_stack: bool
    """Refuse a base that lacks an output projection."""
    qlora_allow_partial_proxy_stack: bool
    """Fall back to the LM head, also with --device cuda."""
    epochs: int
    """Passes over the rows."""
    max_steps: int | None
    """Most optimizer steps."""
    lr: float
    """Peak learning rate."""
    schedule: Literal["constant", "linear", "cosine", "inverse_sqrt", "wsd"]
    """Learning rate after warm-up."""
    warmup: int
    """Warm-up steps."""
    optimizer: Literal["adamw", "lion", "adamw8bit"]
    """What turns gradients into updates."""
    weight_decay: float
    """Weight decay."""
    max_grad_norm: float
    """Largest norm of a step's gradients."""
    seq_len: int
    """Most tokens of a row."""
    batch_size: int
    """Rows of a forward pass."""
    grad_accum: int
    """Forward passes of an optimizer step."""
    seed: int
    """Seed of everything random."""
    template: Literal["chatml", "plain"]
    """Layout of a row."""
    system_prompt: str | None
    """Opens rows that have no system message."""
    min_rating: int | None
    """Leave out rows rated lower, 1 to 5."""
    context_filter: str | None
    """Keep rows whose category contains this."""
    on_bad_row: Literal["error", "skip"]
    """Rows that cannot be read."""
    on_long_row: Literal["truncate", "skip", "error"]
    """Rows over --seq-len."""
    validation_split_ratio: float
    """Share of rows held out."""
    eval_every: int | None
    """Steps between evaluations."""
    early_stopping_patience: int | None
    """Evaluations without a better loss before stopping."""
    device: Literal["cpu", "cuda", "metal", "best"]
    """Where to compute."""
    dtype: Literal["auto", "f32", "bf16"]
    """Arithmetic of the base."""
    threads: int | None
    """CPU threads."""
    deployment_target: Literal["workstation", "mobile_edge"]
    """What the adapter is for."""
    preset: str | None
    """Named settings: tiny, safe, 4080, a100, distributed, mobile_edge, vox-gen."""
    log_every: int
    """Steps between two lines of progress."""
    checkpoint_every: int | None
    """Steps between two checkpoints."""
    keep_checkpoints: int
    """Checkpoints that remain."""
    check_rows: bool
    """Keep a few rows as token ids in the run folder; merges are proved on them."""
