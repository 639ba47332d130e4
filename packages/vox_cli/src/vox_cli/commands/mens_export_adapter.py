"""`vox mens export-adapter`: a trained adapter in the format of another program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags, value_parsers
from vox_cli.console import Console
from vox_cli.report_text import aligned
from vox_populi.export.consumers import Consumer
from vox_populi.pipeline.export import ExportReport, ExportRequest
from vox_populi.pipeline.export import export_adapter as export


def export_adapter(
    console: Console,
    run: Annotated[Path, flags.path_argument("Run folder, or an adapter file of one.", "RUN")],
    consumer: Annotated[
        Consumer,
        flags.value(
            "Program that will load it.",
            value_parsers.one_of(Consumer),
            "|".join(Consumer),
            names=("--for",),
        ),
    ],
    output_dir: Annotated[Path, flags.path("New folder to write.", "DIR")],
    model: Annotated[
        Path | None,
        flags.path("Base folder, if it has moved since the run.", "DIR"),
    ] = None,
    base_name: Annotated[
        str | None,
        flags.text(
            "Name of the base in adapter_config.json.",
            "NAME",
            "its name on the hub, or its absolute folder",
        ),
    ] = None,
    keep_base_text: Annotated[
        bool,
        flags.switch(
            "Do not write the training's chat template and tokenizer settings beside it.",
            "--keep-base-text",
        ),
    ] = False,
    include_system_prompt: Annotated[
        bool,
        flags.switch(
            "Write the training's system prompt into the chat template.",
            "--include-system-prompt",
        ),
    ] = False,
) -> None:
    """Write an adapter for PEFT, vLLM, llama.cpp (gguf) or mlx-lm, and report what was changed.

    Names, orientation and scale become those of the consumer. Anything it cannot represent is
    refused with exit code 3, and nothing is written.
    """
    request = ExportRequest(
        source=run,
        consumer=consumer,
        output_dir=output_dir,
        model_dir=model,
        base_name=base_name,
        keep_base_text=keep_base_text,
        include_system_prompt=include_system_prompt,
    )
    report = export(request)
    console.report(report, export_text)


def export_text(report: ExportReport) -> str:
    """A report of what was written and how the adapter was changed."""
    return aligned(
        [
            ("written to", report.output_dir),
            ("for", report.consumer.value),
            ("files", ", ".join(report.files)),
            ("adapter", f"{report.modules} modules, rank {report.rank}, alpha {report.alpha:g}"),
            *(("renamed", line) for line in report.renamed or ("nothing",)),
            *(("rescaled", line) for line in report.rescaled or ("nothing",)),
            ("refused", "nothing"),
            *(("note", line) for line in report.notes),
        ]
    )
