"""`vox mens export-gguf`: a model folder as one GGUF file for llama.cpp."""

from __future__ import annotations

from vox_cli.console import Console
from vox_cli.merge_text import rows_text
from vox_cli.report_text import aligned, bytes_text
from vox_populi.pipeline.gguf import GgufReport, GgufRequest
from vox_populi.pipeline.gguf import export_gguf as export


def export_gguf(console: Console, request: GgufRequest) -> None:
    """Write a model as one file, read it back and compare every tensor.

    For a run, the adapter is added to its base in float32 and rounded once. `auto` means f16, or
    f32 if f16 would lose the adapter; a type that loses what was trained is not published.

    Needs the extra gguf. Refuses tokenizers whose pre-tokenizer llama.cpp does not support, and
    models that llama.cpp would compute differently.
    """
    report = export(request)
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
