"""Formats of programs that run a model on a device, and which of them can be written. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

MOST_TOKENS = 512
"""Longest text of a graph for a device; the source system's limit for mobile_edge."""
MOST_RANK = 32
"""Largest rank of an adapter for a device; likewise."""
MOBILE_RECEIPT_FILE = "mobile_export_receipt.json"


class MobileFormat(StrEnum):
    """The program that will run the graph."""

    ONNX = "onnx"
    """ONNX Runtime."""
    EXECUTORCH = "executorch"
    COREML = "coreml"
    LITERT = "litert"


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatFacts:
    """A format that is written, and run here before it is published."""

    file: str
    """Name of the graph's file."""
    modules: tuple[str, ...]
    """What writing and running it needs."""
    distributions: tuple[str, ...]
    """Whose versions decide what is written."""
    input_dtype: str
    """Number type of the ids that a graph takes."""
    has_one_length: bool
    """Whether a graph of this format takes texts of one length only."""


WRITTEN: Mapping[MobileFormat, FormatFacts] = {
    MobileFormat.ONNX: FormatFacts(
        file="model.onnx",
        modules=("onnx", "onnxscript", "onnxruntime"),
        distributions=("torch", "onnx", "onnxscript", "onnxruntime"),
        input_dtype="int64",
        has_one_length=False,
    ),
    MobileFormat.EXECUTORCH: FormatFacts(
        file="model.pte",
        modules=("executorch",),
        distributions=("torch", "executorch"),
        input_dtype="int64",
        has_one_length=True,
    ),
    MobileFormat.LITERT: FormatFacts(
        file="model.tflite",
        modules=("litert_torch", "ai_edge_litert"),
        distributions=("torch", "litert-torch", "ai-edge-litert"),
        input_dtype="int32",
        has_one_length=True,
    ),
}

NOT_WRITTEN: Mapping[MobileFormat, tuple[str, str]] = {
    MobileFormat.COREML: (
        "Core ML models run on Apple's systems only, so that no answer could be compared here",
        "Use --for onnx, --for executorch or vox mens export-adapter --for mlx; or merge the run"
        " and convert the folder with coremltools on a Mac.",
    ),
}
"""Formats that are refused: why, and what to do instead."""
