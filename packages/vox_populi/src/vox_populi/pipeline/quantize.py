"""Writing a model folder in 4 bits: request, report and function. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vox_populi import number_ranges
from vox_populi.contract.download_choice import download_setting
from vox_populi.contract.setting import setting, setting_metadata
from vox_populi.files.json_report import JsonReport, shown
from vox_populi.hf.hub_name import ModelParts
from vox_populi.number_ranges import require_ranges
from vox_populi.pipeline.early_refusals import (
    reads_of,
    require_model,
    require_new_export,
)
from vox_populi.pipeline.runners import load_runner
from vox_tensor.nf4_levels import BLOCK_SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeRequest:
    """A request to write a model folder with its linear layers in 4 bits."""

    model_dir: Path = field(
        metadata=setting_metadata(
            "Model folder with 16- or 32-bit weights.", name="model", model=ModelParts.ALL
        )
    )
    allow_download: bool = download_setting()
    output: Path = field(metadata=setting_metadata("New folder to write.", name="output_dir"))
    block_size: int = setting(BLOCK_SIZE, "Values per block.", allowed=number_ranges.NF4_BLOCK)
    double_quant: bool = setting(
        True, "Keep the block scales in 32 bits.", name="no_double_quant", negated=True
    )
    max_shard_bytes: int = 5 * 10**9
    """Largest size of the tensors in an output file."""

    def __post_init__(self) -> None:
        require_ranges(("max_shard_bytes", self.max_shard_bytes, number_ranges.SHARD_BYTES))


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeReport(JsonReport):
    """A report of what was written."""

    output: Path
    quant_type: str = "nf4"
    block_size: int
    double_quant: bool
    packed: int = field(metadata=shown("quantised"))
    """Weights in 4 bits."""
    dense: int
    """Tensors that stayed as they were."""
    bytes_before: int
    """Size of the base's tensors."""
    bytes_after: int = field(metadata=shown("bytes"))
    files: tuple[str, ...]
    seconds: float = field(metadata=shown(digits=3))


def quantize_model(request: QuantizeRequest) -> QuantizeReport:
    """Write a model folder with its linear layers in 4 bits, in the layout of bitsandbytes.

    Raises:
        ModelError: For a folder that cannot be used, or is already quantised.
        ArtifactError: For an output that overlaps an input.
        PreflightError: For an output folder that is not empty.
        EnvironmentFailure: For a full disk, a locked or unwritable folder.
    """
    module = load_runner(
        "quantize_run",
        lambda: require_model(request.model_dir),
        lambda: require_new_export(request.output, reads_of(request.model_dir)),
    )
    report: QuantizeReport = module.quantize(request)
    return report
