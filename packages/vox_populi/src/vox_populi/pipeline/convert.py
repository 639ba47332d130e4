"""Writing an adapter in another format: request, report and function. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vox_populi.contract.download_choice import download_setting
from vox_populi.contract.setting import setting, setting_metadata
from vox_populi.files.json_report import JsonReport, shown
from vox_populi.files.output_guard import require_new_file
from vox_populi.hf.hub_name import ModelParts
from vox_populi.operator_messages import adapter as say_adapter
from vox_populi.operator_messages import export as say_export
from vox_populi.operator_messages import model_folder as say_model_folder
from vox_populi.pipeline.early_refusals import (
    reads_of,
    require_model,
    require_new_export,
    require_present,
)
from vox_populi.pipeline.runners import load_runner
from vox_populi.runs.adapter_place import AdapterForm


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertRequest:
    """A request to write an adapter in another format."""

    source: Path = field(
        metadata=setting_metadata(
            "Adapter file, PEFT folder, or folder of a run or checkpoint.", argument="SRC"
        )
    )
    target: AdapterForm = field(metadata=setting_metadata("Format to write.", flags=("--to",)))
    output: Path = field(
        metadata=setting_metadata("New file (lora-bin) or new folder to write.", metavar="PATH")
    )
    base: Path | None = setting(
        None, "Base folder, if SRC lacks names and sizes.", model=ModelParts.ALL
    )
    """Base folder, if the source lacks names and sizes; only its headers are read, or all of it if
    the source has no digest of its base."""
    allow_download: bool = download_setting()
    meta: Path | None = setting(
        None, "Sidecar of a safetensors SRC, if it is in another place.", metavar="FILE"
    )
    """Sidecar of a version 2 or 3 source, if it is not next to it under a known name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertReport(JsonReport):
    """A report of what was written and how the adapter was changed."""

    source_form: str = field(metadata=shown("from"))
    """Display name of the source format."""
    target: AdapterForm = field(metadata=shown("to"))
    output: Path
    files: tuple[str, ...]
    graph: str
    base_quant: str
    """Quantisation of the weights the adapter was trained on: `none` or `nf4`."""
    modules: int
    rank: int
    alpha: float
    use_rslora: bool
    renamed: tuple[str, ...]
    """One line for every layer whose name changed."""
    rescaled: tuple[str, ...] = ()
    """Empty, as is the next: both are for programs that read the report of an export too."""
    refused: tuple[str, ...] = ()
    notes: tuple[str, ...]


def convert_adapter(request: ConvertRequest) -> ConvertReport:
    """Read an adapter in any format and write it in another, to a new path.

    Raises:
        PreflightError: When the output exists.
        ArtifactError: For an adapter that cannot be read, that the target cannot represent, or that
            does not fit the given base.
        ModelError: For a base folder that cannot be used.
        EnvironmentFailure: When the system refuses to write.
    """
    is_file = request.target is AdapterForm.LORA_BIN
    module = load_runner(
        "convert_run",
        lambda: require_present(
            request.source,
            lambda path: say_adapter.form_container_refused(
                say_model_folder.MODEL_FILE_MISSING.at(path)
            ),
        ),
        lambda: require_model(request.base),
        lambda: (
            require_new_file(request.output, say_export.EXPORT_TARGET_EXISTS.at)
            if is_file
            else require_new_export(
                request.output, reads_of(request.source, request.base, request.meta)
            )
        ),
    )
    report: ConvertReport = module.convert_adapter(request)
    return report
