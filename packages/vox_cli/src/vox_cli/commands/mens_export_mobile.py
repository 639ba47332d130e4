"""`vox mens export-mobile`: a model as one graph for a program on a device."""

from __future__ import annotations

import os
from dataclasses import replace

from vox_cli.console import Console
from vox_cli.inference_profile import FORMATS, inference_profile
from vox_cli.report_text import aligned, bytes_text
from vox_populi.pipeline.export_mobile import MobileReport, MobileRequest
from vox_populi.pipeline.export_mobile import export_mobile as export


def export_mobile(console: Console, request: MobileRequest) -> None:
    """Write a merged model as one graph, run it here, and compare its greedy answers with ours.

    Needs the extra of the same name: onnx, executorch or litert. The folder has the graph, the
    tokenizer, the chat template and a receipt. It is published only if every answer is the same.
    coreml is refused with the reason.
    """
    if request.target is None:
        request = replace(request, target=FORMATS.get(inference_profile(os.environ)))
    report = export(request)
    console.notes(report.notes)
    console.report(report, mobile_text)


def mobile_text(report: MobileReport) -> str:
    """What was written, and what was compared."""
    takes = f"exactly {report.seq_len}" if report.fixed_length else f"2 to {report.seq_len}"
    return aligned(
        [
            ("written to", report.output_dir),
            ("for", report.target),
            ("files", ", ".join(report.files)),
            ("size", bytes_text(report.total_bytes)),
            ("takes", f"{takes} ids"),
            ("answers", f"{report.prompts} of {report.prompts} the same, {report.tokens} tokens"),
            ("scores", f"differ by at most {report.max_difference:.2e}"),
        ]
    )
