"""Formats of programs that run a model on a device, and which of them can be written. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

MOST_TOKENS = 512
"""Longest text of a graph for a device; the source system's limit for mobile_edge."""
MOST_RANK = 32
"""Largest rank of an adapter for a device; likewise."""
ONNX_FILE = "model.onnx"
MOBILE_RECEIPT_FILE = "mobile_export_receipt.json"


class MobileFormat(StrEnum):
    """The program that will run the graph."""

    ONNX = "onnx"
    """ONNX Runtime."""
    EXECUTORCH = "executorch"
    COREML = "coreml"
    LITERT = "litert"


NOT_WRITTEN: Mapping[MobileFormat, tuple[str, str]] = {
    MobileFormat.EXECUTORCH: (
        "lowering to its runtime is not built, and no answer of it was compared with ours",
        "Use --for onnx, or merge the run and lower the folder with optimum-executorch.",
    ),
    MobileFormat.COREML: (
        "Core ML models run on Apple's systems only, and no answer could be compared elsewhere",
        "Use --for onnx, convert the merged folder with coremltools on a Mac, or use vox mens"
        " export-adapter --for mlx.",
    ),
    MobileFormat.LITERT: (
        "its converter, which brings JAX, is not built in, and no answer was compared with ours",
        "Use --for onnx, or merge the run and convert the folder with litert-torch.",
    ),
}
"""Formats that are refused: why, and what to do instead."""
