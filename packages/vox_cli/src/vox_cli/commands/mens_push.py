"""`vox mens push`: an adapter or a model on the Hugging Face Hub."""

from __future__ import annotations

from vox_cli.console import Console
from vox_cli.report_text import aligned, bytes_text
from vox_cli.transfer_view import transfer_view
from vox_populi.pipeline.push import PushReport, PushRequest, push_to_hub


def push(console: Console, request: PushRequest) -> None:
    """Upload an adapter in PEFT's form, or a model folder, with a model card, in one commit.

    A new repository is private unless --public is passed. The access token is taken from HF_TOKEN
    or from `hf auth login`. Rows, telemetry and places of this machine are never uploaded;
    --dry-run shows what would be. Run an interrupted upload again: files that arrived are not sent
    again.
    """
    console.report(push_to_hub(request, transfer_view(console)), push_text)


def push_text(report: PushReport) -> str:
    """A report of what was sent, or would be."""
    is_sent = report.commit is not None
    return aligned(
        [
            ("repository", report.url or report.name.repository),
            ("branch", report.name.revision),
            ("visible to", "you and your organisation" if report.is_private else "everybody"),
            ("kind", report.kind),
            ("base", report.base_name),
            *((name, bytes_text(size)) for name, size in report.files),
            ("uploaded" if is_sent else "to upload", _total(report)),
            ("commit", report.commit),
            *(("note", line) for line in report.notes),
        ]
    )


def _total(report: PushReport) -> str:
    count = len(report.files)
    return f"{count} files, {bytes_text(report.n_bytes)}"
