"""Making a model folder of a GGUF file: request, report and function. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from vox_populi import number_ranges
from vox_populi.containers.gguf_header import read_gguf_header
from vox_populi.contract.setting import setting, setting_metadata
from vox_populi.files.json_report import JsonReport, shown
from vox_populi.files.output_guard import Reads
from vox_populi.number_ranges import require_ranges
from vox_populi.pipeline.early_refusals import require_new_export
from vox_populi.pipeline.runners import load_runner


class BaseDtype(StrEnum):
    """The number type of a model folder that is made."""

    AUTO = "auto"
    """The file's own, or bf16 if it is quantised."""
    BF16 = "bf16"
    F16 = "f16"
    F32 = "f32"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportGgufRequest:
    """A request to make a model folder of a GGUF file."""

    source: Path = field(metadata=setting_metadata("GGUF file of a whole model.", argument="FILE"))
    output: Path = field(metadata=setting_metadata("New folder to write.", name="output_dir"))
    dtype: BaseDtype = setting(BaseDtype.AUTO, "Number type to write.")
    tokenizer_from: Path | None = setting(
        None,
        "Folder with the model's own tokenizer.json, to copy.",
        default_text="the file's",
    )
    """`None`: the tokenizer files are made of the metadata."""
    max_shard_bytes: int = 5 * 10**9
    """Largest size of the tensors in an output file."""

    def __post_init__(self) -> None:
        require_ranges(("max_shard_bytes", self.max_shard_bytes, number_ranges.SHARD_BYTES))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportGgufReport(JsonReport):
    """A report of what was read and written."""

    source: Path
    source_sha256: str
    output: Path
    files: tuple[str, ...]
    model_type: str
    types: Mapping[str, int]
    """Number of tensors by their type in the file."""
    dtype: str
    """Number type of the folder, as in its config."""
    tokenizer: str
    """How text is split, or the folder that the tokenizer came from."""
    templates: tuple[str, ...]
    """Names of the chat templates."""
    total_bytes: int = field(metadata=shown("bytes"))
    seconds: float = field(metadata=shown(digits=3))
    notes: tuple[str, ...]


def import_gguf(request: ImportGgufRequest) -> ImportGgufReport:
    """Write a model folder that computes what the file computes.

    Raises:
        ModelError: For a file that is broken or whose model, tokenizer or types are not supported.
        PreflightError: For an output folder that is not empty.
        MissingExtraError: Without the extra `gguf`, if the file is quantised.
        EnvironmentFailure: For a full disk, a locked or unwritable folder.
    """
    module = load_runner(
        "import_gguf_run",
        lambda: read_gguf_header(request.source),
        lambda: require_new_export(request.output, reads_of_import(request)),
    )
    report: ImportGgufReport = module.import_gguf(request)
    return report


def reads_of_import(request: ImportGgufRequest) -> Reads:
    """The inputs that the output must not overlap."""
    folder = request.tokenizer_from
    return Reads(whole=(request.source,), kept=() if folder is None else (folder,))
