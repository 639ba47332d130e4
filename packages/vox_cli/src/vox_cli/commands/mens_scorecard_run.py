"""`vox mens scorecard run`: one cycle of both backends on a suite."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.scorecard_text import cycle_text
from vox_cli.task_file_reader import read_suite
from vox_cli.transfer_view import transfer_view
from vox_populi.contract.download_choice import DownloadChoice
from vox_populi.contract.setting_groups import ComputeSettings
from vox_populi.pipeline.model_arguments import model_folder
from vox_populi.pipeline.scorecard import CycleRequest, run_cycle


def run(
    console: Console,
    suite: Annotated[Path, flags.path("YAML file of the suite.", "FILE")],
    lora_run: Annotated[Path, flags.path("Run folder of --backend lora.", "RUN")],
    qlora_run: Annotated[Path, flags.path("Run folder of --backend qlora.", "RUN")],
    output_dir: Annotated[Path, flags.path("New folder for the cycle.", "DIR")],
    compute: ComputeSettings,
    download: DownloadChoice,
    model: Annotated[
        Path | None, flags.path("Base folder of both runs, if it has moved.", "DIR")
    ] = None,
    run_code: Annotated[
        bool,
        flags.switch("Run the code of answers, locked in, where tasks have tests.", "--run-code"),
    ] = False,
) -> None:
    """Measure a LoRA run beside a QLoRA run: syntax, semantics, and repair after feedback.

    Both must be trained on the same base and rows. Nothing is trained here. The same runs and suite
    give the same bytes, apart from cycle_times.json.
    """
    if model is not None:
        model = model_folder(
            model, may_download=download.allow_download, watcher=transfer_view(console)
        )
    request = CycleRequest(
        suite=read_suite(suite),
        lora=lora_run,
        qlora=qlora_run,
        output=output_dir,
        model_dir=model,
        run_code=run_code,
        compute=compute,
    )
    report = run_cycle(request)
    console.notes(report.notes)
    console.report(report, cycle_text)
