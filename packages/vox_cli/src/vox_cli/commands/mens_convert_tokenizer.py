"""`vox mens convert-tokenizer`: an older tokenizer becomes a `tokenizer.json`."""

from __future__ import annotations

from vox_cli.console import Console
from vox_cli.report_text import aligned
from vox_populi.pipeline.convert_tokenizer import ConvertTokenizerReport, ConvertTokenizerRequest
from vox_populi.pipeline.convert_tokenizer import convert_tokenizer as convert


def convert_tokenizer(console: Console, request: ConvertTokenizerRequest) -> None:
    """Write the tokenizer.json of a model that was published without one.

    SentencePiece files of the BPE kind (Llama, Mistral) and byte-level BPE (GPT-2, Qwen) are
    converted; what would give other ids is refused. No other file of the folder is changed.
    """
    console.report(convert(request), converted_text)


def converted_text(report: ConvertTokenizerReport) -> str:
    """What was read and where it is now."""
    return aligned(
        [
            ("written to", report.output),
            ("made of", ", ".join(report.sources)),
            ("tokens", f"{report.tokens:,}"),
        ]
    )
