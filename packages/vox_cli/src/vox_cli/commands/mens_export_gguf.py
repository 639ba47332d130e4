"""`vox mens export-gguf`: a model folder as one GGUF file for llama.cpp."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags, value_parsers
from vox_cli.console import Console
from vox_cli.merge_text import rows_text
from vox_cli.report_text import aligned, bytes_text
from vox_populi.export.consumers import GgufTypeChoice
from vox_populi.pipeline.gguf import GgufReport, GgufRequest
from vox_populi.pipeline.gguf import export_gguf as export


def export_gguf(
    console: Console,
    source: Annotated[
        Path,
        flags.path_argument("Model folder; or run, checkpoint or adapter file.", "PATH"),
    ],
    output: Annotated[Path, flags.path("New file to write.", "FILE")],
    kind: Annotated[
        GgufTypeChoice,
        flags.value(
            "Number type of the matrices.",
            value_parsers.one_of(GgufTypeChoice),
            "|".join(GgufTypeChoice),
            "auto",
            ("--type",),
        ),
    ] = GgufTypeChoice.AUTO,
    model: Annotated[
        Path | None,
        flags.path("For an adapter: base folder, if it has moved since training.", "DIR"),
    ] = None,
    keep_base_text: Annotated[
        bool,
        flags.switch(
            "For an adapter: write the base's chat template and end tokens, not the training's.",
            "--keep-base-text",
        ),
    ] = False,
    include_system_prompt: Annotated[
        bool,
        flags.switch(
            "For an adapter: write the training's system prompt into the chat template.",
            "--include-system-prompt",
        ),
    ] = False,
) -> None:
    """Write a model as one file, read it back and compare every tensor.

    For a run, the adapter is added to its base in float32 and rounded once. `auto` means f16, or
    f32 if f16 would lose the adapter; a type that loses what was trained is not published.

    Needs the extra gguf. Refuses tokenizers whose pre-tokenizer llama.cpp does not support, and
    models that llama.cpp would compute differently.
    """
    report = export(
        GgufRequest(
            source=source,
            output=output,
            kind=kind,
            model_dir=model,
            keep_base_text=keep_base_text,
            include_system_prompt=include_system_prompt,
        )
    )
    console.notes(report.notes)
    console.report(report, gguf_text)


def gguf_text(report: GgufReport) -> str:
    """What the file holds, and what its rounding does to the rows of a run."""
    return aligned(
        [
            ("written to", report.output),
            ("for Ollama", report.modelfile),
            ("type", f"{report.kind.value}, {bytes_text(report.total_bytes)}"),
            ("tensors", f"{report.tensors}, all read back and compared"),
            ("splits text as", report.pre_tokenizer),
            ("context", f"{report.context:,} tokens"),
            *rows_text(report.rows),
        ]
    )
