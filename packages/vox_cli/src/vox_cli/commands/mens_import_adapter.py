"""`vox mens import-adapter`: a PEFT folder becomes one of our adapter files."""

from __future__ import annotations

from vox_cli.console import Console
from vox_cli.report_text import aligned
from vox_populi.pipeline.import_peft import ImportReport, ImportRequest
from vox_populi.pipeline.import_peft import import_adapter as import_peft


def import_adapter(console: Console, request: ImportRequest) -> None:
    """Read a PEFT adapter folder strictly: every tensor must fit the base, with none left over.

    Settings that a plain LoRA cannot represent are refused by name. Exporting the file again
    with `--for peft` gives the same bytes.
    """
    report = import_peft(request)
    console.notes(report.notes)
    console.report(report, import_text)


def import_text(report: ImportReport) -> str:
    """What was read, and where it is now."""
    rule = ", rsLoRA" if report.use_rslora else ""
    adapter = f"{report.modules} modules, rank {report.rank}, alpha {report.alpha:g}{rule}"
    rows = [("written to", report.output), ("base", report.base), ("adapter", adapter)]
    return aligned(rows)
