"""`vox mens convert-adapter`: an adapter in another format, if the layers correspond."""

from __future__ import annotations

from vox_cli.console import Console
from vox_cli.report_text import aligned
from vox_populi.pipeline.convert import ConvertReport, ConvertRequest
from vox_populi.pipeline.convert import convert_adapter as convert

_SHOWN_NAMES = 4


def convert_adapter(console: Console, request: ConvertRequest) -> None:
    """Convert between LoRA .bin, PEFT folders and version 3 files, and report what changed.

    Only names change, never numbers. An adapter of a proxy graph can only have version 3 and is
    otherwise refused with exit code 3; nothing is written.
    """
    console.report(convert(request), convert_text)


def convert_text(report: ConvertReport) -> str:
    """A report of what was written and how the adapter was changed."""
    rule = ", rsLoRA" if report.use_rslora else ""
    adapter = f"{report.modules} modules, rank {report.rank}, alpha {report.alpha:g}{rule}"
    shown = report.renamed[:_SHOWN_NAMES]
    more = len(report.renamed) - len(shown)
    return aligned(
        [
            ("written to", report.output),
            ("from", report.source_form),
            ("to", report.target.value),
            ("files", ", ".join(report.files)),
            ("adapter", adapter),
            ("trained in", f"{report.graph}, base_quant {report.base_quant}"),
            *(("renamed", line) for line in shown or ("nothing",)),
            *((("renamed", f"and {more} more"),) if more else ()),
            ("rescaled", "nothing"),
            ("refused", "nothing"),
            *(("note", line) for line in report.notes),
        ]
    )
