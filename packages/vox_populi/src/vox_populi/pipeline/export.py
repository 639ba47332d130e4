"""Writing an adapter for another program: request, report and function. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vox_populi.contract.download_choice import download_setting
from vox_populi.contract.setting import setting, setting_metadata
from vox_populi.export.consumers import Consumer
from vox_populi.files.json_report import JsonReport, shown
from vox_populi.hf.hub_name import ModelParts
from vox_populi.pipeline.early_refusals import (
    reads_of,
    require_adapter,
    require_model,
    require_new_export,
)
from vox_populi.pipeline.runners import load_runner


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """A request to write one of our adapters for another program."""

    source: Path = field(
        metadata=setting_metadata("Run folder, or an adapter file of one.", argument="RUN")
    )
    consumer: Consumer = field(
        metadata=setting_metadata("Program that will load it.", flags=("--for",))
    )
    output_dir: Path = field(metadata=setting_metadata("New folder to write."))
    model_dir: Path | None = setting(
        None, "Base folder, if it has moved since the run.", name="model", model=ModelParts.ALL
    )
    """Base folder, if it has moved since the run; only its headers are read."""
    allow_download: bool = download_setting()
    base_name: str | None = setting(
        None,
        "Name of the base in adapter_config.json.",
        metavar="NAME",
        default_text="its name on the hub, or its absolute folder",
    )
    keep_base_text: bool = setting(
        False, "Do not write the training's chat template and tokenizer settings beside it."
    )
    include_system_prompt: bool = setting(
        False, "Write the training's system prompt into the chat template."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport(JsonReport):
    """A report of what was written and how the adapter was changed."""

    consumer: Consumer = field(metadata=shown("for"))
    output_dir: Path
    files: tuple[str, ...]
    modules: int
    rank: int
    alpha: float
    """Alpha as the consumer reads it."""
    renamed: tuple[str, ...]
    rescaled: tuple[str, ...]
    refused: tuple[str, ...] = ()
    """Empty: an adapter is exported whole, or not at all."""
    notes: tuple[str, ...]


def export_adapter(request: ExportRequest) -> ExportReport:
    """Write an adapter in another program's format, in a new folder.

    Raises:
        PreflightError: When the output folder exists.
        ArtifactError: For an adapter that cannot be read, that does not fit its base, or that
            the consumer cannot load, with every reason.
        ModelError: For a base folder that cannot be used.
        EnvironmentFailure: When the system refuses to write.
    """
    module = load_runner(
        "export_run",
        lambda: require_adapter(request.source),
        lambda: require_model(request.model_dir),
        lambda: require_new_export(request.output_dir, reads_of(request.source, request.model_dir)),
    )
    report: ExportReport = module.export_adapter(request)
    return report
