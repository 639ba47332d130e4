"""`vox mens quantize`: a model folder in bitsandbytes' NF4 layout."""

from __future__ import annotations

from vox_cli.console import Console
from vox_cli.report_text import aligned, bytes_text
from vox_populi.pipeline.quantize import QuantizeReport, QuantizeRequest, quantize_model


def quantize(console: Console, request: QuantizeRequest) -> None:
    """Write a model folder with its linear layers in 4 bits (NF4).

    transformers with bitsandbytes loads the folder, and `vox mens train --backend qlora` trains on
    it without quantising again. Embeddings, norms, biases and the head stay as they are.
    """
    console.report(quantize_model(request), quantize_text)


def quantize_text(report: QuantizeReport) -> str:
    """What was packed, and the size before and after."""
    scales = "8-bit scales" if report.double_quant else "32-bit scales"
    return aligned(
        [
            ("written to", report.output),
            ("quantised", f"{report.packed} weights, blocks of {report.block_size}, {scales}"),
            ("as they were", f"{report.dense} tensors"),
            ("size", f"{bytes_text(report.bytes_after)}, was {bytes_text(report.bytes_before)}"),
            ("took", f"{report.seconds:.1f} s"),
        ]
    )
