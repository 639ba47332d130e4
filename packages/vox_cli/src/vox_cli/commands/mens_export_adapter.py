"""`vox mens export-adapter`: a trained adapter in the format of another program."""

from __future__ import annotations

from vox_cli.console import Console
from vox_cli.report_text import aligned
from vox_populi.pipeline.export import ExportReport, ExportRequest
from vox_populi.pipeline.export import export_adapter as export


def export_adapter(console: Console, request: ExportRequest) -> None:
    """Write an adapter for PEFT, vLLM, llama.cpp (gguf) or mlx-lm, and report what was changed.

    Names, orientation and scale become those of the consumer. Anything it cannot represent is
    refused with exit code 3, and nothing is written.
    """
    console.report(export(request), export_text)


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
