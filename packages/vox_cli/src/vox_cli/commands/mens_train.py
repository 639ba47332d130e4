"""`vox mens train`: settings in, a contract out, one call of the pipeline, a report printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vox_cli import flags
from vox_cli.config_file import read_config_file
from vox_cli.console import ColorChoice, Console
from vox_cli.flags import ColorFlag, JsonFlag, QuietFlag, VerboseFlag
from vox_cli.progress import progress_sink
from vox_cli.report_text import train_text, trial_text
from vox_cli.resolved_settings import settings_as_json, settings_as_yaml
from vox_cli.setting_sources import Chosen, settings_of
from vox_cli.terminal import STDERR
from vox_cli.train_request import (
    AdapterTargets,
    build_contract,
    build_options,
    choose_settings,
    parse_resume,
)
from vox_cli.value_parsers import one_of
from vox_populi.contract.adapter_target import TARGET_WORDS
from vox_populi.contract.choices import (
    Backend,
    ComputeDtype,
    DeploymentTarget,
    DeviceKind,
    Kernel,
    TokenizerKind,
    parse_backend,
    parse_deployment_target,
    parse_device,
    parse_dtype,
)
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.optimizer_choice import OptimizerKind
from vox_populi.contract.presets import PRESETS
from vox_populi.contract.qlora_spec import BaseQuant, DenseCopiesChoice, QloraGraph
from vox_populi.data.dataset import OnBadRow, OnLongRow
from vox_populi.data.training_text import ChatTemplate
from vox_populi.number_ranges import COUNT
from vox_populi.pipeline.train import Resume, RunOptions, TrainReport, plan_training, run_training
from vox_populi.pipeline.trial import try_one_step
from vox_populi.plan.output_folder import FolderUse
from vox_populi.plan.plan_report import plan_as_text
from vox_tensor.schedule import ScheduleKind


class DryRun(StrEnum):
    """How much of a run to do."""

    PLAN = "plan"
    STEP = "step"


def train(
    context: typer.Context,
    data_dir: Annotated[
        Path | None, flags.path("Folder with train.jsonl, and valid.jsonl if any. Required.", "DIR")
    ] = None,
    output_dir: Annotated[Path | None, flags.path("New run folder. Required.", "DIR")] = None,
    model: Annotated[
        Path | None, flags.path("Base model folder (save_pretrained).", "DIR", default="vox-nano")
    ] = None,
    init_from: Annotated[
        Path | None,
        flags.path("Adapter file to start from, with fresh optimizer state.", "FILE"),
    ] = None,
    backend: Annotated[
        Backend | None,
        flags.word(
            "lora: a base as it is stored. qlora: a base in NF4.",
            parse_backend,
            Backend,
            default="lora",
        ),
    ] = None,
    kernel: Annotated[
        Kernel | None,
        flags.choice("Refuse to run on another kernel.", Kernel, default="the backend's"),
    ] = None,
    base_quant: Annotated[
        BaseQuant | None,
        flags.choice("How the base is held.", BaseQuant, default="as the backend needs it"),
    ] = None,
    tokenizer: Annotated[
        TokenizerKind | None,
        flags.choice(
            "Vocabulary.", TokenizerKind, default="hf with --model or --backend qlora, else vox"
        ),
    ] = None,
    targets: Annotated[
        AdapterTargets | None,
        flags.word(
            f"Projections to adapt, comma-separated: {', '.join(TARGET_WORDS)}.",
            AdapterTargets.parse,
            "LIST",
            default="all",
        ),
    ] = None,
    rank: Annotated[int | None, flags.whole("Adapter rank.", default=16)] = None,
    alpha: Annotated[float | None, flags.real("Adapter alpha.", default=32)] = None,
    dropout: Annotated[float | None, flags.real("Dropout of the adapter.", default=0)] = None,
    rslora: Annotated[
        bool | None, flags.toggle("Scale by alpha/sqrt(rank).", "--rslora/--no-rslora")
    ] = None,
    qlora_graph: Annotated[
        QloraGraph | None,
        flags.choice(
            "What QLoRA trains: the transformer, or a bounded proxy of it.",
            QloraGraph,
            default="full",
        ),
    ] = None,
    qlora_no_double_quant: Annotated[
        bool | None,
        flags.toggle(
            "Keep the magnitudes of NF4 blocks in f32.",
            "--qlora-no-double-quant/--qlora-double-quant",
        ),
    ] = None,
    nf4_block_size: Annotated[
        int | None, flags.whole("Values that share a magnitude, 32 to 4096.", default=64)
    ] = None,
    nf4_cache: Annotated[
        DenseCopiesChoice | None,
        flags.choice(
            "How long dense copies of NF4 weights live.", DenseCopiesChoice, default="auto"
        ),
    ] = None,
    nf4_cache_dir: Annotated[
        Path | None, flags.path("Keep quantised bases here for the next runs.", "DIR")
    ] = None,
    qlora_ce_last_k: Annotated[
        int | None,
        flags.whole(
            "Learn only the last N supervised tokens of a row.", default="all, with proxy 1"
        ),
    ] = None,
    qlora_max_skip_rate: Annotated[
        float | None, flags.real("Refuse data of which more is skipped, 0 to 1.")
    ] = None,
    qlora_proxy_max_layers: Annotated[
        int | None, flags.whole("Most middle layers of the proxy; 0 is the LM head alone.")
    ] = None,
    qlora_lm_head_only: Annotated[
        bool | None,
        flags.toggle(
            "Proxy without middle layers.", "--qlora-lm-head-only/--no-qlora-lm-head-only"
        ),
    ] = None,
    qlora_require_full_proxy_stack: Annotated[
        bool | None,
        flags.toggle(
            "Refuse a base that lacks an output projection.",
            "--qlora-require-full-proxy-stack/--no-qlora-require-full-proxy-stack",
        ),
    ] = None,
    qlora_allow_partial_proxy_stack: Annotated[
        bool | None,
        flags.toggle(
            "Fall back to the LM head, also with --device cuda.",
            "--qlora-allow-partial-proxy-stack/--no-qlora-allow-partial-proxy-stack",
        ),
    ] = None,
    epochs: Annotated[int | None, flags.whole("Passes over the rows.", default=3)] = None,
    max_steps: Annotated[int | None, flags.whole("Most optimizer steps.")] = None,
    optimizer: Annotated[
        OptimizerKind | None,
        flags.choice(
            "What turns gradients into updates.", OptimizerKind, default=OptimizerKind.ADAMW
        ),
    ] = None,
    lr: Annotated[float | None, flags.real("Peak learning rate.", default="2e-4")] = None,
    schedule: Annotated[
        ScheduleKind | None,
        flags.choice("Learning rate after warm-up.", ScheduleKind, default="cosine"),
    ] = None,
    warmup: Annotated[int | None, flags.whole("Warm-up steps.", default=100)] = None,
    weight_decay: Annotated[float | None, flags.real("Weight decay.", default=0.01)] = None,
    max_grad_norm: Annotated[
        float | None, flags.real("Largest norm of a step's gradients.", default=1)
    ] = None,
    seq_len: Annotated[int | None, flags.whole("Most tokens of a row.", default=512)] = None,
    batch_size: Annotated[int | None, flags.whole("Rows of a forward pass.", default=4)] = None,
    grad_accum: Annotated[
        int | None, flags.whole("Forward passes of an optimizer step.", default=4)
    ] = None,
    seed: Annotated[int | None, flags.whole("Seed of everything random.", default=42)] = None,
    template: Annotated[
        ChatTemplate | None, flags.choice("Layout of a row.", ChatTemplate, default="chatml")
    ] = None,
    system_prompt: Annotated[
        str | None, flags.text("Opens rows that have no system message.")
    ] = None,
    min_rating: Annotated[
        int | None, flags.whole("Leave out rows rated lower, 1 to 5.", default=3)
    ] = None,
    context_filter: Annotated[
        str | None, flags.text("Keep rows whose category contains this.")
    ] = None,
    validation_split_ratio: Annotated[
        float | None, flags.real("Share of rows held out.", default=0.05)
    ] = None,
    eval_every: Annotated[
        int | None, flags.whole("Steps between evaluations.", default="an epoch's")
    ] = None,
    early_stopping_patience: Annotated[
        int | None, flags.whole("Evaluations without a better loss before stopping.")
    ] = None,
    on_bad_row: Annotated[
        OnBadRow | None, flags.choice("Rows that cannot be read.", OnBadRow, default="error")
    ] = None,
    on_long_row: Annotated[
        OnLongRow | None, flags.choice("Rows over --seq-len.", OnLongRow, default="truncate")
    ] = None,
    device: Annotated[
        DeviceKind | None, flags.word("Where to compute.", parse_device, DeviceKind, default="best")
    ] = None,
    dtype: Annotated[
        ComputeDtype | None,
        flags.word("Arithmetic of the base.", parse_dtype, ComputeDtype, default="auto"),
    ] = None,
    threads: Annotated[int | None, flags.whole("CPU threads.", default="torch's")] = None,
    deployment_target: Annotated[
        DeploymentTarget | None,
        flags.word(
            "What the adapter is for.",
            parse_deployment_target,
            DeploymentTarget,
            default="workstation",
        ),
    ] = None,
    preset: Annotated[
        str | None, flags.text(f"Named settings: {', '.join(PRESETS)}.", "NAME")
    ] = None,
    log_every: Annotated[
        int | None,
        flags.whole("Steps between two lines of progress.", COUNT, default=20),
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        flags.whole("Steps between two checkpoints.", COUNT, default="only when stopped"),
    ] = None,
    keep_checkpoints: Annotated[
        int | None, flags.whole("Checkpoints that remain.", COUNT, default=2)
    ] = None,
    check_rows: Annotated[
        bool | None,
        flags.toggle(
            "Keep a few rows as token ids in the run folder; merges are proved on them.",
            "--check-rows/--no-check-rows",
        ),
    ] = None,
    resume: Annotated[
        Resume | None,
        flags.value(
            "Go on from the newest checkpoint of --output-dir, or from DIR.",
            parse_resume,
            "[auto|DIR]",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        flags.path("YAML file of settings, named as the flags; flags win over it.", "FILE"),
    ] = None,
    print_config: Annotated[
        bool,
        flags.switch("Show every setting and its source, then stop.", "--print-config"),
    ] = False,
    dry_run: Annotated[
        DryRun | None,
        flags.value(
            "Show the plan and stop; =step also tries one step, and throws it away.",
            one_of(DryRun),
            "[=step]",
        ),
    ] = None,
    force: Annotated[
        bool,
        flags.switch(
            "Move an occupied output folder aside and start anew.", "--force", "--force-restart"
        ),
    ] = False,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    color: ColorFlag = ColorChoice.AUTO,
) -> None:
    """Train a LoRA or QLoRA adapter on the rows of a folder.

    Settings come from flags, the environment (VOX_MENS_BATCH_SIZE for --batch-size), the file
    given to --config, a preset, or the default; the first of these wins. Nothing is written
    before all inputs were checked.
    """
    console = Console(as_json=json, quiet=quiet, verbose=verbose, color=color)
    settings = settings_of(train)
    names = [setting.name for setting in settings]
    file = read_config_file(config, names) if config else None
    chosen = choose_settings(settings, context, file)
    if print_config:
        _print_config(console, chosen)
        return
    contract = build_contract(chosen)
    options = build_options(chosen, force=force, resume=resume, config=config)
    if dry_run is not None:
        _show_plan(console, contract, dry_run, options.folder_use)
        return
    report, said = _run(console, contract, options)
    for note in report.notes:
        if note not in said:
            console.note(f"note: {note}")
    if json:
        console.document(report.as_json())
    else:
        console.result(train_text(report))


def _print_config(console: Console, chosen: Mapping[str, Chosen]) -> None:
    if console.as_json:
        console.document({"settings": settings_as_json(chosen)})
    else:
        console.result(settings_as_yaml(chosen))


def _show_plan(
    console: Console, contract: FinetuneContract, dry_run: DryRun, use: FolderUse
) -> None:
    trial = None if dry_run is DryRun.PLAN else try_one_step(contract, use)
    planned = trial.planned if trial else plan_training(contract, use)
    for note in planned.notes:
        if note not in planned.plan.notes:
            console.note(f"note: {note}")
    if console.as_json:
        console.document(trial.as_json() if trial else planned.as_json())
        return
    console.result(plan_as_text(planned.plan).rstrip())
    if trial is not None:
        console.result(f"\n{trial_text(trial)}")


def _run(
    console: Console, contract: FinetuneContract, options: RunOptions
) -> tuple[TrainReport, set[str]]:
    """The report, and the notes that were shown while it went."""
    options = replace(options, on_stop=STDERR.at_once)
    if console.quiet:
        return run_training(contract, options), set()
    log_every = 1 if console.verbose else options.log_every
    progress = progress_sink(STDERR, has_bar=console.has_bar(STDERR), log_every=log_every)
    try:
        return run_training(contract, options, [progress]), progress.said
    finally:
        progress.close()
