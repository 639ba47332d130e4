"""`vox mens import-adapter`: a PEFT folder becomes one of our adapter files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.report_text import aligned
from vox_cli.value_parsers import template_word
from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.template_word import TEMPLATE_METAVAR
from vox_populi.data.training_text import ChatTemplate
from vox_populi.pipeline.import_peft import ImportReport, ImportRequest
from vox_populi.pipeline.import_peft import import_adapter as import_peft


def import_adapter(
    console: Console,
    folder: Annotated[Path, flags.path_argument("PEFT adapter folder.", "DIR")],
    output: Annotated[Path, flags.path("New adapter file to write.", "FILE")],
    model: Annotated[
        Path | None, flags.path("Folder of its base.", "DIR", "the embedded base")
    ] = None,
    tokenizer: Annotated[
        TokenizerKind | None, flags.choice("Vocabulary.", TokenizerKind, "the base's")
    ] = None,
    template: Annotated[
        Any, flags.value("Template it was trained with.", template_word, TEMPLATE_METAVAR, "auto")
    ] = ChatTemplate.AUTO,
    system_prompt: Annotated[
        str | None, flags.text("System prompt used for rows without one.")
    ] = None,
) -> None:
    """Read a PEFT adapter folder strictly: every tensor must fit the base, with none left over.

    Settings that a plain LoRA cannot represent are refused by name. Exporting the file again
    with `--for peft` gives the same bytes.
    """
    request = ImportRequest(
        source=folder,
        output=output,
        model_dir=model,
        tokenizer=tokenizer,
        template=template,
        system_prompt=system_prompt,
    )
    report = import_peft(request)
    console.notes(report.notes)
    console.report(report, import_text)


def import_text(report: ImportReport) -> str:
    """What was read, and where it is now."""
    rule = ", rsLoRA" if report.use_rslora else ""
    adapter = f"{report.modules} modules, rank {report.rank}, alpha {report.alpha:g}{rule}"
    rows = [("written to", report.output), ("base", report.base), ("adapter", adapter)]
    return aligned(rows)
