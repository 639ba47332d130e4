"""`vox mens import-gguf`: a GGUF file becomes a model folder."""

from __future__ import annotations

from vox_cli.console import Console
from vox_cli.report_text import aligned, bytes_text
from vox_populi.pipeline.import_gguf import ImportGgufReport, ImportGgufRequest
from vox_populi.pipeline.import_gguf import import_gguf as import_model


def import_gguf(console: Console, request: ImportGgufRequest) -> None:
    """Write a model folder with the weights, config, tokenizer and chat template of a GGUF file.

    `auto` keeps the number type of the file, and means bf16 if it is quantised. Only a few rows are
    in memory at a time. `gguf_import.json` in the folder names the file and its types.

    Quantised files need the extra gguf.
    """
    report = import_model(request)
    console.notes(report.notes)
    console.report(report, import_gguf_text)


def import_gguf_text(report: ImportGgufReport) -> str:
    """What was read and what was written."""
    types = ", ".join(f"{count} {name}" for name, count in report.types.items())
    return aligned(
        [
            ("written to", report.output),
            ("model", report.model_type),
            ("read", f"{report.source.name}, sha256 {report.source_sha256[:12]}"),
            ("tensors", types),
            ("weights", f"{report.dtype}, {bytes_text(report.total_bytes)}"),
            ("splits text as", report.tokenizer),
            ("chat template", ", ".join(report.templates) or "none"),
            ("took", f"{report.seconds:.1f} s"),
        ]
    )
