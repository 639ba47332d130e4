"""`vox mens train`: settings in, a contract out, one call of the pipeline, a report printed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from vox_cli import flags
from vox_cli.config_file import read_config_file
from vox_cli.console import Console
from vox_cli.exit_codes import ExitCode
from vox_cli.progress import progress_sink
from vox_cli.request_options import takes_settings
from vox_cli.resolved_settings import settings_as_json, settings_as_yaml
from vox_cli.run_text import train_text, trial_text
from vox_cli.setting_sources import Chosen
from vox_cli.terminal import STDERR
from vox_cli.train_request import (
    TRAIN_SETTINGS,
    build_contract,
    build_options,
    choose_settings,
    parse_resume,
)
from vox_cli.transfer_view import transfer_view
from vox_cli.value_parsers import one_of
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.errors import PeerLostError
from vox_populi.number_ranges import PROCESSES
from vox_populi.pipeline.base_argument import with_base_folder
from vox_populi.pipeline.launch import processes_here, require_one_process, run_on_processes
from vox_populi.pipeline.launcher_watch import stop_without_launcher
from vox_populi.pipeline.model_arguments import forbid_downloads
from vox_populi.pipeline.rank_place import RankPlace, rank_place
from vox_populi.pipeline.stopped_run import RunInterruptedError
from vox_populi.pipeline.train import Resume, RunOptions, TrainReport, plan_training, run_training
from vox_populi.pipeline.trial import try_one_step
from vox_populi.plan.output_folder import FolderUse
from vox_populi.plan.plan_report import plan_as_text


class DryRun(StrEnum):
    """How much of a run to execute."""

    PLAN = "plan"
    STEP = "step"


@takes_settings(FinetuneContract, RunOptions)
def train(
    context: typer.Context,
    console: Console,
    resume: Annotated[
        Resume | None,
        flags.value(
            "Resume from the newest checkpoint of --output-dir, or from DIR.",
            parse_resume,
            "[auto|DIR]",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        flags.path("YAML file of settings, named like the flags; flags override it.", "FILE"),
    ] = None,
    print_config: Annotated[
        bool,
        flags.switch("Show every setting and its source, then stop.", "--print-config"),
    ] = False,
    dry_run: Annotated[
        DryRun | None,
        flags.value(
            "Show the plan and stop; =step also tries one step and discards it.",
            one_of(DryRun),
            "[=step]",
        ),
    ] = None,
    nproc: Annotated[
        int,
        flags.whole("Share the run among N processes on this machine.", PROCESSES, 1),
    ] = 1,
    force: Annotated[
        bool,
        flags.switch(
            "Rename an existing output folder and start over.", "--force", "--force-restart"
        ),
    ] = False,
) -> None:
    """Train a LoRA or QLoRA adapter on the rows of a folder.

    Settings come from flags, the environment (VOX_MENS_BATCH_SIZE for --batch-size), the --config
    file, a preset, or the default; the first of these wins. Nothing is written before all inputs
    have been checked.
    """
    names = [each.name for each in TRAIN_SETTINGS]
    file = read_config_file(config, names) if config else None
    if not rank_place().is_first:
        console = replace(console, quiet=True)
    watcher = transfer_view(console)
    chosen = choose_settings(context, file, watcher)
    console.notes(each.note for each in chosen.values() if each.note is not None)
    if print_config:
        _print_config(console, chosen)
        return
    contract = build_contract(chosen)
    options = build_options(chosen, force=force, resume=resume, config=config)
    options = replace(options, on_lost=_end_where_it_waits)
    contract = with_base_folder(contract, watcher)
    place = processes_here(nproc, rank_place())
    if place.is_launched:
        stop_without_launcher(STDERR.at_once if place.is_first else None)
    if dry_run is not None:
        _show_plan(console, contract, dry_run, options.folder_use, place)
    elif place.size > 1 and not place.is_launched:
        if contract.allow_download:
            forbid_downloads()
        code = run_on_processes(place.size, context.obj, contract.compute.threads)
        raise typer.Exit(code)
    elif place.is_first:
        _train(console, contract, options)
    else:
        _follow(contract, options)


def _train(console: Console, contract: FinetuneContract, options: RunOptions) -> None:
    report, said = _run(console, contract, options)
    for note in report.notes:
        if note not in said:
            console.note(f"note: {note}")
    console.report(report, train_text)


def _follow(contract: FinetuneContract, options: RunOptions) -> None:
    """Train as one of several processes that is not the first, which prints the result."""
    try:
        run_training(contract, options)
    except RunInterruptedError as error:
        raise typer.Exit(error.exit_code) from error


def _end_where_it_waits(error: PeerLostError) -> NoReturn:
    """End although the main thread is in an exchange with a process that is gone."""
    STDERR.at_once(str(error))
    os._exit(ExitCode.RUN_FAILED)


def _print_config(console: Console, chosen: Mapping[str, Chosen]) -> None:
    if console.as_json:
        console.document({"settings": settings_as_json(chosen)})
    else:
        console.result(settings_as_yaml(chosen))


def _show_plan(
    console: Console,
    contract: FinetuneContract,
    dry_run: DryRun,
    use: FolderUse,
    place: RankPlace,
) -> None:
    if not place.is_first:
        return
    if dry_run is DryRun.STEP:
        require_one_process(place)
    trial = None if dry_run is DryRun.PLAN else try_one_step(contract, use)
    planned = trial.planned if trial else plan_training(contract, use, place)
    for note in planned.shown_notes:
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
    """The report, and the notes that were shown during the run."""
    options = replace(options, on_stop=STDERR.at_once)
    if console.quiet:
        return run_training(contract, options), set()
    log_every = 1 if console.verbose else options.log_every
    progress = progress_sink(STDERR, has_bar=console.has_bar(STDERR), log_every=log_every)
    try:
        return run_training(contract, options, [progress]), progress.said
    finally:
        progress.close()
