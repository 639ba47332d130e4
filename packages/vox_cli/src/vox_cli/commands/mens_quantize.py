"""`vox mens quantize`: a model folder in bitsandbytes' NF4 layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags, value_parsers
from vox_cli.console import Console
from vox_cli.report_text import aligned, bytes_text
from vox_populi.operator_messages import contract as say
from vox_populi.pipeline.quantize import QuantizeReport, QuantizeRequest, quantize_model
from vox_tensor.nf4_levels import BLOCK_SIZE, BLOCK_SIZES


def _block_size(text: str) -> int:
    size = value_parsers.whole_number()(text)
    if size not in BLOCK_SIZES:
        names = tuple(str(each) for each in BLOCK_SIZES)
        raise value_parsers.ValueRefusedError(say.choice_unknown("", text, names))
    return size


def quantize(
    console: Console,
    model: Annotated[Path, flags.path("Model folder with 16- or 32-bit weights.", "DIR")],
    output_dir: Annotated[Path, flags.path("New folder to write.", "DIR")],
    block_size: Annotated[
        int,
        flags.value("Values per block.", _block_size, "N", BLOCK_SIZE),
    ] = BLOCK_SIZE,
    no_double_quant: Annotated[
        bool, flags.switch("Keep the block scales in 32 bits.", "--no-double-quant")
    ] = False,
) -> None:
    """Write a model folder with its linear layers in 4 bits (NF4).

    transformers with bitsandbytes loads the folder, and `vox mens train --backend qlora` trains on
    it without quantising again. Embeddings, norms, biases and the head stay as they are.
    """
    report = quantize_model(
        QuantizeRequest(
            model_dir=model,
            output=output_dir,
            block_size=block_size,
            double_quant=not no_double_quant,
        )
    )
    console.report(report, quantize_text)


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
